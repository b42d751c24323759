"""Which colours a picture shows, by name and as a palette, most of it first."""

from collections import defaultdict
from typing import Final, NamedTuple

from PIL import Image

from pipeline.providers.local.shades import (
    MULTICOLOR,
    NEUTRALS,
    Lab,
    Rgb,
    match_values,
    measure_difference,
    name_shade,
    to_lab,
)

_PALETTE_COLORS: Final = 64
_LEAST_SHARE: Final = 0.06
"""A colour below this share of the object (or of the picture) is an accent, and not named."""
_MANY_COLORS: Final = 5
_LEADING_SHARE: Final = 0.4
_DEFAULT_PALETTE_ITEMS: Final = 6
_ONE_PATCH: Final = 12.0
"""CIE76 below which two colours count as one patch, light and grain aside."""
_GRAY_CHROMA: Final = 8.0
_SHADOW_DEPTH: Final = 24.0
_LIGHT_GROUND: Final = 70.0
_LEAST_OBJECT: Final = 0.03
_MORE_THAN_SHADOW: Final = 0.15
_BORDER: Final = 2
_BORDER_TOLERANCE: Final = 18
_UNIFORM_BORDER: Final = 0.93


class Patch(NamedTuple):
    """One colour of the reduced picture."""

    rgb: Rgb
    lab: Lab
    share: float
    """Of the picture's pixels, 0 to 1."""


def list_patches(swatch: Image.Image) -> list[Patch]:
    """At most 64 colours that stand for all of them, largest share first."""
    reduced = swatch.quantize(_PALETTE_COLORS, method=Image.Quantize.FASTOCTREE)
    palette = reduced.getpalette() or []
    total = swatch.width * swatch.height
    patches = []
    for index, count in enumerate(reduced.histogram()):
        if count:
            red, green, blue = palette[3 * index : 3 * index + 3]
            rgb = (red, green, blue)
            patches.append(Patch(rgb, to_lab(rgb), count / total))
    return sorted(patches, key=lambda patch: -patch.share)


def find_background(swatch: Image.Image) -> Rgb | None:
    """The colour all around the edge, when it is one colour; None for any other edge."""
    border = _cut_border(swatch)
    counts = border.histogram()
    middles = []
    for channel in range(3):
        histogram = counts[256 * channel : 256 * channel + 256]
        middle = _find_median(histogram)
        low, high = max(0, middle - _BORDER_TOLERANCE), middle + _BORDER_TOLERANCE + 1
        if sum(histogram[low:high]) < _UNIFORM_BORDER * sum(histogram):
            return None
        middles.append(middle)
    red, green, blue = middles
    return red, green, blue


def _cut_border(swatch: Image.Image) -> Image.Image:
    """The edge of the picture, two pixels wide, unrolled into one strip."""
    width, height = swatch.size
    deep = min(_BORDER, width, height)
    strip = Image.new("RGB", (2 * (width + height), deep))
    strip.paste(swatch.crop((0, 0, width, deep)), (0, 0))
    strip.paste(swatch.crop((0, height - deep, width, height)), (width, 0))
    for place, left in ((2 * width, 0), (2 * width + height, width - deep)):
        side = swatch.crop((left, 0, left + deep, height))
        strip.paste(side.transpose(Image.Transpose.ROTATE_90), (place, 0))
    return strip


def _find_median(histogram: list[int]) -> int:
    half, seen = sum(histogram) / 2, 0
    for value, count in enumerate(histogram):
        seen += count
        if seen >= half:
            return value
    return len(histogram) - 1


def find_object(patches: list[Patch], background: Rgb | None) -> list[Patch]:
    """What stands in front of a plain background, its shadows left out.

    Everything does when there is no plain background, or nothing to tell from it.
    """
    if background is None:
        return patches
    ground = to_lab(background)
    apart = [patch for patch in patches if measure_difference(patch.lab, ground) > _ONE_PATCH]
    solid = [patch for patch in apart if not _is_shadow(patch.lab, ground)]
    if _sum_shares(solid) >= _LEAST_OBJECT:
        return solid
    return apart if _sum_shares(apart) >= _MORE_THAN_SHADOW else patches


def _is_shadow(lab: Lab, ground: Lab) -> bool:
    """Whether a grey patch is only a light grey ground in less light."""
    grays = max(lab.chroma, ground.chroma) < _GRAY_CHROMA
    return grays and ground.l > _LIGHT_GROUND and 0 <= ground.l - lab.l < _SHADOW_DEPTH


def _sum_shares(patches: list[Patch]) -> float:
    return sum(patch.share for patch in patches)


def name_colors(
    patches: list[Patch], background: Rgb | None, values: tuple[str, ...] = ()
) -> list[str | None]:
    """Names by share, the object's before its background's, in the words of ``values`` if any.

    None stands in the place of a colour for which the values have no word.
    """
    front = find_object(patches, background)
    words = _rank(front, values)
    if _is_multicolored(front):
        many = _choose_word(MULTICOLOR, "", values)
        words = [many, *words] if many else words
    if background is not None and 1 - _sum_shares(front) >= _LEAST_SHARE:
        shade = name_shade(background)
        words.append(_choose_word(shade.basic, shade.key, values))
    return list(dict.fromkeys(words))


def _rank(patches: list[Patch], values: tuple[str, ...]) -> list[str | None]:
    shares: defaultdict[tuple[str | None, str], float] = defaultdict(float)
    for patch in patches:
        shade = name_shade(patch.rgb)
        word = _choose_word(shade.basic, shade.key, values)
        shares[word, "" if word else shade.basic] += patch.share
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    least = _LEAST_SHARE * _sum_shares(patches)
    return [word for (word, _), share in largest_first if share >= least]


def _choose_word(basic: str, key: str, values: tuple[str, ...]) -> str | None:
    return match_values(values).get((basic, key)) if values else basic


def _is_multicolored(front: list[Patch]) -> bool:
    shares: defaultdict[str, float] = defaultdict(float)
    for patch in front:
        shares[name_shade(patch.rgb).basic] += patch.share
    total = _sum_shares(front)
    named = [share / total for basic, share in shares.items() if basic not in NEUTRALS]
    shown = [share for share in named if share >= _LEAST_SHARE]
    return len(shown) >= _MANY_COLORS and max(shown) < _LEADING_SHARE


def list_palette(patches: list[Patch], max_items: int | None) -> list[str]:
    """Hex colours, largest first; colours that look like one are told once."""
    kept: list[Patch] = []
    for patch in patches:
        if len(kept) == (max_items or _DEFAULT_PALETTE_ITEMS):
            break
        if all(measure_difference(patch.lab, other.lab) > _ONE_PATCH for other in kept):
            kept.append(patch)
    return ["#" + bytes(patch.rgb).hex() for patch in kept]
