"""What is foreseen from a header is what is sent."""

import io
from typing import Any

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import ImageError
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.foresight import foresee
from pipeline.preprocess.prepare import PrepareOptions, prepare_image
from pipeline.preprocess.sizes import fit_longest_side

HEAD = 65_536


def options(side: int = 512, **given: Any) -> PrepareOptions:
    values = {"max_bytes": 10_000_000, "max_pixels": 50_000_000, "min_side": 8}
    return PrepareOptions(
        fit=fit_longest_side(side),
        description="",
        **{**values, **given},  # type: ignore[arg-type]
    )


FILES = {
    **{f"turned-{turn}-{kind}": pictures.rotated(turn, kind)
       for turn in (1, 3, 6) for kind in ("jpeg", "png", "webp")},
    **{kind: pictures.encode(pictures.photo(700, 400), kind)
       for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic")},
    "small": pictures.jpeg(96, 64),
    "large": pictures.jpeg(2400, 1800, quality=98),
    "cmyk": pictures.cmyk_jpeg(),
    "wide gamut": pictures.jpeg(96, 64, icc_profile=pictures.wide_gamut_icc()),
    "transparent": pictures.transparent_png(),
    "palette": pictures.palette_png(),
    "deep": pictures.rgb16_png(),
    "animated": pictures.animated("webp"),
    "photograph as png": pictures.encode(pictures.photo(300, 300), "png"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("output", ["auto", "png"])
def test_size_and_kept_pixels_are_foreseen(name: str, output: str) -> None:
    data = FILES[name]
    wanted = options(format=output)
    ready = prepare_image(data, wanted)
    found = foresee(data, wanted, file_bytes=len(data), is_whole=True)
    assert (found.width, found.height) == (ready.width, ready.height)
    assert found.info.format is ready.info.format
    # what is kept is the file without its metadata, never decoded: its pixels stand in it
    pixels = ready.data[len(ready.data) // 2 : -20]
    assert found.keeps_pixels == (pixels in data)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_head_says_the_same_or_asks_for_more(name: str) -> None:
    data = FILES[name]
    whole = foresee(data, options(), file_bytes=len(data), is_whole=True)
    said = [look(data[:length], len(data)) for length in (64, 1_024, 16_384, HEAD)]
    # EXIF behind the pixels turns them unseen
    assert set(said) <= {tuple(sorted((whole.width, whole.height))), Cause.TRUNCATED}


def look(head: bytes, file_bytes: int) -> tuple[int, ...] | Cause:
    """Both sides of what will be sent, or why that cannot be told."""
    try:
        found = foresee(head, options(), file_bytes=file_bytes, is_whole=False)
    except ImageError as error:
        return error.cause
    return tuple(sorted((found.width, found.height)))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", Cause.EMPTY),
        (pictures.NOT_IMAGES["text"], Cause.NOT_AN_IMAGE),
        (pictures.NOT_IMAGES["pdf"], Cause.UNSUPPORTED_FORMAT),
        (pictures.bomb_png(), Cause.TOO_LARGE),
        (pictures.jpeg(4, 400), Cause.TOO_SMALL),
    ],
)
def test_what_will_be_refused_is_refused_now(data: bytes, cause: Cause) -> None:
    for refuse in (
        lambda: prepare_image(data, options()),
        lambda: foresee(data[:HEAD], options(), file_bytes=len(data), is_whole=False),
    ):
        with pytest.raises(ImageError) as caught:
            refuse()
        assert caught.value.cause is cause


@given(st.integers(8, 900), st.integers(8, 900), st.integers(16, 900), st.sampled_from([1, 6, 8]))
def test_any_size_is_foreseen(width: int, height: int, side: int, turn: int) -> None:
    out = io.BytesIO()
    picture = pictures.pattern(16, 16).resize((width, height))
    picture.save(out, "JPEG", exif=pictures.exif(turn))
    data = out.getvalue()
    ready = prepare_image(data, options(side))
    found = foresee(data[:1_024], options(side), file_bytes=len(data), is_whole=False)
    assert (found.width, found.height) == (ready.width, ready.height)
