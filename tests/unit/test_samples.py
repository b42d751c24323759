"""The demo's sample library."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image, ImageOps, features

from pipeline.samples import library, make_sample_library

READABLE = {".jpg", ".png", ".webp", ".avif", ".tif", ".gif", ".bmp"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    make_sample_library(folder)
    return folder


def files(folder: Path) -> dict[str, Path]:
    """Everything that is not hidden, by its path in the library."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_count_is_the_number_of_files(samples: Path) -> None:
    assert make_sample_library(samples) == len(files(samples)) == 28


def test_every_sound_file_is_the_picture_its_name_says(samples: Path) -> None:
    sound = {name: path for name, path in files(samples).items() if not name.startswith("broken/")}
    for path in sound.values():
        with Image.open(path) as image:
            image.load()
            assert Image.registered_extensions()[path.suffix] == image.format
            assert min(image.size) >= 500
    assert {path.suffix for path in sound.values()} == READABLE


def test_broken_files_are_broken_each_in_its_way(samples: Path) -> None:
    broken = files(samples)
    assert broken["broken/empty.jpg"].read_bytes() == b""
    assert b"best before noon" in broken["broken/not-a-picture.jpg"].read_bytes()
    with Image.open(broken["broken/cut-off.jpg"]) as image, pytest.raises(OSError, match="trunc"):
        image.load()


def test_two_files_are_exact_copies_under_other_names(samples: Path) -> None:
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in files(samples).values()]
    assert len(digests) - len(set(digests)) == 2


@pytest.mark.parametrize(
    ("name", "orientation", "upright"),
    [
        ("sunset-sea", 3, (1200, 800)),
        ("mountain-lake", 6, (800, 1200)),
        ("desert", 8, (800, 1200)),
    ],
)
def test_turned_photos_come_out_upright(
    samples: Path, name: str, orientation: int, upright: tuple[int, int]
) -> None:
    with Image.open(samples / f"landscapes/{name}.jpg") as image:
        exif = image.getexif()
        shown = ImageOps.exif_transpose(image).convert("L")
    assert exif[0x0112] == orientation
    assert exif[0x0110] == "Pocket Camera 2"
    assert str(exif.get_ifd(0x8769)[0x9003]).startswith("2024:05:")
    assert exif.get_ifd(0x8825)[1] == "N"
    assert shown.size == upright
    assert shown.getpixel((20, 20)) > shown.getpixel((20, upright[1] - 20))  # type: ignore[operator]


def test_logo_is_transparent_around_the_sign(samples: Path) -> None:
    with Image.open(samples / "graphics/logo.png") as image:
        assert image.mode == "RGBA"
        assert image.getpixel((2, 2))[3] == 0  # type: ignore[index]
        assert image.getchannel("A").getextrema() == (0, 255)


def test_bytes_are_the_same_every_time(samples: Path) -> None:
    for name in ("landscapes/green-hills.jpg", "moods/night.jpg", "products/mug-blue.webp"):
        assert library.list_makers()[name]() == (samples / name).read_bytes()


def test_rerun_touches_nothing_that_is_right(samples: Path) -> None:
    before = {name: path.stat() for name, path in files(samples).items()}
    make_sample_library(samples)
    after = {name: path.stat() for name, path in files(samples).items()}
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in before.items()} == {
        name: (s.st_ino, s.st_mtime_ns) for name, s in after.items()
    }


def test_rerun_draws_nothing_that_is_right(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(library.list_makers())
    monkeypatch.setattr(library, "list_makers", lambda: dict.fromkeys(names, pytest.fail))
    assert make_sample_library(samples) == len(names)


def test_rerun_mends_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    make_sample_library(tmp_path)
    right = {name: path.read_bytes() for name, path in files(tmp_path).items()}
    kept = (tmp_path / "graphics/logo.png").stat().st_mtime_ns
    (tmp_path / "graphics/chart.png").write_bytes(b"scribble")
    (tmp_path / "products/mug-red.jpg").unlink()
    (tmp_path / "mine.txt").write_text("not yours")
    assert make_sample_library(tmp_path) == len(right)
    mended = {name: path.read_bytes() for name, path in files(tmp_path).items()}
    assert mended == right | {"mine.txt": b"not yours"}
    assert (tmp_path / "graphics/logo.png").stat().st_mtime_ns == kept


def test_lost_note_costs_a_redraw_not_a_rewrite(samples: Path) -> None:
    before = {name: path.stat().st_mtime_ns for name, path in files(samples).items()}
    (samples / ".samples.json").unlink()
    make_sample_library(samples)
    assert {name: path.stat().st_mtime_ns for name, path in files(samples).items()} == before


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"stamp": "1"}', b'{"stamp": "0", "sha256": {"a": "b"}}']
)
def test_note_of_another_version_or_none_is_not_believed(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "note").write_bytes(note)
    assert library._read_record(tmp_path / "note", "1") == {}


def test_codec_that_pillow_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = set(library.list_makers())
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    assert everything - set(library.list_makers()) == {"landscapes/dawn.avif"}
