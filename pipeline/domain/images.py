"""Where an image is, what it turned out to be, and the bytes we would send of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

ImageId = NewType("ImageId", int)

IMAGE_EXTENSIONS = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "pjpeg", "png", "apng", "webp", "gif", "bmp", "dib", "tif",
    "tiff", "avif", "avifs", "heic", "heics", "heif", "heifs", "hif", "jxl",
))  # fmt: skip
"""Names that promise a picture; what a file is, its content decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One listed image: its address and what tells, without reading it, that it changed."""

    uri: str
    size: int
    """Bytes."""
    version: str
    """Changes whenever the content may have: mtime in nanoseconds, or an etag."""


class ImageFormat(StrEnum):
    """What a file is by its content, whatever its name says."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    TIFF = "tiff"
    AVIF = "avif"
    HEIC = "heic"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """Facts of the original file. They stay here; nothing of them is ever sent."""

    format: ImageFormat
    width: int
    """Pixels, upright (after EXIF orientation)."""
    height: int
    orientation: int = 1
    """EXIF orientation 1 to 8 as found in the file."""
    frames: int = 1
    has_transparency: bool = False
    """Whether the file has an alpha channel or transparent colour in use."""
    camera: str | None = None
    taken_at: datetime | None = None
    """Naive: EXIF knows no time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """The bytes a provider gets: upright, right-sized, without metadata, deterministic."""

    data: bytes = field(repr=False)
    media_type: str
    """``image/jpeg``, ``image/png`` or ``image/webp``."""
    width: int
    height: int
    fingerprint: bytes
    """sha256 of ``data``: what makes two pictures the same picture."""
    info: ImageInfo
