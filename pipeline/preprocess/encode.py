"""Chooses the format to send and encodes: the same pixels always give the same bytes."""

import io
from typing import Any, Literal, TypeAlias

from PIL import Image

OutputFormat: TypeAlias = Literal["jpeg", "png", "webp"]

_FEW_COLORS = 256
_FEW_GRAYS = 32
"""A photograph in grey has at most 256 levels; a drawing has few."""


def choose_format(image: Image.Image, *, is_lossless: bool) -> OutputFormat:
    """PNG for flat graphics that were stored without loss, JPEG for everything else."""
    limit = _FEW_GRAYS if image.mode == "L" else _FEW_COLORS
    is_flat = is_lossless and image.getcolors(limit) is not None
    return "png" if is_flat else "jpeg"


def encode_picture(image: Image.Image, output: OutputFormat, quality: int) -> bytes:
    """Encodes an L or RGB picture, without any metadata."""
    # Pillow writes comments and profiles that came along from the original
    image.info = {}
    options: dict[OutputFormat, dict[str, Any]] = {
        "jpeg": {"quality": quality, "subsampling": "4:2:0"},
        "png": {},
        "webp": {"quality": quality},
    }
    out = io.BytesIO()
    image.save(out, output.upper(), **options[output])
    return out.getvalue()
