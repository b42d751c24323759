"""Responses become answers, or errors that say why not."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_makers import ANSWER, FIELDS, answers_of, make_profile, make_response

from pipeline.config.profiles import load_profile, shipped_profiles
from pipeline.domain.errors import (
    AnswerCut,
    AskError,
    BrokenJson,
    ContentFiltered,
    ContentRefused,
    InvalidAnswer,
    NoAnswer,
)
from pipeline.domain.outcomes import Cause
from pipeline.domain.vision import FinishReason
from pipeline.tagging.parse import AnswerReader
from pipeline.tagging.question import compile_question

PROFILE = make_profile()
READER = AnswerReader(PROFILE, allow_empty=False)
TEXT = orjson.dumps(ANSWER).decode()


def complaint_about(
    answer: object, reader: AnswerReader = READER, *, kind: type[InvalidAnswer] = InvalidAnswer
) -> str:
    response = make_response(answer)
    with pytest.raises(InvalidAnswer) as caught:
        reader.read(response)
    assert type(caught.value) is kind
    assert caught.value.response is response
    assert caught.value.request_id == "req_7"
    return str(caught.value)


def without(*names: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in ANSWER.items() if name not in names} | changed


@pytest.mark.parametrize("name", shipped_profiles())
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_answer_that_fits_is_read_back_unchanged(name: str, data: st.DataObject) -> None:
    profile = load_profile(name)
    answer = data.draw(answers_of(profile))
    read, confidence = AnswerReader(profile, allow_empty=False).read(make_response(answer))
    assert confidence == answer.pop("confidence", None)
    assert read == answer
    assert list(read) == list(profile.fields)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\ufeff{TEXT}",
        f"\n\n{TEXT}\n",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}\n```",
        f"Here is the answer:\n{TEXT}\nI hope this helps.",
        f"<think>shoes, I guess</think>{TEXT}",
        orjson.dumps(ANSWER, option=orjson.OPT_INDENT_2).decode(),
    ],
)
def test_wrapping_around_the_object_is_ignored(text: str) -> None:
    assert READER.read(make_response(text)) == (ANSWER, None)


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_empty_text_is_no_answer(text: str | None) -> None:
    assert complaint_about(text, kind=NoAnswer) == "the answer is empty"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I cannot see the picture.", "the answer holds no JSON object"),
        ("} nothing {", "the answer holds no JSON object"),
        ("[1, 2]", "the answer holds no JSON object"),
        (TEXT[:40], "the answer holds no JSON object"),
        (TEXT[:40] + "}", "the answer is not valid JSON"),
        (TEXT + TEXT, "the answer is not valid JSON"),
        ('{"title": NaN}', "the answer is not valid JSON"),
        ('{"title": "\\ud800"}', "the answer is not valid JSON"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "the answer is not valid JSON"),
    ],
)
def test_text_without_one_whole_object_is_broken_json(text: str, said: str) -> None:
    assert complaint_about(text, kind=BrokenJson).startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (without("title", "pieces"), "the answer lacks title, pieces"),
        (without("in_use", extra=1), "the answer lacks in_use"),
        (without(extra=1), 'the answer has fields nobody asked for: "extra"'),
        (without(title=5), "title: 5 is not allowed; must be text"),
        (without(note=5), "note: 5 is not allowed; must be text or null"),
        (without(category="hats"), 'category: "hats" is not allowed; must be one of shoes, bags'),
        (without(category=None), "category: null is not allowed; must be one of shoes, bags"),
        (
            without(style="odd"),
            'style: "odd" is not allowed; must be one of modern, rustic or null',
        ),
        (
            without(colors=["red", "odd"]),
            'colors: "odd" is not allowed; must be a list of red, blue',
        ),
        (without(colors="red"), 'colors: "red" is not allowed; must be a list of red'),
        (without(colors=None), "colors: null is not allowed; must be a list of red"),
        (without(keywords=["a", 5]), "keywords: 5 is not allowed; must be a list of texts"),
        (
            without(pieces=10),
            "pieces: 10 is not allowed; must be a whole number, at least 0, at mo",
        ),
        (without(pieces=1.5), "pieces: 1.5 is not allowed; must be a whole number"),
        (without(pieces=True), "pieces: true is not allowed; must be a whole number"),
        (without(pieces="3"), 'pieces: "3" is not allowed; must be a whole number'),
        (without(pieces=10**18), "pieces: 1000000000000000000 is not allowed"),
        (without(pieces=1e30), "pieces: 1e+30 is not allowed; must be a whole number"),
        (
            TEXT.replace(":2,", f":{10**40},"),
            "pieces: 1e+40 is not allowed; must be a whole number",
        ),
        (without(in_use="yes"), 'in_use: "yes" is not allowed; must be true or false'),
    ],
)
def test_answer_that_breaks_the_schema_says_which_field_and_rule(answer: object, said: str) -> None:
    assert complaint_about(answer).startswith(said)


@pytest.mark.parametrize("field", ["title", "category", "colors", "keywords", "pieces"])
def test_complaint_stays_short_whatever_was_answered(field: str) -> None:
    assert len(complaint_about(without(**{field: {"x": "y" * 100_000}}))) < 200
    assert len(complaint_about(without(**{f"n{n}": 1 for n in range(1_000)}))) < 200


def test_long_list_of_values_is_not_repeated_whole() -> None:
    profile = make_profile({"a": {"type": "one_of", "values": [f"v{n}" for n in range(500)]}})
    text = complaint_about({"a": "x"}, AnswerReader(profile, allow_empty=False))
    assert text.endswith("v6, v7, … (492 more)")


def test_wrong_item_of_an_optional_list_is_named() -> None:
    profile = make_profile({"a": {**FIELDS["colors"], "optional": True}})
    text = complaint_about({"a": ["red", "odd"]}, AnswerReader(profile, allow_empty=False))
    assert text.startswith('a: "odd" is not allowed')


def test_harmless_deviations_pass() -> None:
    messy = without("note", category="PURSE", colors=["Grey", "grey", "red", "blue"], pieces=2.0)
    answer, _ = READER.read(make_response(messy))
    assert answer == {**ANSWER, "category": "bags", "colors": ["gray", "red"]}


@pytest.mark.parametrize(
    ("overrides", "error", "cause"),
    [
        ({"refusal": "I can't help."}, ContentRefused, Cause.REFUSED),
        ({"finish": FinishReason.REFUSAL}, ContentRefused, Cause.REFUSED),
        ({"finish": FinishReason.CONTENT_FILTER}, ContentFiltered, Cause.CONTENT_FILTER),
        ({"finish": FinishReason.LENGTH}, AnswerCut, Cause.LENGTH),
    ],
)
def test_answer_that_ended_early_is_its_own_error(
    overrides: dict[str, Any], error: type[AskError], cause: Cause
) -> None:
    response = make_response(TEXT, **overrides)
    with pytest.raises(error) as caught:
        READER.read(response)
    assert caught.value.response is response
    assert caught.value.cause is cause


def test_refusal_repeats_the_models_words_shortly() -> None:
    with pytest.raises(ContentRefused) as caught:
        READER.read(make_response(None, refusal="No,\nsorry. " * 100))
    assert str(caught.value).startswith("the model declined: No, sorry. No")
    assert len(str(caught.value)) < 250


def test_unknown_finish_is_judged_by_the_text() -> None:
    assert READER.read(make_response(TEXT, finish=FinishReason.OTHER)) == (ANSWER, None)


def test_own_confidence_stands_beside_the_answer() -> None:
    reader = AnswerReader(make_profile(confidence="self"), allow_empty=False)
    assert reader.read(make_response({**ANSWER, "confidence": 1})) == (ANSWER, 1.0)
    assert "confidence: 85 is not allowed" in complaint_about({**ANSWER, "confidence": 85}, reader)
    assert complaint_about(ANSWER, reader) == "the answer lacks confidence"


def test_partial_provider_may_leave_out_or_null_any_field() -> None:
    reader = AnswerReader(make_profile(confidence="self"), allow_empty=True)
    answer, confidence = reader.read(make_response({"colors": ["red"], "title": None}))
    assert answer == {**dict.fromkeys(FIELDS), "colors": ["red"]}
    assert confidence is None
    assert "must be one of shoes, bags or null" in complaint_about({"category": "hats"}, reader)


@given(st.text())
def test_any_text_is_an_answer_or_an_invalid_one(text: str) -> None:
    try:
        READER.read(make_response(text))
    except InvalidAnswer:
        return
    pytest.fail("no text drawn at random fits the profile")


def test_schema_sent_is_the_schema_checked() -> None:
    question = compile_question(PROFILE, model="m", preprocessing="p")
    assert set(orjson.loads(question.schema)["required"]) == set(ANSWER)
