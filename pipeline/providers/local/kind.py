"""What kind of picture it is, when the pixels leave no doubt: photo, graphic or document."""

from typing import Final, NamedTuple

from PIL import Image

from pipeline.providers.local.picture import Picture
from pipeline.providers.local.shades import Rgb

# Thresholds come from looking at photographs (blurred, grey and cut out ones too), scans,
# charts, logos and screenshots; between them lies a gap that is answered with None.
_FLAT_BELOW: Final = 3
_TEXTURE_BELOW: Final = 24
_PAGE_LUMA: Final = 190
_PAGE_SHARE: Final = 0.6
_INK_SHARES: Final = (0.003, 0.35)
_INK_DEPTH: Final = 48
_PAGE_COLORFULNESS: Final = 0.1
_TEXT_LINES: Final = 5
_TEXT_COLUMNS: Final = 2
_UPRIGHT: Final = 1.15
_COLUMNS: Final = 6
_LEAST_SUBJECT: Final = 0.02
_APART: Final = 10
_BLOCK: Final = 4
_COMMON_LEVELS: Final = 16


class Texture(NamedTuple):
    """How the subject's pixels change from one to the next; shares of 0 to 1."""

    size: float
    """Share of the picture that lies well within the subject."""
    flat: float
    fine: float
    concentration: float
    """Share of the 16 most common of 256 levels of luma."""


def tell_kind(picture: Picture, background: Rgb | None) -> str | None:
    """``photo``, ``graphic`` or ``document``; None when the evidence is thin or mixed."""
    if picture.edges is None:
        return None
    if _is_document(picture):
        return "document"
    texture = measure_texture(picture.luma, picture.edges, background)
    if texture.size < _LEAST_SUBJECT:
        return None
    if texture.size >= 0.1 and texture.fine >= 0.2 and texture.concentration <= 0.6:  # noqa: PLR2004 - see above
        return "photo"
    if texture.flat >= 0.6 and texture.concentration >= 0.85:  # noqa: PLR2004 - see above
        return "graphic"
    return None


def measure_texture(luma: Image.Image, edges: Image.Image, background: Rgb | None) -> Texture:
    """Statistics of the subject alone: a plain background would pass for a drawing."""
    inner = luma.crop((1, 1, luma.width - 1, luma.height - 1))
    mask = None if background is None else _mask_subject(inner, background)
    steps, levels = edges.histogram(mask), inner.histogram(mask)
    count = sum(steps)
    pixels = max(1, count)
    return Texture(
        size=count / (inner.width * inner.height),
        flat=sum(steps[:_FLAT_BELOW]) / pixels,
        fine=sum(steps[_FLAT_BELOW:_TEXTURE_BELOW]) / pixels,
        concentration=sum(sorted(levels, reverse=True)[:_COMMON_LEVELS]) / pixels,
    )


def _mask_subject(luma: Image.Image, background: Rgb) -> Image.Image:
    """Blocks that lie wholly in the subject: lines and letters alone make no texture."""
    level = _to_luma(background)
    apart = luma.point([255 if abs(value - level) > _APART else 0 for value in range(256)])
    blocks = apart.reduce(_BLOCK).point([255 if value == 255 else 0 for value in range(256)])  # noqa: PLR2004 - a full block
    return blocks.resize(luma.size, Image.Resampling.NEAREST)


def _to_luma(color: Rgb) -> int:
    red, green, blue = color
    return (299 * red + 587 * green + 114 * blue) // 1000


def _is_document(picture: Picture) -> bool:
    """A light, nearly colourless, upright page with ink that lies in lines.

    Text on a wide ground may as well be a screenshot, a slide or a labelled drawing.
    """
    if picture.luma.height < _UPRIGHT * picture.luma.width:
        return False
    levels = picture.luma.histogram()
    pixels = sum(levels)
    page = max(range(256), key=levels.__getitem__)
    ink_share = sum(levels[: max(0, page - _INK_DEPTH)]) / pixels
    low, high = _INK_SHARES
    if page < _PAGE_LUMA or sum(levels[page - 20 :]) < _PAGE_SHARE * pixels:
        return False
    if not low <= ink_share <= high or _measure_colorfulness(picture.swatch) > _PAGE_COLORFULNESS:
        return False
    return _count_lines(picture.luma, page) >= _TEXT_LINES


def _measure_colorfulness(swatch: Image.Image) -> float:
    """Share of the pixels that are more than a quarter saturated."""
    histogram = swatch.convert("HSV").getchannel("S").histogram()
    return sum(histogram[64:]) / sum(histogram)


def _count_lines(luma: Image.Image, page: int) -> int:
    """Bands of ink, with blank bands between, down the second fullest of six columns.

    Narrow columns keep the lines of a page that lies a little askew apart.
    """
    ink = luma.point([255 if value < page - _INK_DEPTH else 0 for value in range(256)])
    profile = ink.resize((_COLUMNS, luma.height), Image.Resampling.BOX).tobytes()
    counts = sorted(_count_bands(profile[column::_COLUMNS]) for column in range(_COLUMNS))
    return counts[-_TEXT_COLUMNS]


def _count_bands(column: bytes) -> int:
    """Bands of ink about as thin as text: at most a twentieth of the page."""
    thickest = max(2, len(column) // 20)
    bands, start = 0, None
    for row, value in enumerate((*column, 0)):
        inked = value > 20  # noqa: PLR2004 - about one pixel in twelve
        if inked and start is None:
            start = row
        elif not inked and start is not None:
            bands += row - start <= thickest
            start = None
    return bands
