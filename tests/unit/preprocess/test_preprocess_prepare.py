"""From the bytes of a file to the bytes that are sent."""

import io
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat, PreparedImage
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.prepare import (
    PrepareOptions,
    describe_preparation,
    estimate_memory,
    prepare_image,
)
from pipeline.preprocess.sizes import fit_longest_side

TURNING = ("jpeg", "png", "webp", "tiff", "avif")
EVERY = tuple(ImageFormat)
AS_IT_IS, SMALL = 1000, 32


def make_options(longest: int = SMALL, **overrides: Any) -> PrepareOptions:
    limits: dict[str, Any] = {
        "max_bytes": 50_000_000,
        "max_pixels": 50_000_000,
        "min_side": 1,
        "description": "test",
    }
    return PrepareOptions(fit=fit_longest_side(longest), **(limits | overrides))


def open_prepared(prepared: PreparedImage) -> Image.Image:
    image = Image.open(io.BytesIO(prepared.data))
    image.load()
    assert image.size == (prepared.width, prepared.height)
    return image


def refusal(data: bytes, **overrides: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        prepare_image(data, make_options(**overrides))
    return caught.value


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("format_name", TURNING)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_photo_comes_out_upright(format_name: str, orientation: int, longest: int) -> None:
    prepared = prepare_image(pictures.rotated(orientation, format_name), make_options(longest))
    assert pictures.corners(open_prepared(prepared)) == pictures.UPRIGHT
    assert (prepared.width, prepared.height) == ((96, 64) if longest == AS_IT_IS else (32, 21))
    assert prepared.info.orientation == orientation
    assert (prepared.info.width, prepared.info.height) == (96, 64)


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("image_format", EVERY)
def test_every_format_is_read(image_format: ImageFormat, longest: int) -> None:
    data = pictures.encode(pictures.pattern(), image_format)
    prepared = prepare_image(data, make_options(longest))
    assert prepared.info.format is image_format
    assert pictures.corners(open_prepared(prepared)) == pictures.UPRIGHT


@pytest.mark.parametrize("output", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("image_format", EVERY)
def test_a_fixed_format_is_kept_to(image_format: ImageFormat, output: Any) -> None:
    data = pictures.encode(pictures.pattern(), image_format)
    prepared = prepare_image(data, make_options(AS_IT_IS, format=output))
    assert prepared.media_type == f"image/{output}"
    assert open_prepared(prepared).format == output.upper()


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("format_name", TURNING)
def test_no_metadata_goes_out(format_name: str, longest: int) -> None:
    extra = {"icc_profile": pictures.srgb_icc(), "exif": pictures.exif()}
    if format_name in {"jpeg", "webp", "avif"}:
        extra["xmp"] = b"<x:xmpmeta>Acme</x:xmpmeta>"
    data = pictures.encode(pictures.photo(), format_name, **extra)
    prepared = prepare_image(data, make_options(longest))
    assert prepared.info.camera == "Acme Pinhole 3"
    image = open_prepared(prepared)
    assert dict(image.getexif()) == {}
    assert not {"exif", "xmp", "icc_profile", "comment"} & set(image.info)
    assert b"Acme" not in prepared.data


def test_a_comment_in_a_gif_stays_behind() -> None:
    data = pictures.encode(pictures.photo(), "gif", comment=b"taken at home")
    for output in ("jpeg", "png", "webp"):
        assert b"taken at home" not in prepare_image(data, make_options(format=output)).data


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=300), marker=st.sampled_from([0xFE, 0xE1, 0xE2, 0xED, 0xEF]))
@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
def test_jpeg_copies_with_other_metadata_are_the_same(
    longest: int, body: bytes, marker: int
) -> None:
    data = pictures.jpeg(100, 80)
    edited = pictures.with_jpeg_segment(data, marker, body)
    options = make_options(longest)
    assert prepare_image(edited, options).fingerprint == prepare_image(data, options).fingerprint


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("format_name", TURNING)
def test_copies_with_other_metadata_are_the_same(format_name: str, longest: int) -> None:
    plain, edited = (
        prepare_image(
            pictures.encode(pictures.pattern(), format_name, **extra), make_options(longest)
        )
        for extra in ({}, {"exif": pictures.exif(), "icc_profile": pictures.srgb_icc()})
    )
    assert plain.data == edited.data
    assert plain.fingerprint == edited.fingerprint


def test_density_is_metadata_too() -> None:
    plain, edited = (
        prepare_image(pictures.jpeg(dpi=dpi), make_options(AS_IT_IS))
        for dpi in ((72, 72), (300, 300))
    )
    assert plain.data == edited.data


def test_other_pictures_have_other_fingerprints() -> None:
    one, other = (prepare_image(pictures.jpeg(seed=n), make_options()) for n in (1, 2))
    assert one.fingerprint != other.fingerprint


