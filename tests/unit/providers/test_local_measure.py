"""Light, sharpness and shape."""

import itertools
from importlib.util import find_spec
from pathlib import Path

import pytest
from pictures import encode, gray16_png, photo
from PIL import Image, ImageFilter

from pipeline.domain.images import ImageFormat, ImageInfo
from pipeline.providers.local.colors import list_patches
from pipeline.providers.local.measure import (
    is_black_and_white,
    measure_brightness,
    measure_contrast,
    measure_sharpness,
    tell_orientation,
)
from pipeline.providers.local.picture import VIEW_SIDE, Picture


def real_photo(name: str) -> Image.Image:
    """One of the two photographs that scikit-learn brings."""
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations
    return Image.open(Path(spec.submodule_search_locations[0], "datasets/images", name))


def look(image: Image.Image) -> Picture:
    return Picture(encode(image, "png"))


@pytest.mark.parametrize(("level", "brightness"), [(0, 0.0), (51, 0.2), (128, 0.502), (255, 1.0)])
def test_brightness_is_mean_luma(level: int, brightness: float) -> None:
    assert measure_brightness(look(Image.new("L", (50, 20), level))) == brightness


def test_green_is_brighter_than_red_and_red_than_blue() -> None:
    levels = [
        measure_brightness(look(Image.new("RGB", (8, 8), c))) for c in ("lime", "red", "blue")
    ]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) == 3


def test_contrast_is_deviation_of_luma() -> None:
    halves = Image.new("L", (40, 40))
    halves.paste(255, (0, 0, 20, 40))
    assert measure_contrast(look(halves)) == 0.5
    assert measure_contrast(look(halves.point(lambda value: 100 + value // 5))) == 0.1
    assert measure_contrast(look(Image.new("L", (40, 40), 90))) == 0


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_sharpness_falls_with_every_blur(name: str) -> None:
    original = real_photo(name)
    blurs = [original.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4, 8)]
    found = [measure_sharpness(look(image)) for image in blurs]
    assert all(sharper > softer for sharper, softer in itertools.pairwise(found))
    assert found[0] > 0.4
    assert found[3] < 0.12


def test_plain_ground_does_not_soften_a_sharp_object() -> None:
    image = Image.new("RGB", (600, 600), "white")
    image.paste(real_photo("china.jpg").crop((200, 100, 440, 340)), (180, 180))
    assert measure_sharpness(look(image)) > 0.4


def test_featureless_picture_has_no_sharpness() -> None:
    assert measure_sharpness(look(Image.new("RGB", (300, 200), "teal"))) == 0
    assert measure_sharpness(look(Image.new("RGB", (2, 90), "teal"))) == 0


@pytest.mark.parametrize(
    ("width", "height", "orientation"),
    [
        (1200, 800, "landscape"), (800, 1200, "portrait"), (900, 900, "square"),
        (1000, 971, "square"), (1000, 969, "landscape"), (969, 1000, "portrait"),
    ],
)  # fmt: skip
def test_orientation_follows_the_upright_sides(width: int, height: int, orientation: str) -> None:
    info = ImageInfo(format=ImageFormat.JPEG, width=width, height=height)
    assert tell_orientation(info) == orientation


def test_black_and_white_needs_every_part_without_color() -> None:
    gray = photo().convert("L").convert("RGB")
    assert is_black_and_white(list_patches(look(gray).swatch))
    gray.paste("red", (0, 0, 120, 120))
    assert not is_black_and_white(list_patches(look(gray).swatch))


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("size", [(1500, 40), (1024, 768), (300, 500), (1, 2000)])
def test_view_is_bounded_and_keeps_proportions(file_format: str, size: tuple[int, int]) -> None:
    view = Picture(encode(photo(*size), file_format)).view
    assert max(view.size) == min(VIEW_SIDE, max(size))
    expected = min(size) * max(view.size) / max(size)
    assert abs(min(view.size) - expected) < 1 or min(view.size) == 1


def test_transparent_parts_are_seen_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert measure_brightness(look(clear)) == 1
    colored = Image.new("P", (20, 20), 0)
    colored.putpalette([10, 20, 30])
    assert measure_brightness(Picture(encode(colored, "png", transparency=0))) == 1


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    """The test picture rises evenly from black to white."""
    assert measure_brightness(Picture(gray16_png())) == pytest.approx(0.5, abs=0.01)
