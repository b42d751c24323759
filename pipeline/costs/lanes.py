"""What the same tokens cost in the other lanes that a model is sold in."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import price
from pipeline.costs.rates import name_lane
from pipeline.domain.usage import TokenUsage

_COMPARED: Final = ("standard", "flex", "batch")


def compare_lanes(
    spec: ModelSpec | None, usages: Iterable[TokenUsage], tier: str | None
) -> dict[str, Fraction]:
    """Lanes to how many times as much they cost as the lane that was used, that one first.

    Empty when the model has no price, or nothing was used.

    Args:
        spec: the model; None when it is not in the table.
        usages: of single answers.
        tier: the lane they were asked in, as a server or a setting names it.
    """
    used = name_lane(tier)
    if spec is None or used is None:
        return {}
    usages = list(usages)
    lanes = dict.fromkeys((used, *_COMPARED))
    costs = {lane: [price(spec, usage, lane) for usage in usages] for lane in lanes}
    sums = {lane: sum(cost or 0 for cost in each) for lane, each in costs.items()}
    return {lane: Fraction(sums[lane], sums[used]) for lane in lanes if sums[used] and sums[lane]}
