"""Small upright pictures for pages."""

from typing import Final

from pipeline.domain.errors import ImageError
from pipeline.preprocess.prepare import PrepareOptions, prepare_image
from pipeline.preprocess.sizes import fit_longest_side

_LONGEST_SIDE: Final = 320
_QUALITY: Final = 72


def make_thumbnail(data: bytes, *, max_bytes: int, max_pixels: int) -> bytes | None:
    """A small upright JPEG without metadata; None for what is no picture that can be shown.

    Args:
        data: the file.
        max_bytes: of a file that is looked at.
        max_pixels: of a picture that is decoded.
    """
    options = PrepareOptions(
        fit=fit_longest_side(_LONGEST_SIDE),
        format="jpeg",
        quality=_QUALITY,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        min_side=1,
        description="thumbnail",
    )
    try:
        return prepare_image(data, options).data
    except ImageError:
        return None
