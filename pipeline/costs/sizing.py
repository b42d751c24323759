"""How a family of models counts a picture: the numbers of the patch and of the tile scheme."""

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.domain.vision import Detail


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRule:
    """Limits of one detail level; None is no such limit."""

    max_patches: int | None = None
    """The service shrinks the picture until it has at most so many patches."""
    max_side: int | None = None
    """Pixels; the service shrinks the longest side to it."""
    reject_above: int | None = None
    """Patches; the service refuses a picture with more."""
    assumed: bool = False
    """True when the maker does not state this rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSizing:
    """Squares of 32 pixels, each worth the model's multiplier in tokens."""

    low: PatchRule
    high: PatchRule
    original: PatchRule | None = None
    """None when the family has no such detail level."""
    auto: Detail = Detail.HIGH
    """What the service does when ``auto`` or nothing is asked for."""

    def rule(self, detail: Detail) -> PatchRule:
        """The rule that counts; a level the family lacks is planned as ``high``."""
        level = self.auto if detail is Detail.AUTO else detail
        if level is Detail.LOW:
            return self.low
        if level is Detail.ORIGINAL and self.original is not None:
            return self.original
        return self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSizing:
    """Squares of 512 pixels over a shrunk picture, and a base that even ``low`` costs.

    Every level but ``low`` is counted as ``high``: the service has no other, and chooses on
    ``auto`` by rules it does not publish.
    """

    base: int
    per_tile: int
    max_side: int
    """Pixels; the longest side is shrunk to it first."""
    short_side: int
    """Pixels; then the shortest side to this."""
    low_side: int | None = None
    """Pixels of the square that ``low`` looks at for the base alone; None: ``low`` has tiles."""
    high_extra_square: int = 0
    """Tokens that ``high`` adds to a square picture."""
    high_extra_oblong: int = 0


Sizing: TypeAlias = PatchSizing | TileSizing
