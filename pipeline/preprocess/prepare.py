"""The order of the steps from the bytes of a file to the bytes that are sent."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat, ImageInfo, PreparedImage
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.colors import convert_to_srgb, needs_conversion
from pipeline.preprocess.decode import load_pixels, open_picture, pillow_errors
from pipeline.preprocess.encode import OutputFormat, choose_format, encode_picture
from pipeline.preprocess.header import Header, read_header
from pipeline.preprocess.jpeg_stream import JpegColors, JpegStream, strip_jpeg, take_bare_jpeg
from pipeline.preprocess.memory import estimate_memory_bytes
from pipeline.preprocess.png_stream import PngStream, strip_png
from pipeline.preprocess.resize import flatten, shrink, turn_upright
from pipeline.preprocess.webp_stream import WebpStream, strip_webp

PREPARE_VERSION = 1
"""To be raised whenever the same file and options give other bytes: it makes answers stale."""

_LARGE_PNG_BYTES_PER_PIXEL = 1.5
"""Above this a PNG is a photograph, and several times as large as it need be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """What to make of an image, and what to refuse."""

    fit: Callable[[int, int], tuple[int, int]]
    """Upright width and height to the size to send; what would enlarge is ignored."""
    format: Literal["auto", "jpeg", "png", "webp"] = "auto"
    quality: int = 85
    """Of JPEG and WebP, 1 to 100."""
    max_bytes: int
    max_pixels: int
    min_side: int
    """Pixels of the shorter side."""
    description: str
    """What decides the bytes (see `describe_preparation`): part of a profile's fingerprint."""


def describe_preparation(*, fit: str, output_format: str = "auto", quality: int = 85) -> str:
    """What decides the prepared bytes, in words that change whenever they do."""
    return f"fit={fit} format={output_format} quality={quality} v{PREPARE_VERSION}"


def prepare_image(data: bytes, options: PrepareOptions) -> PreparedImage:
    """Upright, right-sized, without metadata; the same for every copy of a picture.

    Works in any thread; Pillow releases the interpreter lock while it decodes and resizes.

    Raises:
        ImageError: with the cause, before any pixel is decoded where the header tells.
    """
    _check_bytes(data, options)
    header = read_header(data)
    check_size(header.info, options)
    size = choose_size(header.info, options)
    ready = _pass_through(data, header, size, options)
    if ready is not None:
        return _package(ready, _own_format(header), size, header.info)
    with pillow_errors():
        return _render(data, header, options, size)


def estimate_memory(data: bytes, options: PrepareOptions) -> int:
    """Upper estimate, in bytes, of what `prepare_image` will hold for this file."""
    try:
        header = read_header(data)
    except ImageError:
        return 2 * len(data)
    stream = header.stream
    width, height = header.to_stored((header.info.width, header.info.height))
    return estimate_memory_bytes(
        width,
        height,
        len(data),
        image_format=header.info.format,
        is_progressive=isinstance(stream, JpegStream) and stream.is_progressive,
        target=header.to_stored(choose_size(header.info, options)),
    )


def _check_bytes(data: bytes, options: PrepareOptions) -> None:
    if len(data) > options.max_bytes:
        message = f"{len(data)} bytes; preprocess.max_bytes is {options.max_bytes}"
        raise ImageError(Cause.TOO_LARGE, message)


def check_size(info: ImageInfo, options: PrepareOptions) -> None:
    """Refuse what has too many pixels, or too few.

    Raises:
        ImageError: TOO_LARGE or TOO_SMALL.
    """
    sides = f"{info.width} x {info.height}"
    pixels = info.width * info.height
    if pixels > options.max_pixels:
        message = f"{sides} = {pixels} pixels; preprocess.max_pixels is {options.max_pixels}"
        raise ImageError(Cause.TOO_LARGE, message)
    if min(info.width, info.height) < options.min_side:
        message = f"{sides} pixels; preprocess.min_side is {options.min_side}"
        raise ImageError(Cause.TOO_SMALL, message)


