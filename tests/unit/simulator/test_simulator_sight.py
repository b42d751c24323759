"""Every kind of picture the API takes can be looked at."""

import pytest
from pictures import (
    animated,
    cmyk_jpeg,
    encode,
    gray16_png,
    jpeg,
    palette_png,
    pattern,
    photo,
    rgb16_png,
    transparent_png,
)

from pipeline.simulator.sight import look_at

PICTURES = {
    "jpeg": jpeg(),
    "cmyk": cmyk_jpeg(),
    "grey jpeg": encode(photo(60, 40).convert("L"), "jpeg"),
    "transparent": transparent_png(),
    "palette": palette_png(),
    "palette with transparency": palette_png(transparency=b"\0\x80"),
    "one bit": encode(pattern().convert("1"), "png"),
    "grey with alpha": encode(pattern().convert("LA"), "png"),
    "16 bits": rgb16_png(),
    "16 bits grey": gray16_png(),
    "webp": encode(pattern(), "webp"),
    "animated webp": animated("webp"),
    "gif": encode(pattern(), "gif"),
    "one pixel": encode(photo(1, 1), "png"),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_picture_is_looked_at(data: bytes) -> None:
    sight = look_at(data)
    assert len(list(sight.colors())) == 64
    assert len(sight.signature) == 16
    assert sight == look_at(data)


def test_colors_stand_where_they_are_in_the_picture() -> None:
    colors = list(look_at(encode(pattern(), "png")).colors())
    assert colors[0] == (220, 30, 30)
    assert colors[63] == (240, 220, 40)


def test_large_jpeg_is_seen_like_a_small_png() -> None:
    picture = photo(1600, 1200)
    one = look_at(encode(picture, "jpeg", quality=95)).grid
    two = look_at(encode(picture, "png")).grid
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 6


def test_sizes_are_part_of_the_signature() -> None:
    flat = pattern().crop((0, 0, 20, 20))
    signatures = {look_at(encode(flat.resize((n, n)), "png")).signature for n in (8, 16, 20)}
    assert len(signatures) == 3
