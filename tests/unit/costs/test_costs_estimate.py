"""Estimates of whole requests, and of words."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.estimate import (
    assume_cached,
    bound_request,
    count_accepted_tokens,
    count_picture_tokens,
    estimate_prefix_tokens,
    estimate_usage,
    expected_output_tokens,
)
from pipeline.costs.image_tokens import TooManyPatches
from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.prices import price
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens, most_text_tokens
from pipeline.domain.vision import Detail, FieldQuestion, PromptCaching, Question

TABLE = load_models(on=date(2026, 11, 20))
QUESTION = Question(
    name="general",
    instructions="Tag this picture.",
    schema=b'{"type":"object"}',
    fields=(FieldQuestion(name="title", type="text", measure=None),),
    model="gpt-4o",
    detail=Detail.HIGH,
    max_output_tokens=300,
    fingerprint="",
)


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


def field(kind: str, **more: Any) -> FieldQuestion:
    return replace(FieldQuestion(name="name", type=kind, measure=None), **more)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        (b"abcde", 2),
        ("Привет", 3),
        ("你好", 2),
        ("日本語です", 5),
        ("🐈", 2),
        ("cafés", 2),
        ("\ud800", 1),
    ],
)
def test_text_tokens_go_by_script(text: str | bytes, tokens: int) -> None:
    assert estimate_text_tokens(text) == tokens


@given(st.text(), st.text())
def test_text_estimate_stays_below_its_bound_and_grows(one: str, more: str) -> None:
    assert estimate_text_tokens(one) <= estimate_text_tokens(one + more)
    assert estimate_text_tokens(one) <= most_text_tokens(one)


def test_usage_is_made_of_words_picture_and_answer() -> None:
    usage = estimate_usage(QUESTION, 765)
    assert usage.input == REQUEST_TOKENS + 5 + 5 + 765
    assert usage.output == expected_output_tokens(QUESTION.fields)


def test_note_adds_its_words() -> None:
    plain, noted = estimate_usage(QUESTION, 85), estimate_usage(QUESTION, 85, note="12345678")
    assert noted.input == plain.input + 2


def test_expected_output_stays_within_its_limit() -> None:
    assert estimate_usage(replace(QUESTION, max_output_tokens=16), 85).output == 16


def test_worst_cost_takes_every_byte_for_a_token_and_the_whole_output() -> None:
    worst = bound_request(QUESTION, 765, note="péché").find_worst_cost(spec_of("gpt-4o"), (None,))
    assert worst == (REQUEST_TOKENS + 17 + 17 + 7 + 765) * 2500 + 300 * 10_000


def test_worst_cost_expects_the_input_to_be_written_to_the_cache() -> None:
    worst = bound_request(QUESTION, 308).find_worst_cost(spec_of("gpt-5.6-sol"), (None,))
    assert worst == (REQUEST_TOKENS + 34 + 308) * 5000 + 300 * 20_000


def test_marked_words_are_expected_to_be_cached() -> None:
    marked, usage = replace(QUESTION, caching=PromptCaching.MARKED), estimate_usage(QUESTION, 308)
    assert assume_cached(QUESTION, usage).cached == 0
    cached = assume_cached(marked, usage)
    assert (cached.cached, cached.input) == (estimate_prefix_tokens(QUESTION), usage.input)


def test_unknown_model_is_counted_like_an_open_one() -> None:
    assert count_picture_tokens(None, Detail.HIGH, 280, 29) == 10 * 2


def test_refused_size_is_refused_here_too() -> None:
    with pytest.raises(TooManyPatches):
        count_picture_tokens(spec_of("gpt-5.6-sol"), Detail.ORIGINAL, 6000, 6000)


def test_refused_size_counts_as_the_largest_accepted() -> None:
    spec = spec_of("gpt-5.6-sol")
    largest = count_accepted_tokens(spec, Detail.ORIGINAL, 6000, 6000)
    assert 0.98 * 30_000 * 1.2 < largest <= 30_000 * 1.2
    assert count_accepted_tokens(spec, Detail.HIGH, 640, 480) == count_picture_tokens(
        spec, Detail.HIGH, 640, 480
    )


@pytest.mark.parametrize(
    ("one", "tokens"),
    [
        (field("text"), 30),
        (field("one_of", values=("a", "b")), 4),
        (field("number"), 2),
        (field("boolean"), 1),
        (field("many_of", values=("a", "b", "c", "d")), 12),
        (field("many_of", values=("a", "b")), 8),
        (field("many_of", values=("a", "b", "c", "d"), max_items=1), 4),
        (field("keywords"), 40),
        (field("keywords", max_items=5), 20),
    ],
)
def test_answers_are_expected_by_kind_of_field(one: FieldQuestion, tokens: int) -> None:
    assert expected_output_tokens((one,)) == 3 + 3 + 1 + tokens


@given(st.sampled_from(TABLE.names), st.integers(1, 3000), st.integers(1, 3000), st.text())
def test_worst_case_covers_the_expected_one(model: str, width: int, height: int, note: str) -> None:
    spec = spec_of(model)
    picture = count_picture_tokens(spec, Detail.HIGH, width, height)
    usage = estimate_usage(QUESTION, picture, note=note)
    expected = price(spec, usage, None)
    worst = bound_request(QUESTION, picture, note=note).find_worst_cost(spec, (None,))
    assert usage.input > picture
    assert (expected is None) == (worst is None) == (spec.prices is None)
    if expected is not None and worst is not None:
        assert expected <= worst
