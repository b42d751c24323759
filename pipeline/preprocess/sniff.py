"""Recognises what a file is by its first bytes, whatever its name says."""

import codecs

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.exif import is_camera_raw

_PICTURES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"GIF87a", ImageFormat.GIF),
    (b"GIF89a", ImageFormat.GIF),
)
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_BRANDS: tuple[tuple[frozenset[bytes], ImageFormat], ...] = (
    (frozenset({b"avif", b"avis"}), ImageFormat.AVIF),
    (
        frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}),
        ImageFormat.HEIC,
    ),
)
_UNSUPPORTED: tuple[tuple[bytes, str], ...] = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\0\0\1\0", "Windows icon"),
    (b"icns", "macOS icon"),
    (b"DDS ", "DirectDraw surface"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"gimp xcf", "GIMP"),
    (b"qoif", "QOI"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (b"IIU\0", "Panasonic raw"),
    (b"IIRO", "Olympus raw"),
    (b"IIRS", "Olympus raw"),
    (b"FOVb", "Sigma raw"),
    (b"\x8aMNG", "MNG"),
    *((b"P%d%c" % (kind, space), "Netpbm") for kind in range(1, 8) for space in b"\n "),
)
_NO_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"ID3", "an MP3 sound"),
    (b"OggS", "an Ogg sound or video"),
    (b"fLaC", "a FLAC sound"),
    (b"RIFF", "a RIFF sound or video"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\0\x05\x16\x07", "macOS metadata (AppleDouble)"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file"),
)
_HEAD_BYTES = 1024


def recognize_format(data: bytes) -> ImageFormat:
    """The format of a file, from its first kilobyte.

    Raises:
        ImageError: EMPTY, NOT_AN_IMAGE or UNSUPPORTED_FORMAT; the text says what it seems to be.
    """
    if not data:
        raise ImageError(Cause.EMPTY, "the file has no bytes")
    for start, picture in _PICTURES:
        if data.startswith(start):
            return picture
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return ImageFormat.BMP
    if data.startswith(_TIFF_STARTS):
        return _recognize_tiff(data)
    if data[4:8] == b"ftyp":
        return _recognize_brand(data)
    raise _refusal(data[:_HEAD_BYTES])


def _recognize_tiff(data: bytes) -> ImageFormat:
    if data[8:10] == b"CR":
        raise _unsupported("Canon raw")
    if is_camera_raw(data):
        raise _unsupported("camera raw")
    return ImageFormat.TIFF


def _recognize_brand(data: bytes) -> ImageFormat:
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    for ours, picture in _BRANDS:
        if brands & ours:
            return picture
    if data[8:12] == b"crx ":
        raise _unsupported("Canon raw")
    raise ImageError(Cause.NOT_AN_IMAGE, "no image: it seems to be an MP4 or QuickTime video")


def _refusal(head: bytes) -> ImageError:
    for start, name in _UNSUPPORTED:
        if head.startswith(start):
            return _unsupported(name)
    if head[128:132] == b"DICM":
        return _unsupported("DICOM")
    if b"<svg" in head.lower():
        return _unsupported("SVG")
    return ImageError(Cause.NOT_AN_IMAGE, f"no image: it seems to be {_describe(head)}")


def _unsupported(name: str) -> ImageError:
    message = f"{name} pictures are not read; convert them to JPEG, PNG, WebP or TIFF first"
    return ImageError(Cause.UNSUPPORTED_FORMAT, message)


def _describe(head: bytes) -> str:
    for start, name in _NO_IMAGES:
        if head.startswith(start):
            return name
    if not head.strip(b"\0"):
        return "only zero bytes, as a failed copy leaves them"
    if not _is_text(head):
        return "binary data of no known kind"
    if b"<html" in head.lower() or b"<!doctype html" in head.lower():
        return "an HTML page"
    return "a text file"


def _is_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    control = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
    return len(head.translate(None, control)) == len(head) and _is_utf8(head)


def _is_utf8(head: bytes) -> bool:
    try:
        # not final: the head may end inside a character
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
