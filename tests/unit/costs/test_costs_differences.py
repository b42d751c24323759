"""What an answer cost beyond its quote, split into causes that always add up."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.differences import Gap, split_difference
from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.prices import price
from pipeline.domain.outcomes import Spend
from pipeline.domain.usage import NanoDollars, Quote, TokenUsage

TABLE = load_models(on=date(2026, 11, 20))
PRICED = [name for name in TABLE.names if TABLE.find(name).prices]  # type: ignore[union-attr]
MODEL, OTHER = "gpt-5.6-sol", "gpt-5.4-nano"
# nano-dollars a token of gpt-5.6-sol: input 4000, cached 400, written 5000, output 20000
EXPECTED = TokenUsage(input=1_000, output=50)


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


def quote_of(usage: TokenUsage, *, model: str = MODEL, tier: str = "default") -> Quote:
    cost = price(spec_of(model), usage, tier)
    return Quote(input=usage.input, cached=usage.cached, output=usage.output, cost=cost)


def spend_of(usage: TokenUsage, *, model: str = MODEL, tier: str | None = "default") -> Spend:
    cost = price(spec_of(model), usage, tier)
    return Spend(usage=usage, cost=cost, model=model, service_tier=tier)


def split(spend: Spend, quote: Quote | None = None, *, tier: str = "default") -> dict[Gap, int]:
    quote = quote or quote_of(EXPECTED, tier=tier)
    return dict(split_difference(quote, spend, spec=spec_of(MODEL), tier=tier))


def test_what_came_as_quoted_has_no_cause() -> None:
    assert split(spend_of(EXPECTED)) == {}


@pytest.mark.parametrize(
    ("usage", "gaps"),
    [
        (replace(EXPECTED, input=1_100), {Gap.INPUT: 100 * 4_000}),
        (replace(EXPECTED, output=40), {Gap.OUTPUT: -10 * 20_000}),
        (replace(EXPECTED, cached=500), {Gap.CACHE: -500 * 3_600}),
        (replace(EXPECTED, cache_write=500), {Gap.CACHE: 500 * 1_000}),
        (
            TokenUsage(input=900, cached=100, output=60),
            {Gap.INPUT: -100 * 4_000, Gap.CACHE: -100 * 3_600, Gap.OUTPUT: 10 * 20_000},
        ),
    ],
)
def test_tokens_are_told_apart(usage: TokenUsage, gaps: dict[Gap, int]) -> None:
    assert split(spend_of(usage)) == gaps


def test_words_that_were_quoted_as_cached_and_were_not_are_the_caches_doing() -> None:
    quote = quote_of(replace(EXPECTED, cached=500))
    assert split(spend_of(EXPECTED), quote) == {Gap.CACHE: 500 * 3_600}


def test_another_lane_is_named() -> None:
    whole = price(spec_of(MODEL), EXPECTED, "default")
    assert whole is not None
    assert split(spend_of(EXPECTED), tier="flex") == {Gap.LANE: whole // 2}
    assert split(spend_of(EXPECTED, tier=None)) == {}


def test_another_model_is_named() -> None:
    spend = spend_of(EXPECTED, model=OTHER)
    quote = quote_of(EXPECTED)
    assert spend.cost is not None
    assert quote.cost is not None
    assert split(spend, quote) == {Gap.MODEL: spend.cost - quote.cost}


def test_a_price_list_that_changed_meanwhile_is_named() -> None:
    quote = quote_of(EXPECTED)
    assert quote.cost is not None
    older = replace(quote, cost=NanoDollars(quote.cost - 7))
    assert split(spend_of(EXPECTED), older) == {Gap.PRICES: 7}


def test_without_a_price_there_is_nothing_to_split() -> None:
    quote, spend = quote_of(EXPECTED), spend_of(replace(EXPECTED, output=1))
    assert split(replace(spend, cost=None), quote) == {}
    assert split(spend, replace(quote, cost=None)) == {}
    assert not split_difference(quote, spend, spec=None, tier="default")


TOKENS = st.integers(0, 300_000)
USAGES = st.builds(
    lambda fresh, cached, written, output: TokenUsage(
        input=fresh + cached + written, cached=cached, cache_write=written, output=output
    ),
    TOKENS, TOKENS, TOKENS, TOKENS,
)  # fmt: skip
TIERS = st.sampled_from(["auto", "default", "flex", "batch", "priority"])


@given(
    asked=st.sampled_from(PRICED),
    answered=st.sampled_from(PRICED),
    tier=TIERS,
    lane=st.none() | TIERS | st.just("scale"),
    expected=USAGES,
    used=USAGES,
    drifted=st.integers(-5, 5),
)
def test_parts_always_add_up_to_the_difference(  # noqa: PLR0913, PLR0917  one for each axis
    asked: str,
    answered: str,
    tier: str,
    lane: str | None,
    expected: TokenUsage,
    used: TokenUsage,
    drifted: int,
) -> None:
    quote = quote_of(expected, model=asked, tier=tier)
    if quote.cost is not None:
        quote = replace(quote, cost=NanoDollars(quote.cost + drifted))
    spend = spend_of(used, model=answered, tier=lane)
    gaps = split_difference(quote, spend, spec=spec_of(asked), tier=tier)
    if quote.cost is None or spend.cost is None:
        assert not gaps
    else:
        assert sum(gaps.values()) == spend.cost - quote.cost
        assert all(gaps.values())
