"""What tokens cost by lane, in integer pico-dollars (10⁻¹² USD) per token, so that it is exact."""

from dataclasses import dataclass
from fractions import Fraction

PICO_PER_NANO = 1_000

_LANE_OF_TIER = {
    "": "standard",
    "auto": "standard",
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "batch": "batch",
    "priority": "priority",
    "fast": "priority",  # sold as fast, reported as priority
    "ultrafast": "ultrafast",
}


def name_lane(tier: str | None) -> str | None:
    """The price list's name of a lane; None when the list has no such lane.

    Args:
        tier: as a server or a setting names it; None, ``auto`` and ``default`` are standard.
    """
    return _LANE_OF_TIER.get(tier or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Pico-dollars per token in one lane. A dollar per million tokens is 1,000,000 of them."""

    input: int
    cached: int
    cache_write: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """One row of the price list: every lane the model is sold in."""

    standard: Rates
    flex: Rates | None = None
    batch: Rates | None = None
    priority: Rates | None = None
    ultrafast: Rates | None = None
    source: str = ""
    """Where the row was read, and when."""

    def find(self, tier: str | None) -> Rates | None:
        """Rates of the lane that answered (see ``name_lane``); None: unknown or not sold."""
        lane = name_lane(tier)
        rates: Rates | None = getattr(self, lane) if lane else None
        return rates


@dataclass(frozen=True, slots=True, kw_only=True)
class LongContext:
    """A request with more than ``above`` input tokens pays more for all of its tokens."""

    above: int
    input: Fraction
    """Factor on input, cached and cache-written tokens."""
    output: Fraction
