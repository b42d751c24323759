"""Test pictures, made in memory: every format, orientation, oddity and kind of damage we meet.

All are deterministic. The start is `jpeg()` (photo-like bytes) or `pattern()` (four coloured
corners, so that a turned or mirrored picture is recognised with `corners()`).
"""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms, ImageDraw, ImageFilter

COLORS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 50, 210),
    "yellow": (240, 220, 40),
}
UPRIGHT = ("red", "green", "blue", "yellow")
"""Corners of `pattern()`: top left, top right, bottom left, bottom right."""

_TO_STORED = {  # what undoes each EXIF orientation, so that a viewer sees the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo(width: int = 640, height: int = 480, *, seed: int = 0) -> Image.Image:
    """Smooth light, some shapes and fine grain: compresses like a photograph."""
    rng = random.Random(seed)
    light = Image.frombytes("RGB", (8, 6), rng.randbytes(144))
    picture = light.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = rng.randrange(width), rng.randrange(height)
        reach = max(2, min(width, height) // 6)
        draw.ellipse((x, y, x + rng.randrange(1, reach), y + reach), fill=tuple(rng.randbytes(3)))
    grain = Image.frombytes("L", (256, 256), rng.randbytes(65536)).filter(ImageFilter.BoxBlur(1))
    return Image.blend(picture, grain.resize((width, height)).convert("RGB"), 0.12)


def pattern(width: int = 96, height: int = 64) -> Image.Image:
    """Four plain quarters: red, green over blue, yellow."""
    picture = Image.new("RGB", (width, height))
    for place, name in enumerate(UPRIGHT):
        x, y = place % 2 * (width // 2), place // 2 * (height // 2)
        picture.paste(
            COLORS[name], (x, y, width if x else width // 2, height if y else height // 2)
        )
    return picture


def open_bytes(data: bytes) -> Image.Image:
    """Decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def corners(picture: Image.Image | bytes) -> tuple[str, ...]:
    """Names of the colours at the corners; equal to `UPRIGHT` if the pattern is not turned."""
    image = open_bytes(picture) if isinstance(picture, bytes) else picture
    rgb = image.convert("RGB")
    (w, h), inset = rgb.size, 4
    spots = ((inset, inset), (w - inset, inset), (inset, h - inset), (w - inset, h - inset))
    return tuple(_color_name(rgb.getpixel(spot)) for spot in spots)


def _color_name(pixel: Any) -> str:
    return min(
        COLORS, key=lambda n: sum((a - b) ** 2 for a, b in zip(pixel, COLORS[n], strict=True))
    )


def encode(picture: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's own word
    """The picture as a file; HEIC needs pillow_heif."""
    if format.upper() in {"HEIC", "HEIF"}:
        import pillow_heif

        pillow_heif.register_heif_opener()
        format = "HEIF"  # noqa: A001
    out = io.BytesIO()
    picture.save(out, format.upper(), **options)
    return out.getvalue()


def jpeg(width: int = 640, height: int = 480, *, seed: int = 0, **options: Any) -> bytes:
    """A photo-like JPEG; `seed` makes another picture."""
    return encode(photo(width, height, seed=seed), "jpeg", **({"quality": 90} | options))


def exif(orientation: int = 1, *, camera: str = "Pinhole 3", gps: bool = True) -> Image.Exif:
    """Camera, time, GPS position and orientation, as phones write them."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F], tags[0x0110] = "Acme", camera
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    if gps:
        tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    return tags


def rotated(orientation: int, format: str = "jpeg", **options: Any) -> bytes:  # noqa: A002 - Pillow's own word
    """A file whose pixels lie turned and whose EXIF says so; upright it is `pattern()`.

    Not for HEIC, whose files turn by other means.
    """
    stored = pattern(**options)
    if orientation in _TO_STORED:
        stored = stored.transpose(_TO_STORED[orientation])
    return encode(stored, format, exif=exif(orientation))


def cmyk_jpeg(picture: Image.Image | None = None) -> bytes:
    """Four inks, stored inverted behind an Adobe marker, as Photoshop does."""
    return encode((picture or pattern()).convert("CMYK"), "jpeg", quality=95)


def wide_gamut_icc() -> bytes:
    """An ICC profile with the primaries of Display P3: plain red in it is redder than sRGB's."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for tag, values in primaries.items():
        entry = profile.index(tag, 128)
        at = struct.unpack_from(">I", profile, entry + 4)[0] + 8
        struct.pack_into(">3i", profile, at, *(round(value * 65536) for value in values))
    return bytes(profile)


def srgb_icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_jpeg_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """The JPEG with one more segment (FE: comment, E1: EXIF or XMP) right after its start."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def transparent_png(width: int = 64, height: int = 48) -> bytes:
    """A red left half, and nothing (black underneath, alpha 0) on the right."""
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    picture.paste((*COLORS["red"], 255), (0, 0, width // 2, height))
    return encode(picture, "png")


def palette_png(**options: Any) -> bytes:
    return encode(pattern().quantize(8), "png", **options)


def animated(format: str, *, frames: int = 3) -> bytes:  # noqa: A002 - Pillow's own word
    """GIF, WebP or PNG; the first frame is `pattern()`, the others are grey."""
    first = pattern()
    others = [Image.new("RGB", first.size, (40 * n, 40 * n, 40 * n)) for n in range(1, frames)]
    lossless = {"lossless": True} if format.lower() == "webp" else {}
    return encode(first, format, save_all=True, append_images=others, duration=100, **lossless)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, *, rows: bytes, bits: int = 8, color_type: int = 2) -> bytes:
    """A PNG by hand: any header over any scan lines (each starts with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in parts)


def rgb16_png(width: int = 32, height: int = 16) -> bytes:
    """16 bits a channel: red rises from left to right over the whole range, green is half."""
    pixels = (struct.pack(">HHH", x * 65535 // (width - 1), 32768, 0) for x in range(width))
    row = b"\0" + b"".join(pixels)
    return raw_png(width, height, rows=row * height, bits=16)


def gray16_png(width: int = 32, height: int = 16) -> bytes:
    """16-bit grey that rises from left to right over the whole range."""
    row = b"\0" + b"".join(struct.pack(">H", x * 65535 // (width - 1)) for x in range(width))
    return raw_png(width, height, rows=row * height, bits=16, color_type=0)


def bomb_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A header that claims billions of pixels over a few bytes of data."""
    return raw_png(width, height, rows=b"\0" * 64)


def bomb_jpeg(width: int = 60_000, height: int = 60_000) -> bytes:
    """A true small JPEG whose frame header claims billions of pixels."""
    data = encode(pattern(), "jpeg")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def bomb_gif(width: int = 65_535, height: int = 65_535) -> bytes:
    """A small GIF whose logical screen claims billions of pixels."""
    data = encode(pattern(), "gif")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def truncated(data: bytes, share: float = 0.5) -> bytes:
    """Only the first part of a file, as an interrupted copy leaves it."""
    return data[: int(len(data) * share)]


def damaged(data: bytes, *, seed: int = 0, bytes_changed: int = 20) -> bytes:
    """The file with some bytes overwritten, magic bytes kept."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(bytes_changed):
        out[rng.randrange(16, len(out))] = rng.randrange(256)
    return bytes(out)


NOT_IMAGES = {
    "text": b"Holiday notes: the light was best before noon.\n" * 20,
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
    "zip": b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(60),
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(60),
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "noise": random.Random(7).randbytes(400),
}
"""Files that are no pictures, whatever their names say; the key tells what each is."""