def test_threads_do_not_disturb_each_other() -> None:
    files = [
        pictures.jpeg(400, 300, seed=n, icc_profile=pictures.wide_gamut_icc()) for n in range(4)
    ]
    alone = [prepare_image(data, make_options()).data for data in files]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda data: prepare_image(data, make_options()).data, files * 5)
        assert list(together) == alone * 5


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("image_format", EVERY)
def test_a_cut_file_is_told_as_cut(image_format: ImageFormat, share: float, longest: int) -> None:
    data = pictures.truncated(pictures.encode(pictures.photo(), image_format), share)
    assert refusal(data, longest=longest).cause is Cause.TRUNCATED


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
def test_a_cut_progressive_jpeg_is_told_as_cut(longest: int) -> None:
    data = pictures.truncated(pictures.jpeg(progressive=True), 0.8)
    assert refusal(data, longest=longest).cause is Cause.TRUNCATED


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
def test_a_jpeg_without_its_end_marker_is_told_as_cut(longest: int) -> None:
    assert refusal(pictures.jpeg()[:-2], longest=longest).cause is Cause.TRUNCATED


@pytest.mark.parametrize(
    "format_name", ["png", "tiff", "bmp", "gif", "webp", "avif", "heic", "jpeg"]
)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), changed=st.integers(1, 60), share=st.sampled_from([1, 1, 0.7]))
def test_damage_is_an_image_error_at_most(
    format_name: str, seed: int, changed: int, share: float
) -> None:
    data = pictures.encode(pictures.pattern(), format_name)
    data = pictures.truncated(pictures.damaged(data, seed=seed, bytes_changed=changed), share)
    options = make_options(SMALL if seed % 2 else AS_IT_IS, max_pixels=1_000_000)
    estimate_memory(data, options)
    try:
        prepare_image(data, options)
    except ImageError as error:
        assert error.cause in {  # noqa: PT017 - that it may also succeed is the point
            Cause.CORRUPT,
            Cause.TRUNCATED,
            Cause.TOO_LARGE,
            Cause.UNSUPPORTED_FORMAT,
            Cause.NOT_AN_IMAGE,
        }


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
def test_a_damaged_png_is_told_as_damaged(longest: int) -> None:
    data = bytearray(pictures.encode(pictures.photo(), "png"))
    data[len(data) // 2] ^= 0xFF
    error = refusal(bytes(data), longest=longest, format="png")
    assert error.cause is Cause.CORRUPT


@pytest.mark.parametrize("bomb", [pictures.bomb_png, pictures.bomb_jpeg, pictures.bomb_gif])
def test_a_bomb_is_refused_by_its_header(bomb: Any) -> None:
    error = refusal(bomb(50_000, 40_000))
    assert error.cause is Cause.TOO_LARGE
    assert "2000000000" in str(error)
    assert "preprocess.max_pixels is 50000000" in str(error)


def test_too_many_bytes_are_refused_unread() -> None:
    error = refusal(b"no image at all", max_bytes=14)
    assert error.cause is Cause.TOO_LARGE
    assert "15 bytes; preprocess.max_bytes is 14" in str(error)


def test_a_tracker_pixel_is_too_small() -> None:
    error = refusal(pictures.encode(Image.new("RGB", (1, 40)), "gif"), min_side=2)
    assert error.cause is Cause.TOO_SMALL
    assert "preprocess.min_side is 2" in str(error)


def test_transparency_becomes_white_and_is_recorded() -> None:
    prepared = prepare_image(pictures.transparent_png(), make_options())
    image = open_prepared(prepared).convert("RGB")
    assert prepared.info.has_transparency
    assert image.getpixel((31, 5)) == (255, 255, 255)
    assert image.getpixel((1, 5)) == pictures.COLORS["red"]


@pytest.mark.parametrize("options", [{"transparency": 0}, {"transparency": bytes(8)}])
def test_transparent_palette_colours_become_white(options: dict[str, Any]) -> None:
    prepared = prepare_image(pictures.palette_png(**options), make_options(AS_IT_IS))
    assert prepared.info.has_transparency
    assert (255, 255, 255) in {
        color for _, color in open_prepared(prepared).convert("RGB").getcolors()
    }


def test_alpha_that_hides_nothing_is_not_recorded() -> None:
    data = pictures.encode(pictures.pattern().convert("RGBA"), "png")
    prepared = prepare_image(data, make_options(AS_IT_IS))
    assert not prepared.info.has_transparency
    assert pictures.corners(prepared.data) == pictures.UPRIGHT


@pytest.mark.parametrize("make", [pictures.rgb16_png, pictures.gray16_png])
def test_sixteen_bits_are_scaled_not_clipped(make: Any) -> None:
    image = open_prepared(prepare_image(make(), make_options())).convert("RGB")
    reds = [image.getpixel((x, 3))[0] for x in (0, 8, 16, 24, 31)]
    assert reds == [0, 66, 132, 198, 255]


def test_sixteen_bit_tiff_of_either_byte_order_is_scaled() -> None:
    for mode, order in (("I;16", "little"), ("I;16B", "big")):
        row = b"".join((n * 2114).to_bytes(2, order) for n in range(32))
        data = pictures.encode(Image.frombytes(mode, (32, 16), row * 16), "tiff")
        image = open_prepared(prepare_image(data, make_options(format="png")))
        assert [image.getpixel((x, 3)) for x in (0, 16, 31)] == [0, 132, 255]


def test_float_pictures_spread_over_their_range() -> None:
    ramp = Image.linear_gradient("L").convert("F").point(lambda value: value / 255 + 0)
    prepared = prepare_image(pictures.encode(ramp, "tiff"), make_options(AS_IT_IS, format="png"))
    assert open_prepared(prepared).getextrema() == (0, 255)


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
def test_four_inks_keep_their_colours(longest: int) -> None:
    prepared = prepare_image(pictures.cmyk_jpeg(), make_options(longest))
    assert pictures.corners(prepared.data) == pictures.UPRIGHT
    assert open_prepared(prepared).mode == "RGB"


@pytest.mark.parametrize("longest", [AS_IT_IS, SMALL])
@pytest.mark.parametrize("format_name", TURNING)
def test_wide_gamut_colours_are_sent_as_srgb(format_name: str, longest: int) -> None:
    picture = Image.new("RGB", (64, 48), (200, 40, 40))
    data = pictures.encode(picture, format_name, icc_profile=pictures.wide_gamut_icc())
    red, green, _ = open_prepared(prepare_image(data, make_options(longest))).getpixel((9, 9))
    assert red > 205
    assert green < 32


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_every_colour_mode_keeps_light_and_dark(mode: str) -> None:
    picture = Image.new("RGB", (80, 60), "black")
    picture.paste("white", (40, 0, 80, 60))
    data = pictures.encode(picture.convert("RGBA" if mode == "PA" else "RGB").convert(mode), "tiff")
    image = open_prepared(prepare_image(data, make_options())).convert("L")
    assert image.getpixel((2, 10)) < 12
    assert image.getpixel((29, 10)) > 243


@pytest.mark.parametrize("format_name", ["gif", "webp", "png"])
def test_the_first_frame_is_sent(format_name: str) -> None:
    prepared = prepare_image(pictures.animated(format_name), make_options(AS_IT_IS))
    assert prepared.info.frames == 3
    image = open_prepared(prepared)
    assert getattr(image, "n_frames", 1) == 1
    assert pictures.corners(image) == pictures.UPRIGHT


def test_flat_graphics_go_out_as_png_and_photographs_as_jpeg() -> None:
    flat = pictures.encode(pictures.pattern().convert("RGBA"), "png")
    photo = pictures.encode(pictures.photo(), "png")
    gray_photo = pictures.encode(pictures.photo().convert("L"), "png")
    kinds = [prepare_image(data, make_options()).media_type for data in (flat, photo, gray_photo)]
    assert kinds == ["image/png", "image/jpeg", "image/jpeg"]


def test_a_wasteful_png_is_not_passed_through() -> None:
    noise = Image.frombytes("RGB", (90, 60), random.Random(1).randbytes(90 * 60 * 3))
    data = pictures.encode(noise, "png")
    assert prepare_image(data, make_options(AS_IT_IS)).media_type == "image/jpeg"
    assert prepare_image(data, make_options(AS_IT_IS, format="png")).media_type == "image/png"


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}, {"quality": 100}],
)
def test_a_jpeg_that_fits_keeps_every_pixel(options: dict[str, Any]) -> None:
    data = pictures.jpeg(exif=pictures.exif(), comment=b"home", **options)
    prepared = prepare_image(data, make_options(AS_IT_IS))
    original = Image.open(io.BytesIO(data))
    assert open_prepared(prepared).tobytes() == original.tobytes()
    assert len(prepared.data) < len(data)


def test_what_was_prepared_stays_as_it_is() -> None:
    once = prepare_image(pictures.jpeg(), make_options(300))
    assert prepare_image(once.data, make_options(300)).data == once.data


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 400), st.integers(1, 8))
def test_no_picture_is_enlarged(width: int, height: int, longest: int, orientation: int) -> None:
    picture = Image.new("RGB", (width, height), "teal")
    data = pictures.encode(picture, "jpeg", exif=pictures.exif(orientation))
    prepared = prepare_image(data, make_options(longest))
    assert open_prepared(prepared).size == fit_longest_side(longest)(
        prepared.info.width, prepared.info.height
    )
    assert max(prepared.width, prepared.height) == min(longest, max(width, height))


def test_a_fit_that_would_enlarge_is_held_back() -> None:
    options = PrepareOptions(
        fit=lambda w, h: (w * 2, h * 2),
        max_bytes=10**6,
        max_pixels=10**6,
        min_side=1,
        description="test",
    )
    assert prepare_image(pictures.jpeg(60, 40), options).width == 60


def test_the_description_tells_what_decides_the_bytes() -> None:
    assert describe_preparation(fit="1024", output_format="webp", quality=70) == (
        "fit=1024 format=webp quality=70 v1"
    )
