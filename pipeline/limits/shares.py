"""How several runs with one key divide what the key allows."""

from collections.abc import Sequence
from dataclasses import dataclass

_ROOM = 1.25
"""Who has enough keeps that multiple of what it uses, to grow before it has to ask."""
_FOOTHOLD = 0.1
"""Of an equal share, for who uses nothing: its first requests need not wait for a new division."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one run used of the rate of late, and whether it wanted more."""

    use_per_second: float
    is_hungry: bool


def apportion(own: Demand, others: Sequence[Demand]) -> float:
    """Our share of the rate, above 0 and at most 1.

    Max-min fair (Bertsekas and Gallager, Data Networks, 6.5.2): who is not hungry gets what it
    used and some room, at most an equal share; the hungry ones divide the rest equally. All who
    know the same demands come to shares that add up to 1.
    """
    everybody = [own, *others]
    wants = [_want(demand, everybody) for demand in everybody]
    if not any(demand.is_hungry for demand in everybody):
        return wants[0] / sum(wants)
    return min(wants[0], _find_water_level(wants))


def _want(demand: Demand, everybody: Sequence[Demand]) -> float:
    # While somebody is hungry, all of the rate is in use: the sum of uses stands for it.
    if demand.is_hungry:
        return 1.0
    total = sum(other.use_per_second for other in everybody)
    used = demand.use_per_second / total if total > 0 else 0.0
    return min(1.0, used * _ROOM + _FOOTHOLD / len(everybody))


def _find_water_level(wants: Sequence[float]) -> float:
    """The share that nobody passes, so that all of it is given away."""
    left = 1.0
    for index, want in enumerate(sorted(wants)):
        level = left / (len(wants) - index)
        if want >= level:
            return level
        left -= want
    return 1.0
