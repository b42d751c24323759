"""Walks the chunks of a WebP: reads its header, and drops metadata without decoding pixels.

Source: RFC 9649 (WebP image format).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.domain.errors import ImageError
from pipeline.domain.outcomes import Cause

_HEAD = 12
"""Bytes before the first chunk: RIFF, size, WEBP."""
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WebpStream:
    """The header of a WebP and where its picture lies."""

    width: int
    height: int
    is_lossless: bool
    has_alpha: bool
    """An alpha channel, used or not."""
    frames: int
    exif: bytes | None = field(repr=False)
    icc: bytes | None = field(repr=False)
    picture: slice | None
    """The one chunk that holds the pixels; None when animated."""

    @property
    def is_simple(self) -> bool:
        """One opaque picture."""
        return self.picture is not None and not self.has_alpha


def read_webp(data: bytes, *, is_whole: bool = True) -> WebpStream:
    """Walks all chunks.

    Args:
        data: the file, or its head.
        is_whole: False if ``data`` may be a head; then it is enough that it has the first chunk.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
    """
    found: dict[bytes, slice] = {}
    frames = 0
    for kind, body in _chunks(data, is_whole=is_whole):
        frames += kind == b"ANMF"
        found.setdefault(kind, body)
    return _conclude(data, found, frames)


def strip_webp(data: bytes, stream: WebpStream) -> bytes:
    """The same picture, bit for bit, in the simplest container. The stream must be simple."""
    if stream.picture is None:
        raise ValueError("an animated WebP has no single picture")
    body = memoryview(data)[stream.picture]
    chunk = (b"VP8L" if stream.is_lossless else b"VP8 ") + len(body).to_bytes(4, "little")
    padding = bytes(len(body) % 2)
    size = 4 + len(chunk) + len(body) + len(padding)
    return b"".join((b"RIFF", size.to_bytes(4, "little"), b"WEBP", chunk, body, padding))


def _chunks(data: bytes, *, is_whole: bool) -> Iterator[tuple[bytes, slice]]:
    end_of_file = 8 + int.from_bytes(data[4:8], "little")
    if is_whole and end_of_file > len(data) + 1:
        raise ImageError(Cause.TRUNCATED, f"the WebP has {len(data)} of {end_of_file} bytes")
    position = _HEAD
    for _ in range(_MAX_CHUNKS):
        kind = data[position : position + 4]
        start = position + 8
        size = int.from_bytes(data[position + 4 : start], "little")
        if start > min(len(data), end_of_file):
            return
        if is_whole and start + size > len(data):
            raise ImageError(Cause.CORRUPT, "a chunk of the WebP is longer than its file")
        yield kind, slice(start, start + size)
        position = start + size + size % 2
    raise ImageError(Cause.CORRUPT, f"the WebP has more than {_MAX_CHUNKS} chunks")


def _conclude(data: bytes, found: dict[bytes, slice], frames: int) -> WebpStream:
    lossy, lossless = found.get(b"VP8 "), found.get(b"VP8L")
    picture = lossless if lossy is None else lossy
    if picture is not None:
        is_lossless = lossy is None
        read_size = _read_lossless_size if is_lossless else _read_lossy_size
        width, height, has_alpha = read_size(data[picture])
    elif b"VP8X" in found:
        is_lossless = False
        width, height, has_alpha = _read_canvas(data[found[b"VP8X"]])
    else:
        raise ImageError(Cause.CORRUPT, "the WebP has no picture")
    return WebpStream(
        width=width,
        height=height,
        is_lossless=is_lossless,
        has_alpha=has_alpha or b"ALPH" in found,
        frames=max(1, frames),
        exif=_take(data, found.get(b"EXIF")),
        icc=_take(data, found.get(b"ICCP")),
        picture=picture,
    )


def _take(data: bytes, where: slice | None) -> bytes | None:
    return None if where is None else data[where]


def _check_length(body: bytes, least: int) -> None:
    if len(body) < least:
        raise ImageError(Cause.TRUNCATED, "the WebP ends inside its header")


def _read_lossy_size(body: bytes) -> tuple[int, int, bool]:
    _check_length(body, 10)
    if body[3:6] != _LOSSY_START:
        raise ImageError(Cause.CORRUPT, "the WebP picture has no start code")
    width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return width, height, False


def _read_lossless_size(body: bytes) -> tuple[int, int, bool]:
    _check_length(body, 5)
    if body[0] != _LOSSLESS_START:
        raise ImageError(Cause.CORRUPT, "the WebP picture has no start code")
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)


def _read_canvas(body: bytes) -> tuple[int, int, bool]:
    _check_length(body, 10)
    has_alpha = bool(body[0] & 0x10)
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    return width, height, has_alpha
