"""Everything about a file that can be known without decoding its pixels."""

from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat, ImageInfo
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.decode import open_picture, pillow_errors
from pipeline.preprocess.exif import ExifFacts, read_exif
from pipeline.preprocess.jpeg_stream import JpegStream, read_jpeg
from pipeline.preprocess.png_stream import PngStream, read_png
from pipeline.preprocess.sniff import recognize_format
from pipeline.preprocess.webp_stream import WebpStream, read_webp

Stream: TypeAlias = JpegStream | PngStream | WebpStream

_BOXED = frozenset({ImageFormat.AVIF, ImageFormat.HEIC})
_BOX_HEAD = 8
_SWAPPING = 5
"""EXIF orientations from here on swap width and height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header says, and how its pixels are to be read."""

    info: ImageInfo
    turn: int
    """EXIF orientation that the decoder leaves for us to apply."""
    icc: bytes | None = field(repr=False)
    is_lossless: bool
    """A format for graphics, which keeps every pixel."""
    stream: Stream | None = field(repr=False)
    """Where the parts of a JPEG, PNG or WebP lie."""

    def to_stored(self, size: tuple[int, int]) -> tuple[int, int]:
        """An upright size as width and height of the pixels as they are stored."""
        width, height = size
        return (height, width) if self.turn >= _SWAPPING else (width, height)


def read_header(data: bytes, *, is_whole: bool = True) -> Header:
    """Recognises the format and reads its header.

    Raises:
        ImageError: what is wrong with the file; TRUNCATED if a head was not long enough.
    """
    image_format = recognize_format(data)
    try:
        header = _READERS.get(image_format, _read_by_pillow)(data, image_format, is_whole)
    except ImageError as error:
        if is_whole or error.cause is Cause.UNSUPPORTED_FORMAT:
            raise
        raise ImageError(Cause.TRUNCATED, "the header needs more of the file") from error
    if min(header.info.width, header.info.height) < 1:
        raise ImageError(Cause.CORRUPT, "the header gives the picture no size")
    return header


def read_info(data: bytes, *, is_whole: bool = True) -> ImageInfo:
    """Facts from the header; no pixel is decoded.

    Args:
        data: the file, or a head of it.
        is_whole: False for a head. Then `frames` and `has_transparency` are only what the head
            shows, and TRUNCATED may mean that more of the file is needed.

    Raises:
        ImageError: EMPTY, NOT_AN_IMAGE, UNSUPPORTED_FORMAT, TRUNCATED or CORRUPT.
    """
    return read_header(data, is_whole=is_whole).info


def _read_jpeg(data: bytes, image_format: ImageFormat, is_whole: bool) -> Header:
    stream = read_jpeg(data, is_whole=is_whole)
    return _from_stream(image_format, stream, frames=1, has_alpha=False, is_lossless=False)


def _read_png(data: bytes, image_format: ImageFormat, is_whole: bool) -> Header:
    stream = read_png(data, is_whole=is_whole)
    return _from_stream(
        image_format, stream, frames=stream.frames, has_alpha=stream.has_alpha, is_lossless=True
    )


def _read_webp(data: bytes, image_format: ImageFormat, is_whole: bool) -> Header:
    stream = read_webp(data, is_whole=is_whole)
    return _from_stream(
        image_format,
        stream,
        frames=stream.frames,
        has_alpha=stream.has_alpha,
        is_lossless=stream.is_lossless,
    )


_READERS = {
    ImageFormat.JPEG: _read_jpeg,
    ImageFormat.PNG: _read_png,
    ImageFormat.WEBP: _read_webp,
}


def _from_stream(
    image_format: ImageFormat, stream: Stream, *, frames: int, has_alpha: bool, is_lossless: bool
) -> Header:
    facts = read_exif(stream.exif)
    width, height = stream.width, stream.height
    if facts.orientation >= _SWAPPING:
        width, height = height, width
    info = ImageInfo(
        format=image_format,
        width=width,
        height=height,
        orientation=facts.orientation,
        frames=frames,
        has_transparency=has_alpha,
        camera=facts.camera,
        taken_at=facts.taken_at,
    )
    return Header(
        info=info, turn=facts.orientation, icc=stream.icc, is_lossless=is_lossless, stream=stream
    )


def _read_by_pillow(data: bytes, image_format: ImageFormat, is_whole: bool) -> Header:
    if is_whole and image_format in _BOXED:
        _check_boxes(data)
    with pillow_errors():
        image = open_picture(data, image_format)
        facts = _read_facts(image, data, image_format)
        turn = facts.orientation if image_format is ImageFormat.AVIF else 1
        width, height = image.size if turn < _SWAPPING else image.size[::-1]
        info = ImageInfo(
            format=image_format,
            width=width,
            height=height,
            orientation=facts.orientation,
            frames=_count_frames(image),
            has_transparency=image.has_transparency_data,
            camera=facts.camera,
            taken_at=facts.taken_at,
        )
        icc = image.info.get("icc_profile")
        is_lossless = image_format is ImageFormat.GIF
        return Header(info=info, turn=turn, icc=icc, is_lossless=is_lossless, stream=None)


def _check_boxes(data: bytes) -> None:
    """ISO base media files are a row of boxes; codecs call a cut one merely invalid."""
    position = 0
    while position + _BOX_HEAD <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:  # the true size follows in eight bytes
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < _BOX_HEAD:  # zero: to the end of the file; else the codec shall judge
            return
        position += size
    if position > len(data):
        message = f"the picture data is truncated: {len(data)} of {position} bytes"
        raise ImageError(Cause.TRUNCATED, message)


def _read_facts(image: Image.Image, data: bytes, image_format: ImageFormat) -> ExifFacts:
    block = data if image_format is ImageFormat.TIFF else image.info.get("exif")
    return read_exif(block if isinstance(block, bytes) else None)


def _count_frames(image: Image.Image) -> int:
    try:
        return max(1, int(getattr(image, "n_frames", 1)))
    except (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, RuntimeError):
        return 1  # a damaged later frame takes nothing from the first, the only one we send
