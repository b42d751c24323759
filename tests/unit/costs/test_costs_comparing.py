"""The same pictures asked about otherwise, and the sizes that it is computed from."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.comparing import Choice, compare
from pipeline.costs.estimate import count_picture_tokens
from pipeline.costs.habits import Habits, exactly
from pipeline.costs.models import load_models
from pipeline.costs.sending import count_base64_bytes, estimate_encoded_bytes
from pipeline.costs.size_tally import SizeTally
from pipeline.domain.vision import Detail

TABLE = load_models(on=date(2026, 11, 20))
HABITS = Habits(words=exactly(400), output=exactly(50), cached=exactly(0), cache_write=exactly(0))


def choose(model: str, detail: Detail = Detail.HIGH, most: int = 10_000) -> Choice:
    return Choice(
        model=model,
        spec=TABLE.find(model),
        detail=detail,
        side=str(most),
        fit=lambda width, height: (min(width, most), min(height, most)),
        habits=HABITS,
    )


SIZES = {(4000, 3000): 3, (640, 480): 5, (1, 9000): 1}


def test_each_way_is_quoted_from_the_same_sizes() -> None:
    large, small = compare([choose("gpt-4o"), choose("gpt-4o", most=512)], SIZES, images=9)
    spec = TABLE.find("gpt-4o")
    tokens = sum(count_picture_tokens(spec, Detail.HIGH, *size) * n for size, n in SIZES.items())
    assert large.picture_tokens_each == tokens / 9
    assert large.input_tokens == tokens + 9 * 400
    assert small.input_tokens == 9 * 400 + 9 * 255
    assert small.is_cheapest
    assert not large.is_cheapest


def test_a_sample_is_scaled_to_all_images() -> None:
    one, many = (compare([choose("gpt-4o")], SIZES, images=n)[0] for n in (9, 9_000))
    assert one.input_tokens is not None
    assert many.input_tokens == 1_000 * one.input_tokens
    assert many.costs["standard"] == 1_000 * (one.costs["standard"] or 0)


def test_a_level_that_a_model_does_not_know_has_no_figures() -> None:
    rows = compare([choose("gpt-4o", Detail.ORIGINAL), choose("gpt-5.4")], SIZES, images=9)
    assert rows[0].input_tokens is None
    assert set(rows[0].costs.values()) == {None}
    assert [row.is_cheapest for row in rows] == [False, True]


def test_an_unknown_model_has_tokens_and_is_never_the_cheapest() -> None:
    row = compare([choose("my-llava", most=1024)], SIZES, images=9)[0]
    assert row.input_tokens
    assert (row.costs["standard"], row.is_cheapest) == (None, False)


def test_a_model_that_answers_no_more_is_never_the_cheapest() -> None:
    gone, dear = replace(choose("gpt-4.1-nano"), is_retired=True), choose("gpt-4.1")
    rows = compare([gone, dear], SIZES, images=9)
    assert (rows[0].costs["standard"] or 0) < (rows[1].costs["standard"] or 0)
    assert [row.is_cheapest for row in rows] == [False, True]


def test_nothing_to_ask_costs_nothing() -> None:
    row = compare([choose("gpt-4o")], {}, images=0)[0]
    assert (row.input_tokens, row.costs["standard"], row.is_cheapest) == (0, 0, False)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_few_different_sizes_are_counted_exactly(sizes: list[tuple[int, int]]) -> None:
    tally = SizeTally(random.Random(1), most_sizes=25)
    for size in sizes:
        tally.add(size)
    assert tally.sizes == Counter(sizes)
    assert not tally.is_sample


def test_of_many_different_sizes_a_fair_sample_is_kept() -> None:
    tally = SizeTally(random.Random(3), most_sizes=1_000)
    for number in range(30_000):
        tally.add((number, 1 + (number >= 10_000)))
    assert tally.is_sample
    assert sum(tally.sizes.values()) == 1_000
    late = sum(n for (_, mark), n in tally.sizes.items() if mark == 2)
    assert 600 < late < 733


@pytest.mark.parametrize(("low", "high"), [(1, 50), (50, 85), (85, 100)])
def test_better_quality_takes_more_bytes(low: int, high: int) -> None:
    small, large = (estimate_encoded_bytes(1_000_000, "auto", q) for q in (low, high))
    assert 0 < small < large
    assert estimate_encoded_bytes(1_000_000, "webp", high) < large
    assert estimate_encoded_bytes(1_000_000, "png", low) > large


def test_base64_is_four_for_three() -> None:
    assert [count_base64_bytes(n) for n in (0, 1, 3, 4)] == [0, 4, 4, 8]
