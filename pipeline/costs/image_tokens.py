"""Tokens of a picture, and the size the model really sees. Exact integer arithmetic.

Source of both schemes: OpenAI's guide "Images and vision" (2025 to October 2026). It does not say
how a fraction of a token is rounded; published examples fit rounding up, and the maker warns that a
bill may differ by one token. Where a ratio fits the patch budget exactly, a server that computes
with floating point may lose one row or column of patches (at most about 5 %).
"""

from fractions import Fraction
from math import isqrt

from pipeline.costs.models import ModelSpec
from pipeline.costs.sizing import PatchRule, PatchSizing, TileSizing
from pipeline.domain.errors import PipelineError
from pipeline.domain.vision import Detail

_PATCH_SIDE = 32
_TILE_SIDE = 512
_UNCHANGED = Fraction(1)


class TooManyPatches(PipelineError, ValueError):
    """The service refuses a picture of this size at this detail; ``seen_size`` is accepted."""

    def __init__(self, *, width: int, height: int, patches: int, limit: int) -> None:
        super().__init__(
            f"{width} x {height} pixels are {patches} patches and at most {limit} are accepted: "
            "shrink the picture, or ask with detail: high"
        )
        self.patches = patches
        self.limit = limit


def image_tokens(spec: ModelSpec, detail: Detail, width: int, height: int) -> int:
    """Input tokens of one picture, without the words around it.

    Args:
        spec: the model.
        detail: a level the model lacks is planned as ``high``.
        width: pixels, 1 or more, of the picture as it is sent.
        height: pixels, 1 or more.

    Raises:
        TooManyPatches: the service would refuse the picture.
    """
    sizing = spec.sizing
    if isinstance(sizing, TileSizing):
        return _tile_tokens(sizing, detail, width, height)
    rule = sizing.rule(detail)
    patches = _patches(*_shrink(width, height, _patch_scale(rule, width, height)))
    if rule.reject_above is not None and patches > rule.reject_above:
        raise TooManyPatches(width=width, height=height, patches=patches, limit=rule.reject_above)
    return _divide_up(patches * spec.multiplier.numerator, spec.multiplier.denominator)


def seen_size(spec: ModelSpec, detail: Detail, width: int, height: int) -> tuple[int, int]:
    """Width and height that the model sees: sending more pixels brings nothing.

    Never larger than the picture, always accepted, and sent in this size the picture costs as many
    tokens (patches), or as many or fewer (tiles, whose fractions of a pixel are dropped here).
    """
    sizing = spec.sizing
    if isinstance(sizing, TileSizing):
        return _shrink(width, height, _tile_scale(sizing, detail, width, height))
    rule = sizing.rule(detail)
    scale = _patch_scale(rule, width, height)
    if rule.reject_above is not None:
        scale = min(scale, _budget_scale(rule.reject_above, width, height))
    return _shrink(width, height, scale)


def fit_side(spec: ModelSpec, max_side: int, width: int, height: int) -> tuple[int, int]:
    """Fit the longest side to ``max_side``, or a little less where that saves a row of patches.

    A side that ends behind a whole patch costs a row of patches that is mostly empty: of the sizes
    that end with a whole patch, up to one patch shorter, the one is taken whose patches are the
    fullest. Models that count otherwise get the plain size. Never larger than the picture.
    """
    scale = _side_scale(max_side, width, height)
    if scale == 1:
        return width, height
    plain = _round_off(width, height, scale)
    if not isinstance(spec.sizing, PatchSizing):
        return plain
    ends = [(side, _PATCH_SIDE * (side * scale // _PATCH_SIDE)) for side in (width, height)]
    scales = [Fraction(int(end), side) for side, end in ends if end]
    longest = max(width, height)
    kept = [one for one in scales if longest * (scale - one) <= _PATCH_SIDE]
    sizes = [plain, *(_round_off(width, height, one) for one in kept)]
    return max(sizes, key=lambda size: (_fullness(*size), size))


def _fullness(width: int, height: int) -> Fraction:
    """Pixels a patch."""
    return Fraction(width * height, _patches(width, height))


def _round_off(width: int, height: int, scale: Fraction) -> tuple[int, int]:
    """Whole pixels, the nearest, at least one."""
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _patch_scale(rule: PatchRule, width: int, height: int) -> Fraction:
    """The stricter of the two shrinks, both from the original size."""
    scale = _side_scale(rule.max_side, width, height)
    if rule.max_patches is not None:
        scale = min(scale, _budget_scale(rule.max_patches, width, height))
    return scale


def _side_scale(max_side: int | None, width: int, height: int) -> Fraction:
    longest = max(width, height)
    return Fraction(max_side, longest) if max_side and longest > max_side else _UNCHANGED


def _budget_scale(max_patches: int, width: int, height: int) -> Fraction:
    """The shrink after which whole patches fill one side and fit the budget.

    The guide shrinks to the budget's area, sqrt(32² · budget / (w · h)), and again until the side
    that then holds the smaller share of whole patches is whole. In whole numbers that side is the
    one of ``columns`` and ``rows`` with the smaller scale.
    """
    if _patches(width, height) <= max_patches:
        return _UNCHANGED
    # a strip thinner than one patch still takes one, and the rest of the budget along it
    columns = min(max(isqrt(max_patches * width // height), 1), max_patches)
    rows = min(max(isqrt(max_patches * height // width), 1), max_patches)
    return min(Fraction(_PATCH_SIDE * columns, width), Fraction(_PATCH_SIDE * rows, height))


def _patches(width: int, height: int) -> int:
    return _divide_up(width, _PATCH_SIDE) * _divide_up(height, _PATCH_SIDE)


def _tile_tokens(sizing: TileSizing, detail: Detail, width: int, height: int) -> int:
    if _sees_base_only(sizing, detail):
        return sizing.base
    scale = _tile_scale(sizing, detail, width, height)
    across = _divide_up(width * scale.numerator, _TILE_SIDE * scale.denominator)
    down = _divide_up(height * scale.numerator, _TILE_SIDE * scale.denominator)
    tokens = sizing.base + across * down * sizing.per_tile
    if detail is Detail.LOW:
        return tokens
    return tokens + (sizing.high_extra_square if width == height else sizing.high_extra_oblong)


def _tile_scale(sizing: TileSizing, detail: Detail, width: int, height: int) -> Fraction:
    if _sees_base_only(sizing, detail):
        return _side_scale(sizing.low_side, width, height)
    # small pictures are not enlarged: 128 x 64 was measured as one tile
    by_long_side = _side_scale(sizing.max_side, width, height)
    return min(by_long_side, Fraction(sizing.short_side, min(width, height)))


def _sees_base_only(sizing: TileSizing, detail: Detail) -> bool:
    return detail is Detail.LOW and sizing.low_side is not None


def _shrink(width: int, height: int, scale: Fraction) -> tuple[int, int]:
    """Whole pixels, rounded down, at least one."""
    if scale == 1:
        return width, height
    across = width * scale.numerator // scale.denominator
    down = height * scale.numerator // scale.denominator
    return max(across, 1), max(down, 1)


def _divide_up(amount: int, by: int) -> int:
    return -(-amount // by)
