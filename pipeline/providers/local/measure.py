"""Light, sharpness and shape of a picture as numbers, and the plain words for them."""

import math
from array import array
from typing import Final

from PIL import Image, ImageStat

from pipeline.domain.images import ImageInfo
from pipeline.providers.local.colors import Patch
from pipeline.providers.local.picture import Picture

DARK_BELOW: Final = 0.25
BRIGHT_ABOVE: Final = 0.75
LOW_CONTRAST_BELOW: Final = 0.1
FLAT_BELOW: Final = 0.02
"""RMS contrast under which there is nothing that could be sharp or colourless."""
BLURRED_BELOW: Final = 0.15
"""About a Gaussian of 4 pixels on a picture of 768."""
_SQUARE_WITHIN: Final = 0.03
_GRAY_CHROMA: Final = 6.0
_TILE: Final = 16
_SHARPEST_FROM: Final = 0.97
_ENERGY: Final = tuple(min(255, value * value // 8) for value in range(256))
"""Squares, in units that lose no faint edge and let any hard one count as perfect."""


def measure_brightness(picture: Picture) -> float:
    """Mean luma (ITU-R BT.601), 0 to 1."""
    return round(ImageStat.Stat(picture.luma).mean[0] / 255, 3)


def measure_contrast(picture: Picture) -> float:
    """RMS contrast: the standard deviation of luma, 0 to 0.5."""
    return round(ImageStat.Stat(picture.luma).stddev[0] / 255, 3)


def measure_sharpness(picture: Picture) -> float:
    """Sharpness of the sharpest parts of the picture, 0 to 1; 0 where nothing has an edge.

    Root mean square of the Laplacian (Pech-Pacheco et al. 2000 use its variance) in tiles of
    16 pixels: the rest may be a plain wall or lie out of focus on purpose.
    """
    if picture.edges is None:
        return 0.0
    width, height = picture.edges.size
    energy = picture.edges.point(_ENERGY).convert("F")
    size = (max(1, width // _TILE), max(1, height // _TILE))
    tiles = sorted(array("f", energy.resize(size, Image.Resampling.BOX).tobytes()))
    sharpest = tiles[int(_SHARPEST_FROM * len(tiles))]
    return round(math.sqrt(sharpest / 255), 3)


def tell_orientation(info: ImageInfo) -> str:
    """``landscape``, ``portrait`` or, within 3 %, ``square``: of the upright original."""
    if abs(info.width - info.height) <= _SQUARE_WITHIN * max(info.width, info.height):
        return "square"
    return "landscape" if info.width > info.height else "portrait"


def is_black_and_white(patches: list[Patch]) -> bool:
    """Whether there is no colour, save what a scanner or JPEG leaves behind."""
    colored = sum(patch.share for patch in patches if patch.lab.chroma > _GRAY_CHROMA)
    return colored < 0.01  # noqa: PLR2004 - one pixel in a hundred
