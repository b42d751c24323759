"""Whether the service counts a picture's tokens as the formula does: measured on what it billed."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from pipeline.costs.models import ModelSpec
from pipeline.costs.sizing import PatchSizing

TELLING_PICTURES: Final = 50
"""Fewer say nothing."""
TELLING_DRIFT: Final = Fraction(1, 100)
"""Published examples fit the formula to a token; a hundredth is more than rounding."""
_LEAST_SCATTER: Final = 90_000
"""Tokens squared. Where each count is off by a token, by chance, the slope is off by one over the
root of this: a third of ``TELLING_DRIFT``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over pictures that were asked about in the same words."""

    pictures: int
    tokens: int
    """Of each picture by the formula: x."""
    squares: int
    inputs: int
    """Input as billed, words and picture: y."""
    products: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """What the service counts for one token of the formula."""

    answers: int
    factor: Fraction | None
    """None where the pictures are too much of one size to be told apart from the words."""


class SlopeMeter:
    """The slope of y on x within groups, each of which has words, and so a height, of its own."""

    def __init__(self) -> None:
        self._scatter = self._joint = Fraction(0)
        self.answers = 0

    @property
    def slope(self) -> Slope:
        can_tell = self._scatter >= _LEAST_SCATTER
        factor = self._joint / self._scatter if can_tell else None
        return Slope(answers=self.answers, factor=factor)

    @property
    def is_sure(self) -> bool:
        """Whether more groups would tell nothing more."""
        return self._scatter >= _LEAST_SCATTER and self.answers >= TELLING_PICTURES

    def add(self, group: Moments) -> None:
        if not group.pictures:
            return
        self._scatter += group.squares - Fraction(group.tokens**2, group.pictures)
        self._joint += group.products - Fraction(group.tokens * group.inputs, group.pictures)
        self.answers += group.pictures


def is_telling(slope: Slope) -> bool:
    """Whether a person should be told."""
    if slope.factor is None or slope.answers < TELLING_PICTURES:
        return False
    return abs(slope.factor - 1) > TELLING_DRIFT


def correct_multiplier(spec: ModelSpec, factor: Fraction) -> Fraction | None:
    """The multiplier that fits what was billed, to four decimals; None for a model with tiles."""
    if not isinstance(spec.sizing, PatchSizing):
        return None
    return round(spec.multiplier * factor, 4)


def describe_drift(model: str, slope: Slope, spec: ModelSpec | None) -> tuple[str, str] | None:
    """What was measured and what to do about it, two half sentences; None when it is not telling.

    Args:
        model: that answered.
        slope: what was measured.
        spec: whose formula it was measured against; None for the usual rule of unknown models.
    """
    if slope.factor is None or not is_telling(slope):
        return None
    off = slope.factor - 1
    more = "more" if off > 0 else "fewer"
    what = (
        f"{model} counts {100 * abs(float(off)):.1f} % {more} picture tokens than the formula "
        f"({slope.answers:,} answers)"
    )
    return what, _advise(slope.factor, spec)


def _advise(factor: Fraction, spec: ModelSpec | None) -> str:
    if spec is None:
        return "add a row for it in a file under models:"
    multiplier = correct_multiplier(spec, factor)
    if multiplier is None:
        return f"correct the tiles of {spec.name} (sizing) in a file under models:"
    return f"add a multiplier of {float(multiplier):g} for {spec.name} in a file under models:"
