"""Colour management: whether an embedded ICC profile changes anything, and the way to sRGB.

Source: ICC.1:2022 (tags, curves); IEC 61966-2-1 (sRGB), primaries adapted to D50.
"""

import io
import struct
from functools import lru_cache

from PIL import Image, ImageCms

_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}
_MAX_ICC_BYTES = 4 << 20
_PRIMARIES = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_CURVES = {b"RGB ": (b"rTRC", b"gTRC", b"bTRC"), b"GRAY": (b"kTRC",)}
_PRIMARY_TOLERANCE = 0.003
# light at half signal: 0.2140 for sRGB, 0.2176 for gamma 2.2, 0.287 for gamma 1.8
_HALF_SIGNAL, _HALF_TOLERANCE = 0.2140, 0.006
_CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError, struct.error)

_SRGB = ImageCms.createProfile("sRGB")


def needs_conversion(icc: bytes | None, mode: str) -> bool:
    """Whether colours change on the way to sRGB; a broken or foreign profile is ignored."""
    return icc is not None and _find_transform_quickly(icc, mode) is not None


def convert_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """L stays L, everything else becomes RGB."""
    transform = None if icc is None else _find_transform_quickly(icc, image.mode)
    if transform is not None:
        converted = ImageCms.applyTransform(image, transform)
        if converted is not None:
            return converted.convert("L") if image.mode == "L" else converted
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def _find_transform_quickly(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    space = _SPACES.get(mode)
    if len(icc) > _MAX_ICC_BYTES or icc[16:20] != space or _is_srgb(icc):
        return None
    return _find_transform(icc, mode)


# cameras and phones share few profiles; building one costs milliseconds
@lru_cache(maxsize=8)
def _find_transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(profile, _SRGB, mode, "RGB")
    except _CMS_ERRORS:
        return None


def _is_srgb(icc: bytes) -> bool:
    """By what the profile does, since names lie: its primaries and its curves."""
    try:
        tags = _read_tags(icc)
        curves = [tags[name] for name in _CURVES.get(icc[16:20], ())]
        if not curves or not all(map(_is_srgb_curve, curves)):
            return False
        return icc[16:20] == b"GRAY" or all(
            _is_near(tags[name], wanted) for name, wanted in _PRIMARIES.items()
        )
    except (struct.error, KeyError, OverflowError, ZeroDivisionError, TypeError):
        return False


def _read_tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * n) for n in range(min(count, 100)))
    return {name: icc[start : start + size] for name, start, size in entries}


def _is_near(tag: bytes, wanted: tuple[float, ...]) -> bool:
    found = struct.unpack_from(">3i", tag, 8)
    pairs = zip(found, wanted, strict=True)
    return all(abs(a / 65536 - b) < _PRIMARY_TOLERANCE for a, b in pairs)


def _is_srgb_curve(tag: bytes) -> bool:
    return abs(_light_at_half(tag) - _HALF_SIGNAL) < _HALF_TOLERANCE


def _light_at_half(tag: bytes) -> float:
    if tag.startswith(b"para"):
        return _parametric_at_half(tag)
    (count,) = struct.unpack_from(">I", tag, 8)
    if count <= 1:
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1.0
        return float(0.5**gamma)
    low, high = struct.unpack_from(">HH", tag, 12 + 2 * ((count - 1) // 2))
    return float(low if count % 2 else (low + high) / 2) / 65535


def _parametric_at_half(tag: bytes) -> float:
    (kind,) = struct.unpack_from(">H", tag, 8)
    # gamma, then a and b of (a·x + b)^gamma: what rules at half signal in kinds 0, 1 and 3
    gamma, a, b = (value / 65536 for value in struct.unpack_from(">3i", tag + bytes(8), 12))
    return float(0.5**gamma if kind == 0 else (a * 0.5 + b) ** gamma)
