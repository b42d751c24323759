"""What is known before any pixel is decoded."""

import struct
import zlib
from datetime import datetime

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.exif import ExifFacts, read_exif
from pipeline.preprocess.header import read_info
from pipeline.preprocess.jpeg_stream import JpegColors, read_jpeg, strip_jpeg
from pipeline.preprocess.png_stream import read_png, strip_png
from pipeline.preprocess.webp_stream import read_webp, strip_webp

TAKEN_AT = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 - EXIF knows no zone


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "avif", "heic"])
def test_camera_and_time_are_read(format_name: str) -> None:
    info = read_info(pictures.encode(pictures.pattern(), format_name, exif=pictures.exif()))
    assert (info.camera, info.width, info.height) == ("Acme Pinhole 3", 96, 64)
    assert info.taken_at == TAKEN_AT


def test_a_tiff_is_its_own_exif() -> None:
    tags = {0x0110: "Acme Scan 9", 0x0132: "2024:05:06 07:08:09"}
    info = read_info(pictures.encode(pictures.pattern(), "tiff", tiffinfo=tags))
    assert (info.camera, info.taken_at) == ("Acme Scan 9", TAKEN_AT)


def test_exif_is_read_with_and_without_its_prefix() -> None:
    block = pictures.exif(6).tobytes()
    facts = ExifFacts(orientation=6, camera="Acme Pinhole 3", taken_at=TAKEN_AT)
    assert read_exif(block) == read_exif(block.removeprefix(b"Exif\0\0")) == facts


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_garbage_exif_is_no_error(garbage: bytes, start: bytes) -> None:
    facts = read_exif(b"Exif\0\0" + start + garbage)
    assert 1 <= facts.orientation <= 8


@given(st.data())
def test_damaged_exif_is_no_error(data: st.DataObject) -> None:
    block = bytearray(pictures.exif(3).tobytes())
    for _ in range(data.draw(st.integers(1, 10))):
        block[data.draw(st.integers(6, len(block) - 1))] = data.draw(st.integers(0, 255))
    assert 1 <= read_exif(bytes(block)).orientation <= 8


@pytest.mark.parametrize(
    ("format_name", "head"), [("jpeg", 800), ("png", 40), ("webp", 40), ("bmp", 60)]
)
def test_a_short_head_is_enough(format_name: str, head: int) -> None:
    data = pictures.encode(pictures.photo(300, 200), format_name)
    info = read_info(data[:head], is_whole=False)
    assert (info.width, info.height) == (300, 200)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_a_head_that_is_too_short_asks_for_more(image_format: ImageFormat) -> None:
    data = pictures.encode(pictures.photo(300, 200), image_format)
    with pytest.raises(ImageError) as caught:
        read_info(data[:26], is_whole=False)
    assert caught.value.cause is Cause.TRUNCATED


@pytest.mark.parametrize(
    ("mode", "colors"),
    [("L", JpegColors.GRAY), ("RGB", JpegColors.YCC), ("CMYK", JpegColors.CMYK)],
)
def test_jpeg_colours_are_told_from_the_header(mode: str, colors: JpegColors) -> None:
    assert read_jpeg(pictures.encode(pictures.pattern().convert(mode), "jpeg")).colors is colors


def test_an_rgb_jpeg_is_not_taken_for_ycc() -> None:
    data = pictures.encode(pictures.pattern(), "jpeg", keep_rgb=True)
    assert read_jpeg(data).colors is JpegColors.RGB


@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_the_end_of_a_jpeg_is_dropped(progressive: bool) -> None:
    data = pictures.jpeg(progressive=progressive)
    motion = data + b"\0\0\0\x18ftypmp42 a short film"
    stream = read_jpeg(motion)
    assert stream.is_progressive is progressive
    assert strip_jpeg(motion, stream) == strip_jpeg(data, read_jpeg(data))


def test_comments_between_scans_are_dropped() -> None:
    data = pictures.jpeg(progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    table = data.rindex(b"\xff\xc4", 0, second_scan)
    spoken = data[:table] + b"\xff\xfe\0\x0asecretly" + data[table:]
    assert strip_jpeg(spoken, read_jpeg(spoken)) == strip_jpeg(data, read_jpeg(data))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.99])
def test_a_jpeg_without_end_is_not_stripped(cut: float) -> None:
    data = pictures.truncated(pictures.jpeg(progressive=True), cut)
    assert strip_jpeg(data, read_jpeg(data)) is None


def test_png_text_is_dropped_and_pixels_stay() -> None:
    data = pictures.encode(pictures.pattern(), "png")
    end = data.index(b"IDAT") - 4
    noted = data[:end] + pictures.png_chunk(b"tEXt", b"Author\0Ann") + data[end:] + b"trailing"
    assert strip_png(noted, read_png(noted)) == strip_png(data, read_png(data)) == data


def test_a_profile_bomb_in_a_png_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(20 << 20), 9)
    data = pictures.encode(pictures.pattern(), "png")
    at = data.index(b"IDAT") - 4
    data = data[:at] + pictures.png_chunk(b"iCCP", b"icc\0\0" + bomb) + data[at:]
    assert read_png(data).icc is None


def test_millions_of_tiny_chunks_are_refused() -> None:
    data = b"\x89PNG\r\n\x1a\n" + pictures.png_chunk(b"tEXt", b"") * 200_001
    with pytest.raises(ImageError, match="chunks"):
        read_png(data)


def test_webp_with_metadata_strips_to_the_plain_file() -> None:
    plain = pictures.encode(pictures.pattern(), "webp")
    noted = pictures.encode(pictures.pattern(), "webp", exif=pictures.exif(), xmp=b"<x/>")
    assert noted != plain
    assert strip_webp(noted, read_webp(noted)) == strip_webp(plain, read_webp(plain)) == plain


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_tells_alpha_and_loss(lossless: bool) -> None:
    for picture, has_alpha in ((pictures.pattern(), False), (pictures.transparent_png(), True)):
        image = pictures.open_bytes(picture) if isinstance(picture, bytes) else picture
        stream = read_webp(pictures.encode(image, "webp", lossless=lossless))
        assert (stream.is_lossless, stream.has_alpha) == (lossless, has_alpha)
        assert (stream.width, stream.height) == image.size


def test_a_picture_without_size_is_corrupt() -> None:
    data = bytearray(pictures.jpeg(100, 80))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 0, 100)
    with pytest.raises(ImageError) as caught:
        read_info(bytes(data))
    assert caught.value.cause is Cause.CORRUPT
