"""What the server sees of a picture: its size and a small grid of colours."""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pybase64
from PIL import Image

from pipeline.simulator.errors import ApiError, bad_request

Image.MAX_IMAGE_PIXELS = None  # a global that only warns at first; the guard is _check_picture
SENDABLE_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MAX_SIDE_PIXELS = 65_535
"""Longest side the API takes (vision guide, 2026-09)."""

_MOST_PIXELS = 180_000_000
_GRID = 8
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A picture, looked at: enough to answer about it the same way every time."""

    sha256: str
    """Of the bytes as sent, in hex."""
    width: int
    height: int
    grid: bytes
    """8 x 8 mean colours, three bytes each, row by row."""
    signature: str
    """16 hex digits that depend on size and pixels only."""

    def colors(self) -> Iterator[Color]:
        for start in range(0, len(self.grid), 3):
            red, green, blue = self.grid[start : start + 3]
            yield red, green, blue


def look_at(data: bytes) -> Sight:
    """Decode a picture and look at it; a few milliseconds of CPU, so not for the event loop.

    Raises:
        ApiError: 400, the bytes are no picture the API takes.
    """
    try:
        with Image.open(io.BytesIO(data), formats=SENDABLE_FORMATS) as image:
            width, height = image.size
            _check_picture(image)
            grid = _average_colors(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise _refuse_format() from error
    marks = hashlib.blake2b(grid, digest_size=8, key=f"{width}x{height}".encode())
    return Sight(
        sha256=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        grid=grid,
        signature=marks.hexdigest(),
    )


def look_at_nothing(text: str) -> Sight:
    """Stand in for a picture in a request that has only ``text``."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Sight(sha256="", width=0, height=0, grid=bytes(3), signature=digest[:16])


def picture_signature(image_bytes: bytes) -> str:
    """Name a picture by its pixels: 16 hex digits, found in every text answered about it."""
    return look_at(image_bytes).signature


def decode_data_url(url: str, *, param: str) -> bytes:
    """Return the bytes of a base64 data URL.

    Raises:
        ApiError: 400, not a data URL of an image, or not base64.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise bad_request(
            "Failed to download image: this server takes pictures as base64 data URLs only.",
            code="invalid_image_url",
            param=param,
        )
    if not head["type"].lower().startswith("image/"):
        raise bad_request(
            "Invalid MIME type. Only image types are supported.",
            code="invalid_image_format",
            param=param,
        )
    try:
        data = pybase64.b64decode(url[head.end() :], validate=True)
    except ValueError as error:
        raise _refuse_base64(param) from error
    if not data:
        raise bad_request("The image is empty.", code="empty_image_file", param=param)
    return data


def _refuse_base64(param: str) -> ApiError:
    return bad_request("Invalid base64 image_url.", code="invalid_base64_image", param=param)


def _refuse_format() -> ApiError:
    return bad_request(
        "You uploaded an unsupported image. Please make sure your image has of one the following "
        "formats: ['png', 'jpeg', 'gif', 'webp'].",
        code="invalid_image_format",
    )


def _check_picture(image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE_PIXELS or image.width * image.height > _MOST_PIXELS:
        raise bad_request("The image is too large.", code="image_too_large")
    if image.format == "GIF" and getattr(image, "n_frames", 1) > 1:
        raise _refuse_format()


def _average_colors(image: Image.Image) -> bytes:
    # JPEG decodes at an eighth of its size, which is all a grid of eight needs
    image.draft(None, (_GRID * 8, _GRID * 8))
    # straight to RGB, Pillow warns about transparency in a palette
    whole = image.convert("RGBA") if image.mode in {"P", "PA", "LA"} else image
    return whole.convert("RGB").resize((_GRID, _GRID), Image.Resampling.BOX).tobytes()
