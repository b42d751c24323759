"""Sums over many pictures: exact when all were looked at, honest about it when not."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.habits import Band, Habits, exactly
from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.prices import price
from pipeline.costs.quote import (
    Sample,
    count_batches,
    count_images,
    count_input,
    count_output,
    estimate_hours,
    quote_cost,
)
from pipeline.domain.usage import TokenUsage

TABLE = load_models(on=date(2026, 11, 20))
SPREAD = Habits(
    words=Band(expected=400, low=300, high=500),
    output=Band(expected=150, low=40, high=300),
    cached=Band(expected=0, low=0, high=390),
    cache_write=exactly(0),
)
KNOWN = Habits(words=exactly(400), output=exactly(150), cached=exactly(100), cache_write=exactly(0))
pictures = st.lists(st.integers(1, 40_000), max_size=60)


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


def whole(tokens: list[int]) -> Sample:
    return Sample(
        picture_tokens=Counter(tokens), looked_at=len(tokens), population=exactly(len(tokens))
    )


@given(st.sampled_from(["gpt-4o", "gpt-5.6-luna", "gpt-5.4", "gpt-4.1-nano"]), pictures)
def test_the_sum_is_the_bill_to_the_nano_dollar(model: str, tokens: list[int]) -> None:
    spec = spec_of(model)
    found = quote_cost(spec, whole(tokens), KNOWN, tier="batch")
    answers = [TokenUsage(input=400 + each, cached=100, output=150) for each in tokens]
    assert found == exactly(sum(price(spec, answer, "batch") or 0 for answer in answers))


@given(st.sampled_from(TABLE.names), pictures, st.integers(0, 500))
def test_what_is_expected_lies_in_its_band(model: str, tokens: list[int], unseen: int) -> None:
    sample = replace(whole(tokens), population=exactly(len(tokens) + unseen))
    bands = [
        count_images(sample),
        count_input(sample, SPREAD),
        count_output(sample, SPREAD),
        quote_cost(spec_of(model), sample, SPREAD, tier=None),
    ]
    for band in bands:
        assert band is None or 0 <= band.low <= band.expected <= band.high
    assert bands[0] is not None
    assert bands[0].high <= len(tokens) + unseen
    if not unseen:
        assert bands[0] == exactly(len(tokens))


@given(pictures)
def test_what_the_habits_leave_open_widens_the_band(tokens: list[int]) -> None:
    sample = whole([*tokens, 85])
    sure = quote_cost(spec_of("gpt-4o"), sample, replace(SPREAD, cached=exactly(0)), tier=None)
    unsure = quote_cost(spec_of("gpt-4o"), sample, SPREAD, tier=None)
    assert sure is not None
    assert unsure is not None
    assert sure.low < sure.expected < sure.high
    assert unsure.low < sure.low
    assert unsure.high == sure.high


def test_a_long_request_pays_the_raised_price() -> None:
    spec = spec_of("gpt-5.4")
    short, long = (
        quote_cost(spec, whole([tokens]), KNOWN, tier=None) for tokens in (271_600, 271_601)
    )
    assert short is not None
    assert long is not None
    assert long.expected > 1.9 * short.expected


@pytest.mark.parametrize(
    ("model", "tier"), [("gpt-4o", "flex"), ("gpt-4.5", None), ("gpt-5.2-codex", "batch")]
)
def test_a_lane_without_a_price_has_no_quote(model: str, tier: str | None) -> None:
    assert quote_cost(spec_of(model), whole([765]), KNOWN, tier=tier) is None


def test_an_unknown_model_has_no_quote() -> None:
    assert quote_cost(None, whole([765]), KNOWN, tier=None) is None


@given(st.integers(0, 10**9), st.integers(1, 1000), st.integers(0, 10**6))
def test_scaling_is_exact_and_keeps_nothing_nothing(amount: int, n: int, unseen: int) -> None:
    sample = Sample(picture_tokens={}, looked_at=n, population=exactly(n + unseen))
    assert abs(sample.scale(amount) * n - amount * (n + unseen)) * 2 <= n
    assert sample.scale(0) == 0


def test_the_true_sum_lies_within_the_margin_nineteen_times_of_twenty() -> None:
    chance = random.Random(5)
    library = [chance.choice((85, 255, 765, 1105, 0)) for _ in range(20_000)]
    # what is refused or a copy was looked at, too, and costs nothing
    truth = sum(library)
    hits = 0
    for _ in range(300):
        drawn = chance.sample(library, 400)
        sample = Sample(
            picture_tokens=Counter(each for each in drawn if each),
            looked_at=400,
            population=exactly(20_000),
        )
        band = sample.sum_up(lambda tokens: tokens)
        hits += band.low <= truth <= band.high
    assert 0.91 < hits / 300 < 0.985


def test_a_larger_sample_is_surer() -> None:
    small, large = (
        Sample(picture_tokens={85: n // 2, 765: n // 2}, looked_at=n, population=exactly(10_000))
        for n in (100, 1_000)
    )
    widths = [
        band.high - band.low for band in (s.sum_up(lambda tokens: tokens) for s in (small, large))
    ]
    assert widths[0] > 3 * widths[1] > 0


def test_a_population_that_is_not_sure_widens_the_band() -> None:
    sample = Sample(
        picture_tokens={100: 10}, looked_at=10, population=Band(expected=40, low=30, high=60)
    )
    found = count_images(sample)
    assert (found.expected, found.high) == (40, 60)
    assert found.low < 30
    assert not sample.is_whole


@pytest.mark.parametrize(("images", "drawn", "broken"), [(1_000, 30, 0.05), (100_000, 100, 0.02)])
def test_a_sample_without_a_broken_file_does_not_swear_that_there_is_none(
    images: int, drawn: int, broken: float
) -> None:
    truth = images - round(images * broken)
    library = [300] * truth + [0] * (images - truth)
    hits = 0
    for seed in range(300):
        found = random.Random(seed).sample(library, drawn)
        tokens = Counter(each for each in found if each)
        band = count_images(
            Sample(picture_tokens=tokens, looked_at=drawn, population=exactly(images))
        )
        hits += band.low <= truth <= band.high
    assert hits / 300 > 0.93


def test_hours_follow_the_stricter_limit() -> None:
    limits = {"requests_per_minute": 600.0, "tokens_per_minute": 100_000.0}
    assert estimate_hours(36_000, 6_000_000, **limits) == 1.0
    assert estimate_hours(36_000, 12_000_000, **limits) == 2.0
    assert estimate_hours(600, 0, requests_per_minute=600, tokens_per_minute=None) == 1 / 60
    assert estimate_hours(1, 1, requests_per_minute=None, tokens_per_minute=None) is None


@pytest.mark.parametrize(
    ("work", "batches", "waves"),
    [
        ((0, 0, 0), 0, 0),
        ((1, 10, 1_000), 1, 1),
        ((50_001, 10, 1_000), 2, 1),
        ((100, 191_000_000, 1_000), 2, 1),
        ((100, 10, 2_000_001), 3, 3),
    ],
)
def test_batches_are_filled_by_lines_bytes_and_the_queue(
    work: tuple[int, int, int], batches: int, waves: int
) -> None:
    limits = {"max_requests": 50_000, "max_bytes": 190_000_000}
    found = count_batches(*work, max_enqueued_tokens=1_000_000, **limits)
    assert (found.count, found.waves) == (batches, waves)
    free = count_batches(*work, max_enqueued_tokens=None, **limits)
    assert free.waves is None
