"""How many of all images are copies, when only a random sample of them was compared."""

import math
from collections.abc import Iterable
from typing import Final

from pipeline.costs.habits import Band

_SURE: Final = 1.96
"""Standard errors to each side of 95 % of a normal distribution."""
_UNSEEN: Final = 3.7
"""Of what was never seen as many may have been expected, 97.5 % sure (Poisson: -ln 0.025)."""
_FEW: Final = 3
"""Pictures seen up to so often may have no more copies than those; of others the share tells."""


def estimate_copies(images: int, sizes: int, *, drawn: int, repeats: Iterable[int]) -> Band:
    """How many images are copies of another one.

    Most copies of what is in a sample lie outside of it, and of a pair both are seldom drawn: each
    picture that was drawn more than once stands for as many others as its chance of that is small.
    How many copies a picture has tells the number of times it was drawn; for those drawn twice and
    thrice together, how many are of each kind, as of binomial counts. The band goes from the most
    likely number of copies to be drawn more than once to single pairs, and adds the error of
    counting few. A copy has as many bytes as its original, which bounds them all.

    Args:
        images: all.
        sizes: different sizes in bytes that they have.
        drawn: images of the sample.
        repeats: how often each picture was drawn that was drawn more than once.
    """
    counts = sorted(repeats)
    alike, seen = images - sizes, sum(counts) - len(counts)
    share = drawn / images if drawn else 1.0
    few = [count for count in counts if count <= _FEW]
    expected = len(few) * _weigh(_find_usual(few, share), share)
    low, high = _bound_few(len(few), share)
    many = [(count, _weigh(count / share, share)) for count in counts if count > _FEW]
    reach = _SURE * math.sqrt(sum(weight**2 * (1 - share) / count for count, weight in many))
    others = sum(weight for _, weight in many)
    return _within(
        Band(
            expected=round(expected + others),
            low=math.floor(low + others - reach),
            high=math.ceil(high + others + reach),
        ),
        least=min(seen, alike),
        most=alike,
    )


def _find_usual(few: list[int], share: float) -> float:
    """How often the pictures are there that were drawn twice or thrice."""
    twice, thrice = few.count(2), few.count(3)
    if not twice:
        return _FEW / share if thrice else 2.0
    return 2 + 3 * (1 - share) / share * thrice / twice


def _weigh(there: float, share: float) -> float:
    """Copies that a picture drawn more than once stands for, when it is there so often."""
    never = math.pow(1 - share, there)
    once = there * share * math.pow(1 - share, there - 1)
    return (there - 1) / max(1 - never - once, share * share)


def _bound_few(count: int, share: float) -> tuple[float, float]:
    """The least and the most copies that so many pictures, drawn twice or thrice, stand for."""
    there, least = 2.0, _weigh(2.0, share)
    while there < 4 / share:
        there = math.ceil(1.2 * there)
        least = min(least, _weigh(there, share))
    spread = _SURE * math.sqrt(count)
    return max(count - spread, 0.0) * least, (count + max(spread, _UNSEEN)) * _weigh(2.0, share)


def _within(band: Band, *, least: int, most: int) -> Band:
    """The band, no part of it below what was seen or above what can be."""
    low, expected, high = (
        min(max(end, least), most) for end in (band.low, band.expected, band.high)
    )
    return Band(expected=expected, low=min(low, expected), high=max(high, expected))
