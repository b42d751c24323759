"""Estimates of whole requests, and of words."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.estimate import (
    Estimate,
    estimate_prefix_tokens,
    estimate_request,
    expected_output_tokens,
)
from pipeline.costs.image_tokens import TooManyPatches, image_tokens
from pipeline.costs.models import ModelSpec, load_models
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


def test_estimate_is_made_of_words_picture_and_answer() -> None:
    estimate = estimate_request(spec_of("gpt-4o"), QUESTION, 1024, 1024, tier=None)
    words = REQUEST_TOKENS + 5 + 5
    assert estimate.input_tokens == words + 765
    assert estimate.output_tokens == expected_output_tokens(QUESTION.fields)
    assert estimate.max_output_tokens == 300
    assert estimate.cost == estimate.input_tokens * 2500 + estimate.output_tokens * 10_000


def test_worst_cost_takes_every_byte_for_a_token_and_the_whole_output() -> None:
    estimate = estimate_request(spec_of("gpt-4o"), QUESTION, 1024, 1024, tier=None, note="péché")
    worst_input = REQUEST_TOKENS + 17 + 17 + 7 + 765
    assert estimate.worst_cost == worst_input * 2500 + 300 * 10_000


def test_worst_cost_expects_the_input_to_be_written_to_the_cache() -> None:
    estimate = estimate_request(spec_of("gpt-5.6-sol"), QUESTION, 512, 512, tier=None)
    assert estimate.worst_cost == (REQUEST_TOKENS + 34 + 308) * 5000 + 300 * 20_000


def test_marked_words_are_quoted_as_cached() -> None:
    marked = replace(QUESTION, caching=PromptCaching.MARKED)
    plain, cached = (
        estimate_request(spec_of("gpt-5.6-sol"), question, 512, 512, tier=None)
        for question in (QUESTION, marked)
    )
    assert plain.cost is not None
    assert cached.cost == plain.cost - estimate_prefix_tokens(QUESTION) * (4000 - 400)
    assert cached.input_tokens == plain.input_tokens


def test_batch_is_quoted_at_half() -> None:
    whole = estimate_request(spec_of("gpt-4o"), QUESTION, 640, 480, tier="default")
    half = estimate_request(spec_of("gpt-4o"), QUESTION, 640, 480, tier="batch")
    assert whole.cost is not None
    assert half.cost is not None
    assert half.cost * 2 == whole.cost


def test_note_adds_its_words() -> None:
    plain = estimate_request(spec_of("gpt-4o"), QUESTION, 64, 64, tier=None)
    noted = estimate_request(spec_of("gpt-4o"), QUESTION, 64, 64, tier=None, note="12345678")
    assert noted.input_tokens == plain.input_tokens + 2


def test_expected_output_stays_within_its_limit() -> None:
    short = replace(QUESTION, max_output_tokens=16)
    assert estimate_request(spec_of("o3"), short, 64, 64, tier=None).output_tokens == 16


def test_unknown_model_has_tokens_but_no_cost() -> None:
    estimate = estimate_request(None, QUESTION, 280, 29, tier=None)
    assert estimate.input_tokens == REQUEST_TOKENS + 10 + 10 * 2
    assert (estimate.cost, estimate.worst_cost) == (None, None)


def test_lane_without_a_price_has_tokens_but_no_cost() -> None:
    estimate = estimate_request(spec_of("gpt-4o"), QUESTION, 64, 64, tier="flex")
    assert (estimate.cost, estimate.worst_cost) == (None, None)


def test_refused_size_is_refused_here_too() -> None:
    original = replace(QUESTION, detail=Detail.ORIGINAL)
    with pytest.raises(TooManyPatches):
        estimate_request(spec_of("gpt-5.6-sol"), original, 6000, 6000, tier=None)


def test_estimates_add_up() -> None:
    one = estimate_request(spec_of("gpt-4o"), QUESTION, 64, 64, tier=None)
    total = sum([one, one, one], Estimate())
    assert one.cost is not None
    assert total.cost == 3 * one.cost
    assert (total.input_tokens, total.max_output_tokens) == (3 * one.input_tokens, 900)


def test_sum_with_an_unknown_cost_is_unknown() -> None:
    known = estimate_request(spec_of("gpt-4o"), QUESTION, 64, 64, tier=None)
    unknown = estimate_request(None, QUESTION, 64, 64, tier=None)
    assert (known + unknown).cost is None
    assert (known + unknown).input_tokens == known.input_tokens + unknown.input_tokens


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
    estimate = estimate_request(spec, QUESTION, width, height, tier=None, note=note)
    assert estimate.input_tokens > image_tokens(spec, Detail.HIGH, width, height)
    assert (estimate.cost is None) == (estimate.worst_cost is None) == (spec.prices is None)
    if estimate.cost is not None and estimate.worst_cost is not None:
        assert estimate.cost <= estimate.worst_cost
