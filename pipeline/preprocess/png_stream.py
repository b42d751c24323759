"""Walks the chunks of a PNG: reads its header, and drops metadata without decoding pixels.

Source: W3C PNG specification, third edition (with APNG).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.domain.errors import ImageError
from pipeline.domain.outcomes import Cause

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OVERHEAD = 12
"""Bytes of a chunk beside its body: length, kind, checksum."""
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# IDAT chunks are 8 kB and more in practice; a file of a million tiny chunks is an attack
_MAX_CHUNKS = 200_000
_MAX_ICC_BYTES = 4 << 20
_ALPHA = 4
"""Bit of the colour type."""
_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PngStream:
    """The header of a PNG and where its parts lie."""

    width: int
    height: int
    bits: int
    """Of one channel, or of one palette index."""
    has_alpha: bool
    """An alpha channel or a transparent colour, used or not."""
    frames: int
    exif: bytes | None = field(repr=False)
    icc: bytes | None = field(repr=False)
    kept: tuple[slice, ...]
    """What decoding needs, neighbours joined."""

    @property
    def is_simple(self) -> bool:
        """One opaque picture of 8 bits."""
        return self.bits == _BITS and not self.has_alpha and self.frames == 1


def read_png(data: bytes, *, is_whole: bool = True) -> PngStream:
    """Walks all chunks and checks the sums of those that decoding needs.

    Args:
        data: the file, or its head.
        is_whole: False if ``data`` may be a head; then it is enough that it has the first chunk.

    Raises:
        ImageError: TRUNCATED, CORRUPT or UNSUPPORTED_FORMAT.
    """
    bodies: dict[bytes, bytes] = {}
    kept: list[slice] = []
    for kind, start, end in _chunks(data, is_whole=is_whole):
        if kind in _KEPT:
            _check_sum(data, kind, start, end)
            _append_joined(kept, slice(start, end))
        if kind not in bodies and kind != b"IDAT":
            bodies[kind] = data[start + 8 : end - 4]
    return _conclude(bodies, kept)


def strip_png(data: bytes, stream: PngStream) -> bytes:
    """The same picture, bit for bit, without metadata, later frames, or anything after its end."""
    view = memoryview(data)
    return b"".join((_SIGNATURE, *(view[part] for part in stream.kept)))


def _chunks(data: bytes, *, is_whole: bool) -> Iterator[tuple[bytes, int, int]]:
    position = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        kind = data[position + 4 : position + 8]
        end = position + _OVERHEAD + int.from_bytes(data[position : position + 4], "big")
        if len(kind) < 4 or end > len(data):  # noqa: PLR2004 - a kind is four letters
            if is_whole:
                raise ImageError(Cause.TRUNCATED, "the PNG ends before its end marker")
            return
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise ImageError(Cause.CORRUPT, f"the PNG has more than {_MAX_CHUNKS} chunks")


def _check_sum(data: bytes, kind: bytes, start: int, end: int) -> None:
    body = memoryview(data)[start + 4 : end - 4]
    if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
        raise ImageError(Cause.CORRUPT, f"a {kind.decode()} chunk of the PNG fails its checksum")


def _append_joined(kept: list[slice], part: slice) -> None:
    if kept and kept[-1].stop == part.start:
        part = slice(kept.pop().start, part.stop)
    kept.append(part)


def _conclude(bodies: dict[bytes, bytes], kept: list[slice]) -> PngStream:
    if b"CgBI" in bodies:
        message = "Apple's own variant of PNG is not read; convert it to a plain PNG first"
        raise ImageError(Cause.UNSUPPORTED_FORMAT, message)
    header = bodies.get(b"IHDR", b"")
    if len(header) != 13:  # noqa: PLR2004 - the specification's size
        raise ImageError(Cause.CORRUPT, "the PNG has no header")
    return PngStream(
        width=int.from_bytes(header[:4], "big"),
        height=int.from_bytes(header[4:8], "big"),
        bits=header[8],
        has_alpha=bool(header[9] & _ALPHA) or b"tRNS" in bodies,
        frames=max(1, int.from_bytes(bodies.get(b"acTL", b"")[:4], "big")),
        exif=bodies.get(b"eXIf"),
        icc=_inflate_icc(bodies.get(b"iCCP")),
        kept=tuple(kept),
    )


def _inflate_icc(body: bytes | None) -> bytes | None:
    if body is None:
        return None
    _, _, rest = body.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], _MAX_ICC_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None
