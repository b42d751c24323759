"""Photo, graphic, document, or no verdict."""

import random

import pytest
from pictures import encode, photo
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from test_local_measure import real_photo

from pipeline.providers.local.colors import find_background
from pipeline.providers.local.kind import tell_kind
from pipeline.providers.local.picture import Picture


def kind(image: Image.Image, file_format: str = "jpeg") -> str | None:
    picture = Picture(encode(image.convert("RGB"), file_format))
    return tell_kind(picture, find_background(picture.swatch))


def page(*, lines: int = 30, size: tuple[int, int] = (720, 960), paper: int = 255) -> Image.Image:
    rng, image = random.Random(1), Image.new("L", size, paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for line in range(lines):
        words = " ".join("m" * rng.randint(2, 9) for _ in range(9))[:62]
        draw.text((60, 60 + 26 * line), words, fill=25, font=font)
    return image


def chart() -> Image.Image:
    image = Image.new("RGB", (768, 512), "white")
    draw = ImageDraw.Draw(image)
    for step, color in enumerate(("#3366cc", "#dc3912", "#ff9900", "#109618")):
        draw.rectangle((80 + step * 160, 120 + step * 60, 190 + step * 160, 460), fill=color)
    draw.text((200, 40), "Sales by quarter", fill="black", font=ImageFont.load_default(30))
    return image


def screenshot() -> Image.Image:
    image = Image.new("RGB", (768, 512), "#1e293b")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 150, 512), fill="#334155")
    for card in range(6):
        x, y = 170 + card % 3 * 195, 60 + card // 3 * 220
        draw.rounded_rectangle((x, y, x + 180, y + 200), 12, fill="#475569")
        draw.text((x + 12, y + 12), "Card title", fill="white")
    return image


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_photographs_are_photos(name: str, file_format: str) -> None:
    original = real_photo(name)
    assert kind(original, file_format) == "photo"
    assert kind(original.convert("L"), file_format) == "photo"
    assert kind(original.filter(ImageFilter.GaussianBlur(3)), file_format) == "photo"


def test_drawn_picture_with_grain_is_a_photo() -> None:
    assert kind(photo(768, 576)) == "photo"


def test_photographed_object_on_white_is_a_photo() -> None:
    image = Image.new("RGB", (640, 427), "white")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((180, 60, 460, 370), fill=255)
    image.paste(real_photo("flower.jpg"), (0, 0), mask)
    assert kind(image) == "photo"


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
def test_pages_of_text_are_documents(file_format: str) -> None:
    assert kind(page(), file_format) == "document"
    assert kind(page(lines=9), file_format) == "document"


def test_page_scanned_askew_is_a_document() -> None:
    scan = page(paper=238).rotate(1.2, fillcolor=238, resample=Image.Resampling.BICUBIC)
    assert kind(scan) == "document"


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
@pytest.mark.parametrize("make", [chart, screenshot])
def test_flat_drawings_are_graphics(make: type[Image.Image], file_format: str) -> None:
    assert kind(make(), file_format) == "graphic"


def test_upright_drawing_without_lines_of_text_is_no_document() -> None:
    image = Image.new("RGB", (600, 800), "white")
    ImageDraw.Draw(image).ellipse((150, 250, 450, 550), outline="black", width=30)
    assert kind(image) != "document"


def test_small_photo_on_a_plain_page_does_not_make_it_a_photo() -> None:
    image = Image.new("RGB", (800, 600), "white")
    image.paste(real_photo("china.jpg").resize((170, 120)), (300, 200))
    assert kind(image) is None


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (300, 300), "red"),
        Image.linear_gradient("L").resize((600, 400)),
        Image.frombytes("L", (200, 200), random.Random(3).randbytes(40_000)),
        page(lines=14, size=(960, 480)),
        Image.new("RGB", (2, 2)),
    ],
    ids=["one colour", "gradient", "noise", "wide page", "two pixels"],
)
def test_doubtful_pictures_get_no_verdict(image: Image.Image) -> None:
    assert kind(image, "png") is None
