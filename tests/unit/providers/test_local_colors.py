"""Colours by name and as a palette."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encode
from PIL import Image, ImageDraw

from pipeline.providers.local.colors import (
    find_background,
    list_palette,
    list_patches,
    name_colors,
)
from pipeline.providers.local.picture import Picture
from pipeline.providers.local.shades import measure_difference, name_shade, to_lab


def stripes(*shares: tuple[str, int], side: int = 200) -> Image.Image:
    """Upright stripes, each as wide as its share in percent."""
    image, left = Image.new("RGB", (side, side)), 0
    for color, percent in shares:
        right = left + side * percent // 100
        image.paste(color, (left, 0, right, side))
        left = right
    return image


def thing(color: str, ground: str, *, side: int = 200, size: int = 100) -> Image.Image:
    """A disc in the middle of a plain ground."""
    image, start = Image.new("RGB", (side, side), ground), (side - size) // 2
    ImageDraw.Draw(image).ellipse((start, start, start + size, start + size), fill=color)
    return image


def names(image: Image.Image, *values: str) -> list[str | None]:
    swatch = Picture(encode(image, "png")).swatch
    return name_colors(list_patches(swatch), find_background(swatch), values)


SOLIDS = [
    ("black", "#000000 #121212 #0a0a14"),
    ("white", "#ffffff #f7f7f7 #fdfcf8"),
    ("gray", "#808080 #a9a9a9 #696969 #c0c0c0 #424242"),
    ("red", "#ff0000 #dc143c #b71c1c #e53935"),
    ("orange", "#ffa500 #ff8c00 #f57c00 #ff7043"),
    ("yellow", "#ffff00 #ffd700 #ffeb3b #fff176"),
    ("green", "#008000 #00ff00 #2e7d32 #808000 #8bc34a #98ff98"),
    ("blue", "#0000ff #000080 #2196f3 #87ceeb #003366"),
    ("purple", "#800080 #673ab7 #8a2be2 #b57edc"),
    ("pink", "#ffc0cb #ff69b4 #f48fb1 #ff1493"),
    ("brown", "#8b4513 #5d4037 #654321 #a0522d"),
    ("beige", "#f5f5dc #d2b48c #fffdd0 #f5deb3"),
]


@pytest.mark.parametrize(
    ("name", "color"), [(name, color) for name, listed in SOLIDS for color in listed.split()]
)
def test_solid_color_has_its_name(name: str, color: str) -> None:
    assert names(Image.new("RGB", (40, 30), color)) == [name]


@pytest.mark.parametrize("file_format", ["jpeg", "webp", "png"])
def test_colors_come_by_share(file_format: str) -> None:
    image = stripes(("green", 30), ("blue", 50), ("yellow", 20))
    swatch = Picture(encode(image, file_format)).swatch
    assert name_colors(list_patches(swatch), None) == ["blue", "green", "yellow"]


def test_accent_below_the_least_share_is_not_named() -> None:
    assert names(stripes(("red", 50), ("blue", 46), ("yellow", 4))) == ["red", "blue"]


@pytest.mark.parametrize("ground", ["white", "black", "#e8e4da", "#204080"])
def test_object_comes_before_its_plain_background(ground: str) -> None:
    found = names(thing("red", ground, size=80))
    assert found[0] == "red"
    assert len(found) == 2


def test_shadow_on_white_is_no_color_of_the_object() -> None:
    image = thing("red", "white")
    ImageDraw.Draw(image).ellipse((40, 150, 160, 190), fill="#d8d8d8")
    assert names(image) == ["red", "white"]


def test_white_object_on_white_is_white() -> None:
    assert names(thing("#fafafa", "white")) == ["white"]


def test_values_answer_in_their_own_spelling() -> None:
    image = stripes(("gray", 60), ("red", 40))
    assert names(image, "Grey", "RED", "Blue") == ["Grey", "RED"]


def test_color_without_a_value_is_left_out_not_replaced() -> None:
    assert names(stripes(("red", 60), ("blue", 40)), "Blue", "Green") == [None, "Blue"]


@pytest.mark.parametrize(
    ("color", "value"),
    [("beige", "cream"), ("blue", "navy"), ("silver", "silver"), ("yellow", "gold")],
)
def test_lone_word_of_a_family_stands_for_it(color: str, value: str) -> None:
    assert names(Image.new("RGB", (9, 9), color), value, "red") == [value]


def test_own_shade_wins_over_the_basic_name() -> None:
    values = ("blue", "navy", "sky blue")
    assert names(Image.new("RGB", (9, 9), "navy"), *values) == ["navy"]
    assert names(Image.new("RGB", (9, 9), "skyblue"), *values) == ["sky blue"]
    assert names(Image.new("RGB", (9, 9), "#0000ff"), *values) == ["blue"]


def test_shade_that_fits_none_of_several_words_has_no_name() -> None:
    assert names(Image.new("RGB", (9, 9), "#0000ff"), "navy", "sky blue") == [None]


def test_many_colors_without_a_leader_are_multicolor() -> None:
    image = stripes(("red", 20), ("yellow", 20), ("green", 20), ("blue", 20), ("purple", 20))
    assert names(image, "multicolour", "red")[0] == "multicolour"
    assert "multicolor" not in names(stripes(("red", 60), ("yellow", 20), ("blue", 20)))


def test_palette_tells_hex_by_share() -> None:
    image = stripes(("#204080", 50), ("#f0c020", 30), ("#801010", 20))
    patches = list_patches(Picture(encode(image, "png")).swatch)
    assert list_palette(patches, None) == ["#204080", "#f0c020", "#801010"]
    assert list_palette(patches, 2) == ["#204080", "#f0c020"]


def test_palette_tells_like_colors_once() -> None:
    patches = list_patches(stripes(("#204080", 40), ("#224284", 30), ("#f0c020", 30)))
    assert len(list_palette(patches, 6)) == 2
    assert list_palette(patches, 6)[1] == "#f0c020"


def test_background_is_plain_only_when_the_whole_edge_is() -> None:
    assert find_background(thing("red", "#eeeeee")) == (238, 238, 238)
    assert find_background(stripes(("white", 80), ("black", 20))) is None
    cut = thing("red", "white", size=198)
    assert find_background(cut.crop((0, 0, 200, 120))) is None


@pytest.mark.parametrize(
    ("color", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_equals_published_values(
    color: tuple[int, int, int], lab: tuple[float, float, float]
) -> None:
    assert tuple(to_lab(color)) == pytest.approx(lab, abs=0.05)


CHANNEL = st.integers(0, 255)


@given(st.tuples(CHANNEL, CHANNEL, CHANNEL))
def test_every_color_has_a_basic_name_and_no_distance_to_itself(
    color: tuple[int, int, int],
) -> None:
    assert name_shade(color).basic in {name for name, _ in SOLIDS}
    assert measure_difference(to_lab(color), to_lab(color)) == 0
