"""Profiles become questions that stay the same, byte for byte."""

import os
import subprocess
import sys
from typing import Any

import pytest
from profile_makers import ANSWER, FIELDS, make_profile, make_response

from pipeline.config.profiles import load_profile, shipped_profiles
from pipeline.domain.errors import InvalidAnswer
from pipeline.domain.vision import Detail, FieldQuestion
from pipeline.tagging.parse import AnswerReader
from pipeline.tagging.question import compile_question, write_instructions

NOTHING = (
    "Never guess. Answer null where it is allowed and the picture does not show it; "
    "an empty list where nothing fits; an empty text where there is nothing to write."
)
LANGUAGE = (
    "Write free text and keywords in the language de; values from a list stay exactly as listed."
)
PRINT_FINGERPRINT = (
    "from pipeline.config.profiles import load_profile;"
    "from pipeline.tagging.question import compile_question as c;"
    "print(c(load_profile('general'), model='m', preprocessing='p').fingerprint)"
)


def fingerprint_of(*, model: str = "m", preprocessing: str = "p", **overrides: Any) -> str:
    profile = make_profile(**overrides)
    return compile_question(profile, model=model, preprocessing=preprocessing).fingerprint


def test_fine_tuned_model_is_sent_a_schema_without_bounds() -> None:
    profile = make_profile(confidence="self")
    base, tuned = (
        compile_question(profile, model=model, preprocessing="p")
        for model in ("gpt-4.1", "ft:gpt-4.1-2025-04-14:team::abc")
    )
    for bound in (b"maxItems", b"minimum", b"maximum"):
        assert bound in base.schema
        assert bound not in tuned.schema
    assert tuned.instructions == base.instructions
    with pytest.raises(InvalidAnswer, match="pieces: 10 is not allowed"):
        AnswerReader(profile, allow_empty=False).read(
            make_response({**ANSWER, "pieces": 10, "confidence": 1})
        )


def test_instructions_say_each_field_and_how_to_say_nothing() -> None:
    assert write_instructions(make_profile(confidence="self", language="de")).splitlines() == [
        "Look.",
        "",
        "Answer with one JSON object:",
        "- title: text, at most 20 characters",
        "- note: text; or null",
        "- category: exactly one of: shoes, bags",
        "- style: exactly one of: modern, rustic; or null",
        "- colors: list of up to 2 of: red, blue, green, gray",
        "- keywords: list of up to 3 different keywords",
        "- pieces: whole number, at least 0, at most 9",
        "- in_use: true or false",
        "- confidence: number from 0 to 1: how likely it is that every field is right",
        "",
        NOTHING,
        LANGUAGE,
    ]


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ({"type": "boolean", "description": "worn"}, "- a: true or false (worn)"),
        ({"type": "number", "min": 0.5}, "- a: number, at least 0.5"),
        ({"type": "text", "multiline": True}, "- a: text with its line breaks"),
        ({"type": "many_of", "values": ["x", "y"]}, "- a: list of all that apply of: x, y"),
        ({"type": "one_of", "values": ["x, y", "z"]}, '- a: exactly one of: "x, y", "z"'),
        (
            {"type": "one_of", "values": [f"v{number}" for number in range(51)]},
            "- a: exactly one of: the values in the schema",
        ),
    ],
)
def test_field_becomes_one_line(field: dict[str, Any], line: str) -> None:
    assert line in write_instructions(make_profile({"a": field})).splitlines()


def test_language_is_left_out_where_no_free_words_are_asked_for() -> None:
    assert "language" not in write_instructions(make_profile({"a": {"type": "boolean"}}))
    assert "language" not in write_instructions(make_profile(language=None))


def test_question_carries_what_providers_need() -> None:
    question = compile_question(make_profile(), model="m", preprocessing="p")
    assert (question.name, question.model, question.detail) == ("sample", "m", Detail.HIGH)
    assert question.max_output_tokens == 500
    colors = next(field for field in question.fields if field.name == "colors")
    assert colors == FieldQuestion(
        name="colors",
        type="many_of",
        measure="colors",
        values=("red", "blue", "green", "gray"),
        max_items=2,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m2"},
        {"preprocessing": "p2"},
        {"instructions": "Look closely."},
        {"detail": "low"},
        {"max_output_tokens": 501},
        {"language": "de"},
        {"confidence": "self"},
        {"fields": {**FIELDS, "in_use": {"type": "boolean", "optional": True}}},
        {"fields": dict(reversed(FIELDS.items()))},
    ],
)
def test_fingerprint_changes_with_everything_that_is_asked(change: dict[str, Any]) -> None:
    assert fingerprint_of(**change) != fingerprint_of()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"description": "for people"},
        {"confidence": "none"},
        {"fields": {**FIELDS, "keywords": {**FIELDS["keywords"], "measure": "none"}}},
        {"fields": {**FIELDS, "style": {**FIELDS["style"], "values": ["modern", {
            "value": "rustic", "aliases": ["rural"]}]}}},
    ],
)  # fmt: skip
def test_fingerprint_stays_when_the_question_stays(change: dict[str, Any]) -> None:
    assert fingerprint_of(**change) == fingerprint_of()


def test_parts_of_the_fingerprint_do_not_run_together() -> None:
    assert fingerprint_of(model="ab", preprocessing="c") != fingerprint_of(
        model="a", preprocessing="bc"
    )


def test_fingerprint_is_the_same_in_another_process() -> None:
    here = compile_question(load_profile("general"), model="m", preprocessing="p").fingerprint
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", PRINT_FINGERPRINT],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.strip() == here


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_instructions_are_short_and_clean(name: str) -> None:
    text = write_instructions(load_profile(name))
    assert len(text) < 3_500
    assert text == text.strip()
    assert "  " not in text
