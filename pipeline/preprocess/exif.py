"""Reads the four EXIF facts we keep, and never fails: EXIF in the wild is often garbage."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

_ORIENTATION, _MAKE, _MODEL, _CHANGED_AT = 0x0112, 0x010F, 0x0110, 0x0132
_EXIF_IFD, _TAKEN_AT = 0x8769, 0x9003
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 0x00FE, 0x014A, 0xC612
_ASCII, _SHORT, _LONG = 2, 3, 4
_MAX_ENTRIES = 512
_MAX_TEXT_BYTES = 256
_PREFIX = b"Exif\0\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExifFacts:
    """What of an EXIF block concerns us."""

    orientation: int = 1
    """1 to 8."""
    camera: str | None = None
    taken_at: datetime | None = None


def read_exif(block: bytes | None) -> ExifFacts:
    """Facts of an EXIF block (with or without its ``Exif`` prefix) or of a whole TIFF file."""
    if not block:
        return ExifFacts()
    block = block.removeprefix(_PREFIX)
    tags = _read_first_ifd(block)
    more = _read_ifd(block, tags.get(_EXIF_IFD))
    orientation = tags.get(_ORIENTATION)
    return ExifFacts(
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,  # noqa: PLR2004 - EXIF has eight
        camera=_name_camera(tags.get(_MAKE), tags.get(_MODEL)),
        taken_at=_parse_time(more.get(_TAKEN_AT)) or _parse_time(tags.get(_CHANGED_AT)),
    )


def is_camera_raw(tiff: bytes) -> bool:
    """Whether a TIFF is a raw photo, whose first picture is only a thumbnail."""
    tags = _read_first_ifd(tiff)
    subfile_type = tags.get(_SUBFILE_TYPE, 0)
    is_thumbnail = isinstance(subfile_type, int) and subfile_type & 1 == 1
    return _DNG_VERSION in tags or (is_thumbnail and _SUB_IFDS in tags)


_Value = int | str


def _read_first_ifd(block: bytes) -> dict[int, _Value]:
    order = _byte_order(block)
    if order is None or len(block) < 8:  # noqa: PLR2004 - a TIFF header is eight bytes
        return {}
    return _read_ifd(block, struct.unpack_from(order + "I", block, 4)[0])


def _byte_order(block: bytes) -> str | None:
    return {b"II": "<", b"MM": ">"}.get(block[:2])


def _read_ifd(block: bytes, offset: _Value | None) -> dict[int, _Value]:
    order = _byte_order(block)
    if order is None or not isinstance(offset, int):
        return {}
    try:
        return dict(_entries(block, order, offset))
    except struct.error:
        return {}


def _entries(block: bytes, order: str, offset: int) -> Iterator[tuple[int, _Value]]:
    (count,) = struct.unpack_from(order + "H", block, offset)
    # a directory that runs out of the block still gives the entries before its end
    room = (len(block) - offset - 2) // 12
    for number in range(min(count, room, _MAX_ENTRIES)):
        at = offset + 2 + 12 * number
        tag, kind, length = struct.unpack_from(order + "HHI", block, at)
        if kind == _SHORT:
            yield tag, struct.unpack_from(order + "H", block, at + 8)[0]
        elif kind == _ASCII:
            yield tag, _read_text(block, order, at, length)
        else:
            yield tag, struct.unpack_from(order + "I", block, at + 8)[0]


def _read_text(block: bytes, order: str, at: int, length: int) -> str:
    inline = 4
    start = at + 8
    if length > inline:
        (start,) = struct.unpack_from(order + "I", block, start)
    raw = block[start : start + min(length, _MAX_TEXT_BYTES)]
    text = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _name_camera(make: _Value | None, model: _Value | None) -> str | None:
    make = make if isinstance(make, str) else ""
    model = model if isinstance(model, str) else ""
    # many makers repeat their name in the model ("Canon" / "Canon EOS 5D")
    first_word = make.partition(" ")[0].lower()
    name = model if model.lower().startswith(first_word) else f"{make} {model}"
    return (name if model else make).strip() or None


def _parse_time(text: _Value | None) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - EXIF knows no zone
    except ValueError:
        return None
