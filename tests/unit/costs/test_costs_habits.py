"""What a request uses beside its picture: by rule first, by experience as soon as there is some."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.costs.estimate import estimate_prefix_tokens, estimate_usage, most_input_words
from pipeline.costs.habits import LEAST_ANSWERS, Habits, Record, exactly, find_habits
from pipeline.domain.vision import Detail, FieldQuestion, PromptCaching, Question

QUESTION = Question(
    name="general",
    instructions="Tag this picture. " * 50,
    schema=b'{"type":"object"}',
    fields=(FieldQuestion(name="title", type="text", measure=None),),
    model="gpt-4o",
    detail=Detail.HIGH,
    max_output_tokens=300,
    fingerprint="",
)
LONG = replace(QUESTION, instructions="Tag this picture. " * 400)
WORDS = estimate_usage(QUESTION, 0).input


def make_record(**given: Any) -> Record:
    values = {
        "answers": 100, "cached_tokens": 12_800, "cache_write_tokens": 100,
        "output_tokens": 4_700, "sent_bytes": 0, "pictures": 100, "picture_tokens": 76_500,
        "picture_inputs": 76_500 + 100 * 250, "is_same_version": True,
    }  # fmt: skip
    return Record(**{**values, **given})


def find(record: Record | None, question: Question = QUESTION, **given: bool) -> Habits:
    return find_habits(question, record, reasons=given.get("reasons", False))


def test_without_answers_the_rules_of_thumb_count() -> None:
    habits = find(None)
    assert habits.words.expected == WORDS
    assert habits.words.low < WORDS < habits.words.high
    assert habits.output.low < habits.output.expected < habits.output.high <= 300
    assert not habits.is_words_measured
    assert not habits.is_output_measured


def test_too_few_answers_teach_nothing() -> None:
    assert find(make_record(answers=LEAST_ANSWERS - 1)) == find(None)


def test_answers_tell_words_output_and_cache() -> None:
    habits = find(make_record())
    assert habits.words == exactly(250)
    assert (habits.output.expected, habits.cached, habits.cache_write) == (
        47, exactly(128), exactly(1),
    )  # fmt: skip
    assert habits.is_words_measured
    assert habits.is_output_measured


def test_more_answers_are_surer_of_the_output() -> None:
    few, many = find(make_record(answers=20, output_tokens=940)), find(make_record())
    assert few.output.expected == many.output.expected
    assert few.output.high - few.output.low > many.output.high - many.output.low > 0


def test_answers_of_another_version_tell_nothing_of_the_words() -> None:
    habits = find(make_record(is_same_version=False))
    assert habits.words == find(None).words
    assert habits.is_output_measured


@pytest.mark.parametrize("beside", [0, -100, most_input_words(QUESTION) + 1])
def test_words_that_cannot_be_are_not_believed(beside: int) -> None:
    habits = find(make_record(picture_inputs=76_500 + 100 * beside))
    assert habits.words == find(None).words


def test_a_model_that_thinks_may_take_all_of_its_limit() -> None:
    assert find(None, reasons=True).output.high == 300
    assert find(make_record(), reasons=True).output == find(make_record()).output


def test_marked_words_are_expected_to_be_cached_and_may_have_to_be_written() -> None:
    habits = find(None, replace(QUESTION, caching=PromptCaching.MARKED))
    prefix = estimate_prefix_tokens(QUESTION)
    assert (habits.cached.expected, habits.cached.low) == (prefix, 0)
    assert (habits.cache_write.expected, habits.cache_write.high) == (0, prefix)


@pytest.mark.parametrize(
    ("question", "most"),
    [
        (QUESTION, 0),
        (LONG, estimate_prefix_tokens(LONG)),
        (replace(LONG, caching=PromptCaching.OFF), 0),
    ],
)
def test_a_cache_that_promises_nothing_may_help_long_words(question: Question, most: int) -> None:
    cached = find(None, question).cached
    assert (cached.expected, cached.high) == (0, most)
