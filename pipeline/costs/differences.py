"""Why an answer cost other than it was quoted: the difference, split into causes that add up."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, TypeAlias

from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import price
from pipeline.domain.outcomes import Spend
from pipeline.domain.usage import Quote, TokenUsage


class Gap(StrEnum):
    """A cause of money between quote and bill."""

    INPUT = "input"
    """The picture or the words had other tokens."""
    CACHE = "cache"
    """More or less of the words was read from the prompt cache, or written to it."""
    OUTPUT = "output"
    """The answer was longer or shorter."""
    LANE = "lane"
    """It came out of another lane."""
    MODEL = "model"
    """It came from another model."""
    PRICES = "prices"
    """The model table changed between quote and answer."""
    FOLLOW_UPS = "follow_ups"
    """Repairs, more room and fallbacks, whole: nobody quotes them."""
    TRIED_AGAIN = "tried_again"
    """Later tries of a picture whose first was paid for or lost, whole."""
    NOT_BILLED = "not_billed"
    """Quoted, and nothing was answered."""
    LOST = "lost"
    """Quoted, and nobody knows what it cost."""
    UNQUOTED = "unquoted"
    """Paid, and nobody knew a price beforehand to compare with."""


Gaps: TypeAlias = Mapping[Gap, int]
"""Nano-dollars more (or less) than quoted, by cause."""

NO_GAPS: Final[Gaps] = {}


def split_difference(quote: Quote, spend: Spend, *, spec: ModelSpec | None, tier: str) -> Gaps:
    """Split what an answer cost beyond its quote; the parts add up to it exactly.

    The quote is priced anew, one thing after the other as it really was: tokens in, cache, tokens
    out, lane; what is left then is the other model's price. Each part is at the prices of the steps
    before it.

    Args:
        quote: what was expected.
        spend: what came.
        spec: the model that was asked, by the table of today.
        tier: the lane that was asked for.

    Returns:
        Nothing where quote or answer has no price: there is no difference to tell of.
    """
    if spec is None or quote.cost is None or spend.cost is None:
        return NO_GAPS
    used = spend.usage
    steps = (
        (Gap.PRICES, TokenUsage(input=quote.input, cached=quote.cached, output=quote.output), tier),
        # no more can be cached than there is
        (
            Gap.INPUT,
            TokenUsage(input=used.input, cached=min(quote.cached, used.input), output=quote.output),
            tier,
        ),
        (Gap.CACHE, replace(used, output=quote.output), tier),
        (Gap.OUTPUT, used, tier),
        (Gap.LANE, used, spend.service_tier),
    )
    gaps: dict[Gap, int] = {}
    before: int = quote.cost
    for gap, usage, lane in steps:
        cost = price(spec, usage, lane)
        if cost is not None:
            gaps[gap] = cost - before
            before = cost
    gaps[Gap.MODEL] = spend.cost - before
    return {gap: nanos for gap, nanos in gaps.items() if nanos}
