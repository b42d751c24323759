"""From a pilot to the rest: stratified estimates of totals and shares, with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist, fmean, variance
from typing import Final

from pipeline.engine.pilot import Stratum

_CONFIDENCE: Final = 0.95
_NORMAL: Final = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
# Student's t at 97.5 %; from five degrees on the expansion below is right to three digits
_FEW_DEGREES: Final = (12.7062, 4.3027, 3.1824, 2.7764)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What became of one image of the sample."""

    stratum: Stratum
    cost_nanos: int
    input_tokens: int
    output_tokens: int
    is_failed: bool
    """It ended without an answer, for whatever cause."""
    is_refused: bool
    """The model or the provider would not answer about it."""
    needs_review: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and where the truth lies with 95 %; no bounds where one image is all there is."""

    expected: float
    low: float | None
    high: float | None

    def scale(self, factor: float) -> "Interval":
        """The estimate of so many times as much."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Interval(expected=self.expected * factor, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What the images that still wait will come to, if they are like the sample."""

    images: int
    """How many wait beside the sample."""
    cost_nanos: Interval
    input_tokens: Interval
    output_tokens: Interval
    free: Interval
    """Share that costs nothing, such as copies of a picture that was answered. 0 to 1, as are all
    shares."""
    failed: Interval
    refused: Interval
    needs_review: Interval


def project(sample: Sequence[Measured], waiting: Mapping[Stratum, int]) -> Projection:
    """Estimate what asking about the rest will take.

    Args:
        sample: the images whose end is known.
        waiting: how many images there were in each stratum before any was asked about.
    """
    rest = sum(waiting.values()) - len(sample)

    def total(measure: Callable[[Measured], float]) -> Interval:
        return estimate_rest(_group(sample, measure), waiting)

    def share(is_so: Callable[[Measured], bool]) -> Interval:
        return estimate_share(_group(sample, is_so), waiting)

    return Projection(
        images=rest,
        cost_nanos=total(lambda one: one.cost_nanos),
        input_tokens=total(lambda one: one.input_tokens),
        output_tokens=total(lambda one: one.output_tokens),
        free=share(lambda one: not one.cost_nanos),
        failed=share(lambda one: one.is_failed),
        refused=share(lambda one: one.is_refused),
        needs_review=share(lambda one: one.needs_review),
    )


def _group(
    sample: Sequence[Measured], measure: Callable[[Measured], float]
) -> dict[Stratum, list[float]]:
    groups: dict[Stratum, list[float]] = {}
    for one in sample:
        groups.setdefault(one.stratum, []).append(measure(one))
    return groups


def estimate_rest(
    values: Mapping[Stratum, Sequence[float]], waiting: Mapping[Stratum, int]
) -> Interval:
    """The sum over the images that were not drawn, of a figure that cannot be negative.

    The stratified estimator with the finite population correction (Cochran, Sampling Techniques,
    3rd edition, equations 5.6 and 5.13), Student's t with Satterthwaite's degrees of freedom
    (5.16). Of one image of a stratum no variance can be told: such strata share one, that of
    their images together or that within the other strata, whichever is larger.

    Args:
        values: of the images that were drawn, by stratum.
        waiting: how many there were in each stratum, the drawn ones included.
    """
    means = _find_means(values, waiting)
    counts = {stratum: len(values.get(stratum, ())) for stratum in waiting}
    expected = sum((size - counts[one]) * means[one] for one, size in waiting.items())
    error = _find_error(values, waiting)
    if error is None:
        return Interval(expected=expected, low=None, high=None)
    return Interval(expected=expected, low=max(0.0, expected - error), high=expected + error)


def estimate_share(
    values: Mapping[Stratum, Sequence[float]], waiting: Mapping[Stratum, int]
) -> Interval:
    """The share of the images, 0 to 1, of which something is true; values are 0 or 1.

    The interval is Wilson's, of the stratified share: it says something, too, of what never
    occurred in the sample.
    """
    count, size = sum(map(len, values.values())), sum(waiting.values())
    if not count:
        return Interval(expected=0.0, low=None, high=None)
    means = _find_means(values, waiting)
    share = sum(number * means[one] for one, number in waiting.items()) / size
    if count == size:
        return Interval(expected=share, low=share, high=share)
    spread = _NORMAL**2 / count
    middle = (share + spread / 2) / (1 + spread)
    reach = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return Interval(expected=share, low=min(low, share), high=max(high, share))


def _find_means(
    values: Mapping[Stratum, Sequence[float]], waiting: Mapping[Stratum, int]
) -> dict[Stratum, float]:
    """Of each stratum; one of which nothing is known is taken to be like the others together."""
    known = {stratum: fmean(found) for stratum, found in values.items() if found}
    weight = sum(waiting[stratum] for stratum in known)
    usual = sum(waiting[one] * mean for one, mean in known.items()) / weight if weight else 0.0
    return {stratum: known.get(stratum, usual) for stratum in waiting}


def _find_error(
    values: Mapping[Stratum, Sequence[float]], waiting: Mapping[Stratum, int]
) -> float | None:
    """Half the width of the interval; None when there is nothing to tell it from."""
    parts: list[tuple[float, int]] = []  # variance and its degrees of freedom
    alone = 0.0
    for stratum, size in waiting.items():
        found = values.get(stratum, ())
        left = size - len(found)
        if left and len(found) > 1:
            parts.append((size * left / len(found) * variance(found), len(found) - 1))
        elif left:
            alone += size * (left if found else size)
    if alone:
        shared, degrees = _find_shared_variance(values)
        if not degrees:
            return None
        parts.append((alone * shared, degrees))
    total = sum(part for part, _ in parts)
    if not total:
        return 0.0
    degrees_in_all = total**2 / sum(part**2 / degrees for part, degrees in parts)
    return find_t(degrees_in_all) * sqrt(total)


def _find_shared_variance(values: Mapping[Stratum, Sequence[float]]) -> tuple[float, int]:
    """Of strata with fewer than two images, and its degrees of freedom; those are 0 if unknown."""
    single = [found[0] for found in values.values() if len(found) == 1]
    several = [found for found in values.values() if len(found) > 1]
    within = sum(len(found) - 1 for found in several)
    candidates = [(0.0, 0)]
    if len(single) > 1:
        candidates.append((variance(single), len(single) - 1))
    if within:
        spread = sum((len(found) - 1) * variance(found) for found in several)
        candidates.append((spread / within, within))
    return max(candidates)


def find_t(degrees: float) -> float:
    """Student's t at 97.5 % (Abramowitz and Stegun 26.7.5)."""
    if degrees < len(_FEW_DEGREES) + 1:
        return _FEW_DEGREES[max(0, int(degrees) - 1)]
    z, found = _NORMAL, _NORMAL
    if degrees != inf:
        found += (z**3 + z) / (4 * degrees)
        found += (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        found += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return found
