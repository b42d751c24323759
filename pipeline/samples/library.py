"""The sample library as files: what each is called, how it is drawn, how it is stored."""

import hashlib
import io
import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from PIL import Image, features
from PIL import __version__ as pillow_version

from pipeline import __version__
from pipeline.samples import graphics, products, scenes
from pipeline.samples.canvas import Canvas, parse_colors

Maker: TypeAlias = Callable[[], bytes]

_RECORD: Final = ".samples.json"
"""Name, in the library, of the note of what was written; hidden names are not listed."""
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "jpg": {"format": "JPEG", "quality": 88},
    "png": {"format": "PNG", "compress_level": 6},
    "webp": {"format": "WEBP", "quality": 82, "method": 2},
    "avif": {"format": "AVIF", "quality": 70, "speed": 9, "max_threads": 1},
    "tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "gif": {"format": "GIF"},
    "bmp": {"format": "BMP"},
}
_TO_STORED: Final = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110
_EXIF_IFD, _GPS_IFD, _TAKEN = 0x8769, 0x8825, 0x9003


def make_sample_library(folder: Path) -> int:
    """Write the sample pictures below ``folder`` and return how many files it then has of them.

    Files that are already as they should be are left alone; others of these names are
    replaced whole. The bytes depend on nothing but this version and Pillow's.

    Raises:
        OSError: the folder cannot be written.
    """
    stamp = f"{__version__} {pillow_version}"
    known = _read_record(folder / _RECORD, stamp)
    makers = list_makers()
    digests = {}
    for name, make in makers.items():
        path = folder / name
        digest = known.get(name)
        if digest is None or _hash_file(path) != digest:
            data = make()
            digest = hashlib.sha256(data).hexdigest()
            if _hash_file(path) != digest:
                _write_whole(path, data)
        digests[name] = digest
    if digests != known:
        record = json.dumps({"stamp": stamp, "sha256": digests}, indent=1)
        _write_whole(folder / _RECORD, record.encode())
    return len(makers)


def _read_record(path: Path, stamp: str) -> dict[str, str]:
    """Digests by name as noted by this very version; empty when there is no such note."""
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    match record:
        case {"stamp": str(noted), "sha256": dict(digests)} if noted == stamp:
            return digests
        case _:
            return {}


def _hash_file(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def list_makers() -> dict[str, Maker]:
    """What makes each file, by its path in the library."""
    makers = {**_list_products(), **_list_scenes(), **_list_graphics()}
    makers |= {
        "copies/IMG_0001.jpg": makers["products/mug-red.jpg"],
        "copies/hills (copy).jpg": makers["landscapes/green-hills.jpg"],
        "broken/empty.jpg": lambda: b"",
        "broken/cut-off.jpg": lambda: _cut(makers["landscapes/sunset-sea.jpg"]()),
        "broken/not-a-picture.jpg": lambda: b"Holiday notes: the light was best before noon.\n" * 8,
    }
    # a Pillow built without a codec cannot write its samples; the library is then smaller
    lacking = {name for name in ("avif", "webp") if not features.check(name)}
    return {name: make for name, make in makers.items() if name.rsplit(".", 1)[1] not in lacking}


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 5]


def _list_products() -> dict[str, Maker]:
    drawn: dict[str, tuple[Callable[..., Canvas], str]] = {
        "mug-red.jpg": (products.draw_mug, "c62828 ffffff"),
        "mug-blue.webp": (products.draw_mug, "2a5fb0 f2f2f0"),
        "shirt-green.jpg": (products.draw_shirt, "3f8f4f ffffff"),
        "shirt-black.jpg": (products.draw_shirt, "24242a ffffff"),
        "chair-yellow.jpg": (products.draw_chair, "f0b90b f7f6f4"),
        "lamp-beige.jpg": (products.draw_lamp, "e8d3ab ffffff"),
        "shoe-orange.jpg": (products.draw_shoe, "ef6c1a ffffff"),
        "shoe-pink.webp": (products.draw_shoe, "ee7fa8 fafafa"),
        "vase-purple.png": (products.draw_vase, "7b4fa3 ffffff"),
    }
    return {
        f"products/{name}": partial(_make_product, name, draw, colors)
        for name, (draw, colors) in drawn.items()
    }


def _make_product(name: str, draw: Callable[..., Canvas], colors: str) -> bytes:
    canvas = draw(*parse_colors(colors))
    if not name.endswith(".png"):
        canvas.add_grain(_seed(name), 3)
    return encode(canvas.image, name)


def _list_scenes() -> dict[str, Maker]:
    drawn: dict[str, tuple[Callable[[random.Random], Canvas], int]] = {
        "landscapes/green-hills.jpg": (scenes.draw_hills, 1),
        "landscapes/sunset-sea.jpg": (scenes.draw_sunset, 3),
        "landscapes/mountain-lake.jpg": (scenes.draw_lake, 6),
        "landscapes/desert.jpg": (scenes.draw_desert, 8),
        "landscapes/dawn.avif": (scenes.draw_mountains, 1),
        "moods/night.jpg": (scenes.draw_night, 1),
        "moods/out-of-focus.jpg": (lambda rng: scenes.blur(scenes.draw_hills(rng)), 1),
        "moods/black-and-white.jpg": (
            lambda rng: scenes.remove_color(scenes.draw_mountains(rng)), 1,
        ),
    }  # fmt: skip
    return {
        name: partial(_make_scene, name, draw, orientation)
        for name, (draw, orientation) in drawn.items()
    }


def _make_scene(name: str, draw: Callable[[random.Random], Canvas], orientation: int) -> bytes:
    image = draw(_seed(name)).image
    turn = _TO_STORED[orientation]
    stored = image if turn is None else image.transpose(turn)
    return encode(stored, name, exif=make_exif(orientation, day=len(name)))


def _list_graphics() -> dict[str, Maker]:
    drawn: dict[str, Callable[[random.Random], Image.Image]] = {
        "documents/letter.png": lambda rng: graphics.draw_letter(rng).image.convert("L"),
        "documents/receipt.tif": lambda rng: graphics.draw_receipt(rng).image,
        "graphics/chart.png": lambda _: graphics.draw_chart().image,
        "graphics/logo.png": lambda _: graphics.draw_logo(),
        "graphics/poster.gif": lambda _: graphics.draw_poster().image.quantize(32),
        "graphics/badge.bmp": lambda _: graphics.draw_badge().image,
    }
    return {name: partial(_make_graphic, name, draw) for name, draw in drawn.items()}


def _make_graphic(name: str, draw: Callable[[random.Random], Image.Image]) -> bytes:
    return encode(draw(_seed(name)), name)


def _seed(name: str) -> random.Random:
    """Randomness that is the same at every call for one name."""
    return random.Random(name)


def make_exif(orientation: int, *, day: int) -> Image.Exif:
    """Camera, date and position, as a telephone writes them."""
    exif = Image.Exif()
    exif[_ORIENTATION], exif[_MAKE], exif[_MODEL] = orientation, "Sample", "Pocket Camera 2"
    exif.get_ifd(_EXIF_IFD)[_TAKEN] = f"2024:05:{day:02} 17:42:08"
    position = {1: "N", 2: (47.0, 33.0, 20.0), 3: "E", 4: (12.0, 58.0, 5.0)}
    exif.get_ifd(_GPS_IFD).update(position)
    return exif


def encode(image: Image.Image, name: str, **more: Any) -> bytes:
    """The picture in the format its name asks for."""
    out = io.BytesIO()
    image.save(out, **_OPTIONS[name.rsplit(".", 1)[1]], **more)
    return out.getvalue()