def choose_size(info: ImageInfo, options: PrepareOptions) -> tuple[int, int]:
    """The upright size that is sent: never larger than the picture."""
    width, height = options.fit(info.width, info.height)
    return max(1, min(width, info.width)), max(1, min(height, info.height))


def keeps_pixels(
    header: Header, size: tuple[int, int], options: PrepareOptions, *, file_bytes: int
) -> bool:
    """Whether a picture is passed on as it is stored, as far as its header tells.

    Args:
        header: of the file, or of its head.
        size: the upright size that is sent.
        options: what to make of it.
        file_bytes: size of the file, or of what is left of it without metadata.
    """
    is_final = header.turn == 1 and size == (header.info.width, header.info.height)
    if not is_final or options.format not in {"auto", header.info.format}:
        return False
    stream = header.stream
    if isinstance(stream, JpegStream):
        mode = {JpegColors.GRAY: "L", JpegColors.YCC: "RGB"}.get(stream.colors)
        return mode is not None and stream.is_simple and not needs_conversion(stream.icc, mode)
    if stream is None or not stream.is_simple or _converts(stream.icc):
        return False
    return not _is_bulky(header, file_bytes, options)


def _is_bulky(header: Header, file_bytes: int, options: PrepareOptions) -> bool:
    """Whether it is a photograph kept as a PNG, though PNG is not what was asked for."""
    if not isinstance(header.stream, PngStream) or options.format == "png":
        return False
    return file_bytes > _LARGE_PNG_BYTES_PER_PIXEL * header.stream.width * header.stream.height


def _pass_through(
    data: bytes, header: Header, size: tuple[int, int], options: PrepareOptions
) -> bytes | None:
    """The picture as it is stored, without metadata; None if it has to be decoded."""
    if not keeps_pixels(header, size, options, file_bytes=0):
        return None
    stripped = _strip(data, header)
    return None if stripped is None or _is_bulky(header, len(stripped), options) else stripped


def _strip(data: bytes, header: Header) -> bytes | None:
    match header.stream:
        case JpegStream() as stream:
            return strip_jpeg(data, stream)
        case PngStream() as stream:
            return strip_png(data, stream)
        case WebpStream() as stream:
            return strip_webp(data, stream)
    return None


def _converts(icc: bytes | None) -> bool:
    return needs_conversion(icc, "RGB") or needs_conversion(icc, "L")


def _own_format(header: Header) -> OutputFormat:
    own: dict[ImageFormat, OutputFormat] = {ImageFormat.PNG: "png", ImageFormat.WEBP: "webp"}
    return own.get(header.info.format, "jpeg")


def _render(
    data: bytes, header: Header, options: PrepareOptions, size: tuple[int, int]
) -> PreparedImage:
    image = open_picture(_take_pixels(data, header), header.info.format)
    stored = header.to_stored(size)
    picture, box = load_pixels(image, stored)
    picture = shrink(picture, stored, box)
    info = replace(header.info, has_transparency=picture.mode == "RGBA")
    picture = convert_to_srgb(flatten(picture), header.icc)
    picture = turn_upright(picture, header.turn)
    output: OutputFormat = (
        choose_format(picture, is_lossless=header.is_lossless)
        if options.format == "auto"
        else options.format
    )
    return _package(encode_picture(picture, output, options.quality), output, size, info)


def _take_pixels(data: bytes, header: Header) -> bytes:
    """The file without what a decoder could stumble over: text, profiles, previews, EXIF."""
    if isinstance(header.stream, JpegStream):
        return take_bare_jpeg(data, header.stream)
    if isinstance(header.stream, PngStream):
        return strip_png(data, header.stream)
    return data


def _package(
    data: bytes, output: OutputFormat, size: tuple[int, int], info: ImageInfo
) -> PreparedImage:
    width, height = size
    return PreparedImage(
        data=data,
        media_type=f"image/{output}",
        width=width,
        height=height,
        fingerprint=hashlib.sha256(data).digest(),
        info=info,
    )
