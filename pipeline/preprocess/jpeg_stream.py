"""Walks the segments of a JPEG: reads its header, and drops metadata without decoding pixels.

Source: ITU-T T.81 (JPEG), T.871 (JFIF); which colours a file has is decided as libjpeg does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.errors import ImageError
from pipeline.domain.outcomes import Cause

_SOI = b"\xff\xd8"
_EOI, _SOS, _DHT, _DQT, _DRI, _DAC, _COM = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xCC, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_BETWEEN_SCANS = frozenset({_SOS, _DHT, _DQT, _DRI})
# inside a scan, FF is followed by 00 (stuffing) or D0-D7 (restart) unless it is a true marker
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
# always the same, since density and thumbnail of the original are metadata
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_BITS = 8


class JpegColors(StrEnum):
    """What the components of a JPEG mean."""

    GRAY = "gray"
    YCC = "ycc"
    RGB = "rgb"
    CMYK = "cmyk"


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegStream:
    """The header of a JPEG and where its parts lie."""

    width: int
    """Pixels as stored, before EXIF orientation."""
    height: int
    colors: JpegColors
    is_simple: bool
    """Baseline or progressive, 8 bits, with its own tables: what every decoder reads."""
    is_progressive: bool
    exif: bytes | None = field(repr=False)
    icc: bytes | None = field(repr=False)
    tables: tuple[slice, ...]
    """Segments before the first scan that decoding needs, application segments aside."""
    color_hints: tuple[slice, ...]
    """The JFIF and Adobe segments, which say what the components mean."""
    scan_start: int


def read_jpeg(data: bytes, *, is_whole: bool = True) -> JpegStream:
    """Reads everything before the first scan.

    Args:
        data: the file, or its head.
        is_whole: False if ``data`` may be a head that ends before the first scan.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
    """
    found = _Findings()
    for marker, start, end in _segments(data, is_whole=is_whole):
        if marker == _SOS:
            found.scan_start = start
            break
        _note_segment(found, data, marker, slice(start, end))
    return _conclude(found, data)


def take_bare_jpeg(data: bytes, stream: JpegStream) -> bytes:
    """The file for a decoder: nothing before the first scan but what decoding needs."""
    view = memoryview(data)
    kept = (view[part] for part in (*stream.color_hints, *stream.tables))
    return b"".join((_SOI, *kept, view[stream.scan_start :]))


def strip_jpeg(data: bytes, stream: JpegStream) -> bytes | None:
    """The same picture, bit for bit, without metadata and without anything after its end.

    None if the scans are not in order up to the end marker: then only a decoder can tell.
    The stream must be simple, and gray or YCC, which is what the JFIF marker we write says.
    """
    view = memoryview(data)
    parts: list[bytes | memoryview] = [_SOI, _JFIF, *(view[part] for part in stream.tables)]
    kept_from = position = stream.scan_start
    while found := _MARKER.search(data, position):
        start, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            parts.append(view[kept_from : found.end()])
            return b"".join(parts)
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if _is_metadata(marker):
            parts.append(view[kept_from:start])
            kept_from = position
        elif marker not in _BETWEEN_SCANS:
            return None
    return None


def _is_metadata(marker: int) -> bool:
    return marker == _COM or _APP0 <= marker <= _APP15


class _Findings:
    """Filled while walking."""

    def __init__(self) -> None:
        self.frame: tuple[int, bytes] | None = None
        self.tables: list[slice] = []
        self.markers: set[int] = set()
        self.jfif: slice | None = None
        self.adobe: slice | None = None
        self.exif: bytes | None = None
        self.icc: dict[int, bytes] = {}
        self.icc_count = 0
        self.scan_start = 0


def _segments(data: bytes, *, is_whole: bool) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, the first scan's header last."""
    position = len(_SOI)
    while found := _MARKER.search(data, position):
        start, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            raise ImageError(Cause.CORRUPT, "the JPEG ends before any picture data")
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        position = start + 2 + length
        if position > len(data):
            break
        if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
            raise ImageError(Cause.CORRUPT, f"JPEG segment {marker:02X} has no length")
        yield marker, start, position
        if marker == _SOS:
            return
    if is_whole:
        raise ImageError(Cause.TRUNCATED, "the JPEG ends inside its header")


def _note_segment(found: _Findings, data: bytes, marker: int, where: slice) -> None:
    if marker in _FRAMES:
        found.frame = found.frame or (marker, data[where.start + 4 : where.stop])
    found.markers.add(marker)
    if _is_metadata(marker):
        _note_metadata(found, data, marker, where)
    else:
        found.tables.append(where)


def _note_metadata(found: _Findings, data: bytes, marker: int, where: slice) -> None:
    start, stop = where.start + 4, where.stop
    if marker == _APP0 and data.startswith(b"JFIF\0", start):
        found.jfif = found.jfif or where
    elif marker == _APP1 and data.startswith(b"Exif\0\0", start):
        found.exif = found.exif or data[start + 6 : stop]
    elif marker == _APP2 and data.startswith(b"ICC_PROFILE\0", start) and stop > start + 14:
        found.icc[data[start + 12]] = data[start + 14 : stop]
        found.icc_count = data[start + 13]
    elif marker == _APP14 and data.startswith(b"Adobe", start) and stop >= start + 12:
        found.adobe = found.adobe or where


def _conclude(found: _Findings, data: bytes) -> JpegStream:
    if found.frame is None:
        raise ImageError(Cause.TRUNCATED, "the JPEG has no frame header")
    marker, frame = found.frame
    if len(frame) < 6:  # noqa: PLR2004 - precision, height, width, components
        raise ImageError(Cause.CORRUPT, "the JPEG frame header is cut")
    has_tables = {_DQT, _DHT} <= found.markers
    hints = (found.jfif, found.adobe)
    return JpegStream(
        width=int.from_bytes(frame[3:5], "big"),
        height=int.from_bytes(frame[1:3], "big"),
        colors=_tell_colors(found, data, frame),
        is_simple=marker in {_BASELINE, _PROGRESSIVE} and frame[0] == _BITS and has_tables,
        is_progressive=marker == _PROGRESSIVE,
        exif=found.exif,
        icc=_join_icc(found),
        tables=tuple(found.tables),
        color_hints=tuple(hint for hint in hints if hint is not None),
        scan_start=found.scan_start,
    )


def _tell_colors(found: _Findings, data: bytes, frame: bytes) -> JpegColors:
    components = frame[5]
    if components != 3:  # noqa: PLR2004 - the primary colours
        return JpegColors.GRAY if components == 1 else JpegColors.CMYK
    if found.jfif is not None:
        return JpegColors.YCC
    if found.adobe is not None:
        transform = data[found.adobe.start + 4 + 11]
        return JpegColors.YCC if transform else JpegColors.RGB
    return JpegColors.RGB if frame[6::3] == b"RGB" else JpegColors.YCC


def _join_icc(found: _Findings) -> bytes | None:
    if len(found.icc) != found.icc_count or not found.icc:
        return None
    return b"".join(found.icc[number] for number in sorted(found.icc))
