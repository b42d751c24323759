"""What a file is, whatever its name says."""

import builtins
from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.decode import open_picture, pillow_errors
from pipeline.preprocess.sniff import recognize_format


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_every_format_is_recognised_by_content(image_format: ImageFormat) -> None:
    assert recognize_format(pictures.encode(pictures.pattern(), image_format)) is image_format


@pytest.mark.parametrize(
    ("kind", "cause", "word"),
    [
        ("text", Cause.NOT_AN_IMAGE, "text"),
        ("html", Cause.NOT_AN_IMAGE, "HTML"),
        ("zip", Cause.NOT_AN_IMAGE, "zip"),
        ("video", Cause.NOT_AN_IMAGE, "video"),
        ("noise", Cause.NOT_AN_IMAGE, "no known kind"),
        ("pdf", Cause.UNSUPPORTED_FORMAT, "PDF"),
        ("svg", Cause.UNSUPPORTED_FORMAT, "SVG"),
    ],
)
def test_other_files_are_told_for_what_they_are(kind: str, cause: Cause, word: str) -> None:
    with pytest.raises(ImageError, match=word) as caught:
        recognize_format(pictures.NOT_IMAGES[kind])
    assert caught.value.cause is cause


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "Photoshop"),
        (b"II*\0\x10\0\0\0CR\x02\0", "Canon raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "Canon raw"),
        (b"FUJIFILMCCD-RAW ", "Fujifilm raw"),
        (b"P6\n9 9\n", "Netpbm"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_formats_we_do_not_read_are_named(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name) as caught:
        recognize_format(start + bytes(40))
    assert caught.value.cause is Cause.UNSUPPORTED_FORMAT


def test_a_camera_raw_is_not_taken_for_its_thumbnail() -> None:
    data = pictures.encode(pictures.pattern(), "tiff", tiffinfo={0xC612: b"\1\4\0\0"})
    with pytest.raises(ImageError, match="camera raw"):
        recognize_format(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(500), "only zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"BMW is a maker of cars, not a bitmap.", "a text file"),
        (b"\0\x05\x16\x07" + bytes(30), "AppleDouble"),
        ("Größe und Maß ".encode() * 73, "a text file"),
    ],
)
def test_common_impostors_are_explained(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        recognize_format(data)


def test_an_empty_file_is_empty() -> None:
    with pytest.raises(ImageError) as caught:
        recognize_format(b"")
    assert caught.value.cause is Cause.EMPTY


@given(st.binary(max_size=64))
def test_no_start_of_a_file_surprises(data: bytes) -> None:
    for start in (b"", b"RIFF", b"BM", b"II*\0", b"\0\0\0\x20ftyp"):
        try:
            recognize_format(start + data)
        except ImageError as error:
            assert error.cause in {  # noqa: PT017 - success is allowed as well
                Cause.EMPTY,
                Cause.NOT_AN_IMAGE,
                Cause.UNSUPPORTED_FORMAT,
            }


def test_without_the_extra_heic_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures.encode(pictures.pattern(), "heic")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    true_import = builtins.__import__

    def import_all_but_heif(name: str, *rest: Any, **named: Any) -> Any:
        if name == "pillow_heif":
            raise ImportError(name)
        return true_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", import_all_but_heif)
    with (
        pytest.raises(ImageError, match=r"pip install 'tagpipe\[heic\]'") as caught,
        pillow_errors(),
    ):
        open_picture(data, ImageFormat.HEIC)
    assert caught.value.cause is Cause.UNSUPPORTED_FORMAT
