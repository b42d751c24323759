"""Prices of the list, lane by lane, to the nano-dollar."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.prices import price, worst_price
from pipeline.costs.rates import Prices, Rates
from pipeline.domain.usage import TokenUsage

TODAY = date(2026, 11, 20)
TABLE = load_models(on=TODAY)
MILLION = 1_000_000


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


def with_rates(**per_token: int) -> ModelSpec:
    """A model with one lane, in pico-dollars per token, and no long-context rule."""
    rates = {"input": 0, "cached": 0, "cache_write": 0, "output": 0, **per_token}
    return replace(spec_of("gpt-4o"), prices=Prices(standard=Rates(**rates)), long_context=None)


def dollars_a_million(model: str, kind: str, tier: str | None) -> Fraction | None:
    """Read back through ``price``: a tenth of a million tokens of one kind, in USD per million."""
    count = MILLION // 10
    usage = {
        "in": TokenUsage(input=count),
        "cached": TokenUsage(input=count, cached=count),
        "write": TokenUsage(input=count, cache_write=count),
        "out": TokenUsage(output=count),
    }[kind]
    cost = price(spec_of(model), usage, tier)
    return None if cost is None else Fraction(cost * 10, 10**9)


# model: input, cached, output; batch input, cached, output; fast input, cached, output
PRICE_LIST = {
    "gpt-6.2-astra": ("8 .4 40", "4 .2 20", "16 .8 80"),
    "gpt-6.2-sol": ("2 .2 10", "1 .1 5", "4 .4 20"),
    "gpt-6.1-sol": ("2 .1 10", "1 .05 5", "4 .2 20"),
    "gpt-6-sol": ("2 .2 10", "1 .1 5", "4 .4 20"),
    "gpt-6-luna": (".1 .01 .5", ".05 .005 .25", ".2 .02 1"),
    "gpt-6-astra": ("10 1 50", "5 .5 25", "20 2 100"),
    "gpt-5.6-sol": ("4 .4 20", "2 .2 10", "8 .8 40"),
    "gpt-5.6-terra": ("2 .2 12", "1 .1 6", "4 .4 24"),
    "gpt-5.6-luna": (".2 .02 1.2", ".1 .01 .6", ".4 .04 2.4"),
    "gpt-5.5": ("5 .5 30", "2.5 .25 15", "12.5 1.25 75"),
    "gpt-5.4": ("2.5 .25 15", "1.25 .13 7.5", "5 .5 30"),
    "gpt-5.4-mini": (".75 .075 4.5", ".375 .0375 2.25", "1.5 .15 9"),
    "gpt-5.4-nano": (".2 .02 1.25", ".1 .01 .625", ""),
    "gpt-5.2": ("1.75 .175 14", ".875 .0875 7", "3.5 .35 28"),
    "gpt-5.1": ("1.25 .125 10", ".625 .0625 5", "2.5 .25 20"),
    "gpt-5": ("1.25 .125 10", ".625 .0625 5", "2.5 .25 20"),
    "gpt-5-mini": (".25 .025 2", ".125 .0125 1", ".45 .045 3.6"),
    "gpt-5-nano": (".05 .005 .4", ".025 .0025 .2", ""),
    "gpt-4.1": ("2 .5 8", "1 1 4", "3.5 .875 14"),
    "gpt-4.1-mini": (".4 .1 1.6", ".2 .2 .8", ".7 .175 2.8"),
    "gpt-4.1-nano": (".1 .025 .4", ".05 .05 .2", ".2 .05 .8"),
    "gpt-4o": ("2.5 1.25 10", "1.25 1.25 5", "4.25 2.125 17"),
    "gpt-4o-mini": (".15 .075 .6", ".075 .075 .3", ".25 .125 1"),
    "o3": ("2 .5 8", "1 1 4", "3.5 .875 14"),
    "o4-mini": ("1.1 .275 4.4", ".55 .55 2.2", "2 .5 8"),
    "o1": ("15 7.5 60", "7.5 7.5 30", ""),
    "ft:gpt-4o-2024-08-06": ("3.75 1.875 15", "", ""),
    "ft:gpt-4o-mini": (".3 .15 1.2", "", ""),
    "ft:gpt-4.1": ("3 .75 12", "", ""),
    "ft:gpt-4.1-mini": (".8 .2 3.2", "", ""),
    "ft:gpt-4.1-nano": (".2 .05 .8", "", ""),
}


@pytest.mark.parametrize(("column", "tier"), [(0, None), (1, "batch"), (2, "priority")])
@pytest.mark.parametrize("model", PRICE_LIST)
def test_lane_costs_what_the_list_says(model: str, column: int, tier: str | None) -> None:
    listed = [Fraction(figure) for figure in PRICE_LIST[model][column].split()]
    found = [dollars_a_million(model, kind, tier) for kind in ("in", "cached", "out")]
    assert found == listed if listed else not any(found)


@pytest.mark.parametrize(
    ("model", "flex"),
    [
        ("o3", "1 .25 4"),
        ("o4-mini", ".55 .138 2.2"),
        ("gpt-5.4", "1.25 .125 7.5"),
        ("gpt-5-nano", ".025 .0025 .2"),
        ("gpt-6-luna", ".05 .005 .25"),
        ("gpt-4o", ""),
        ("gpt-4.1", ""),
    ],
)
def test_flex_costs_half_where_it_is_offered(model: str, flex: str) -> None:
    listed = [Fraction(figure) for figure in flex.split()]
    found = [dollars_a_million(model, kind, "flex") for kind in ("in", "cached", "out")]
    assert found == listed if listed else not any(found)


@pytest.mark.parametrize(
    ("model", "write"),
    [("gpt-6-astra", "12.5"), ("gpt-5.6-sol", "5"), ("gpt-5.6-luna", ".25"), ("gpt-5.5", "5")],
)
def test_cache_writes_have_their_price_or_that_of_input(model: str, write: str) -> None:
    assert dollars_a_million(model, "write", None) == Fraction(write)


def test_ultrafast_costs_six_times_as_much() -> None:
    found = [dollars_a_million("gpt-6.1-sol", kind, "ultrafast") for kind in ("in", "cached")]
    assert found == [12, Fraction("0.6")]


@pytest.mark.parametrize(
    ("name", "lane"),
    [("auto", None), ("default", None), ("standard", None), ("fast", "priority")],
)
def test_lanes_go_by_several_names(name: str, lane: str | None) -> None:
    usage = TokenUsage(input=1000, output=100)
    assert price(spec_of("gpt-5.5"), usage, name) == price(spec_of("gpt-5.5"), usage, lane)


def test_unknown_lane_has_no_price() -> None:
    assert price(spec_of("gpt-5.5"), TokenUsage(input=1), "scale") is None


def test_model_without_a_price_list_has_no_price() -> None:
    assert price(spec_of("gpt-4-turbo"), TokenUsage(input=1), None) is None


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    usage = TokenUsage(input=1000, cached=600, cache_write=300, output=50, reasoning=20)
    assert price(spec_of("gpt-5.6-sol"), usage, None) == (
        100 * 4000 + 600 * 400 + 300 * 5000 + 50 * 20_000
    )


@pytest.mark.parametrize(
    ("model", "tokens", "nano"),
    [
        ("gpt-5.5", 272_000, 272_000 * 5000 + 10 * 30_000),
        ("gpt-5.5", 272_001, 272_001 * 10_000 + 10 * 45_000),
        ("gpt-4.1", 272_001, 272_001 * 2000 + 10 * 8000),
    ],
)
def test_long_context_raises_the_whole_request(model: str, tokens: int, nano: int) -> None:
    assert price(spec_of(model), TokenUsage(input=tokens, output=10), None) == nano


@pytest.mark.parametrize(("pico", "nano"), [(499, 0), (500, 1), (1499, 1), (1500, 2)])
def test_total_is_rounded_half_up_to_nano_dollars(pico: int, nano: int) -> None:
    assert price(with_rates(input=pico), TokenUsage(input=1), None) == nano


def test_rounding_happens_once() -> None:
    spec = with_rates(input=400, output=400)
    assert price(spec, TokenUsage(input=1, output=1), None) == 1


@given(
    st.sampled_from([name for name in TABLE.names if spec_of(name).prices]),
    st.tuples(*[st.integers(0, 400_000)] * 4),
    st.sampled_from([None, "flex", "batch", "priority"]),
)
def test_nothing_costs_more_than_the_worst_case(
    model: str, counts: tuple[int, int, int, int], tier: str | None
) -> None:
    fresh, cached, written, output = counts
    inputs = fresh + cached + written
    usage = TokenUsage(input=inputs, cached=cached, cache_write=written, output=output)
    cost = price(spec_of(model), usage, tier)
    worst = worst_price(spec_of(model), input_tokens=inputs, output_tokens=output, tier=tier)
    assert (cost is None) == (worst is None)
    assert cost is None or worst is None or 0 <= cost <= worst
