"""Memory: how much preparing an image takes, and how little of it stays behind."""

import ctypes
import sys

from PIL import _imaging

from pipeline.domain.images import ImageFormat

_PIXEL_BYTES = 4
"""Pillow holds a pixel of RGB in four bytes."""
_COEFFICIENT_BYTES = 6
"""A progressive JPEG holds two bytes for each of three components until its last scan."""
_COPIES = {
    None: 4,
    ImageFormat.WEBP: 4,  # two canvases of the decoder, the bytes handed over, Pillow's own
    ImageFormat.AVIF: 4,  # the decoder's planes, its RGB, the bytes handed over, Pillow's own
    ImageFormat.HEIC: 4,
}
_OTHER_COPIES = 3  # as decoded, as RGBA, and premultiplied for resizing
_LARGEST_SCALE = 8
_OVERHEAD_BYTES = 1 << 20

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MMAP_THRESHOLD_BYTES = 4 << 20
_ARENAS = 2
_KEPT_BLOCKS = 4
"""Pillow's blocks are of 16 MB; as many are kept as two threads use at once."""


def estimate_memory_bytes(
    width: int,
    height: int,
    file_bytes: int,
    *,
    image_format: ImageFormat | None = None,
    is_progressive: bool = True,
    target: tuple[int, int] | None = None,
) -> int:
    """Upper estimate of what `prepare_image` holds at once, the file's own bytes included.

    Args:
        width: of the original, in pixels.
        height: of the original, in pixels.
        file_bytes: size of the file.
        image_format: what is not known is taken to be the most wasteful one.
        is_progressive: of a JPEG; its coefficients are held whole, however small the target.
        target: the size to send; a JPEG is decoded at the power of two above it.
    """
    pixels = width * height
    target_width, target_height = target or (width, height)
    held = 2 * file_bytes + _OVERHEAD_BYTES + 3 * _PIXEL_BYTES * target_width * target_height
    if image_format is not ImageFormat.JPEG:
        copies = _COPIES.get(image_format, _OTHER_COPIES)
        half_resized = _PIXEL_BYTES * target_width * height
        return held + half_resized + copies * _PIXEL_BYTES * pixels
    scale = _draft_scale(width // target_width, height // target_height)
    rows = -(-height // scale)
    decoded_and_half_resized = _PIXEL_BYTES * (-(-width // scale) + target_width) * rows
    coefficients = _COEFFICIENT_BYTES * pixels if is_progressive else 0
    return held + decoded_and_half_resized + coefficients


def _draft_scale(*ratios: int) -> int:
    ratio = max(1, min(*ratios, _LARGEST_SCALE))
    return 1 << (ratio.bit_length() - 1)


def tune_allocators() -> bool:
    """Ask the allocators to give large buffers back at once, save those the next picture needs.

    Left alone, glibc keeps an arena a thread and freed pictures in each: measured with 500
    photographs of 12 megapixels, 193 MB at peak instead of 242, at the same CPU. Call once,
    before threads start.

    Returns:
        Whether the C library took it; elsewhere than on glibc nothing happens.
    """
    _imaging.set_blocks_max(_KEPT_BLOCKS)
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES), (_M_ARENA_MAX, _ARENAS))
    taken = [mallopt(name, value) == 1 for name, value in wanted]
    return all(taken)
