"""The prepared picture, decoded once, and the small views of it that measurements share."""

import io
from functools import cached_property
from typing import Final

from PIL import Image, ImageFilter

from pipeline.domain.errors import RequestRejected

VIEW_SIDE: Final = 384
"""Longest side, pixels, of the view everything is measured on: it makes sizes comparable."""
_SWATCH_SIDE: Final = 128
_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
_HIGH_BYTES: Final = tuple(value >> 8 for value in range(65536))
_MAGNITUDE: Final = tuple(abs(value - 128) for value in range(256))


class Picture:
    """Views of one picture; each is made when first asked for, so unasked work is never done.

    Args:
        data: a JPEG, PNG or WebP file; transparent parts are seen on white.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def view(self) -> Image.Image:
        """RGB, no side above ``VIEW_SIDE``, never enlarged.

        Raises:
            RequestRejected: the bytes are no whole picture of these formats.
        """
        try:
            with Image.open(io.BytesIO(self._data), formats=_FORMATS) as opened:
                return _shrink(_decode(opened), VIEW_SIDE, Image.Resampling.BOX)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RequestRejected(f"the prepared picture cannot be decoded: {error}") from error

    @cached_property
    def swatch(self) -> Image.Image:
        """RGB, a sample of the view: averaging would make new colours along every edge."""
        return _shrink(self.view, _SWATCH_SIDE, Image.Resampling.NEAREST)

    @cached_property
    def luma(self) -> Image.Image:
        return self.view.convert("L")

    @cached_property
    def edges(self) -> Image.Image | None:
        """Size of the Laplacian, 0 to 128, without the border; None under 3 pixels."""
        width, height = self.luma.size
        if min(width, height) < 3:  # noqa: PLR2004 - the side of the kernel
            return None
        filtered = self.luma.filter(_LAPLACIAN).crop((1, 1, width - 1, height - 1))
        return filtered.point(_MAGNITUDE)


def _decode(opened: Image.Image) -> Image.Image:
    width, height = opened.size
    scale = VIEW_SIDE / max(width, height)
    # a JPEG decodes at a fraction of its size for a fraction of the work
    opened.draft("RGB", (max(1, int(width * scale)), max(1, int(height * scale))))
    if opened.mode.startswith("I;16"):
        # Pillow's own way to 8 bits clips instead of scaling
        return opened.convert("I").point(_HIGH_BYTES, "L").convert("RGB")
    if not opened.has_transparency_data:
        return opened.convert("RGB")
    seen = opened.convert("RGBA")
    white = Image.new("RGBA", seen.size, "white")
    return Image.alpha_composite(white, seen).convert("RGB")


def _shrink(image: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), how)
