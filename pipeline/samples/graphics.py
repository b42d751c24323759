"""Pages, charts and signs: flat pictures with text, as offices and brands make them."""

import math
import random

from PIL import Image, ImageDraw

from pipeline.samples.canvas import Canvas, Point, Rgb, make_oval, make_panel, parse_colors

_INK: Rgb = (34, 36, 42)
_FAINT: Rgb = (120, 124, 132)
_PROSE = """the order will leave our house on Monday and reach you within three days please keep
this letter with your papers we thank you for your trust and remain at your service for any
question about the goods or their care in the years to come"""


def draw_letter(rng: random.Random) -> Canvas:
    canvas = Canvas((850, 1100), [(255, 255, 255)])
    canvas.write((90, 80), "Harbour & Hill", 34, _INK)
    canvas.write((90, 124), "Household goods since 1954", 16, _FAINT)
    canvas.write((90, 220), "Dear customer,", 19, _INK)
    vocabulary, y = _PROSE.split(), 270
    for _ in range(4):
        for line in range(rng.randint(5, 7)):
            words = " ".join(rng.choice(vocabulary) for _ in range(11 if line else 10))
            canvas.write((90, y), words[:74], 18, _INK)
            y += 27
        y += 20
    canvas.write((90, y + 10), "With kind regards", 19, _INK)
    return canvas


def draw_receipt(rng: random.Random) -> Canvas:
    canvas = Canvas((620, 1000), [(252, 251, 247)])
    canvas.write((170, 60), "CORNER SHOP", 40, _INK)
    canvas.write((208, 116), "14 Market Street", 22, _FAINT)
    total = 0
    items = ("Bread", "Butter", "Apples", "Coffee", "Milk", "Honey", "Rice", "Olive oil", "Soap")
    for row, item in enumerate(items):
        cents, y = rng.randint(95, 1450), 200 + 58 * row
        total += cents
        canvas.write((70, y), item, 27, _INK)
        canvas.write((450, y), f"{cents / 100:8.2f}", 27, _INK)
    canvas.paint([(70, 738), (550, 738), (550, 741), (70, 741)], [_INK])
    canvas.write((70, 765), "TOTAL", 34, _INK)
    canvas.write((436, 765), f"{total / 100:8.2f}", 34, _INK)
    canvas.write((196, 880), "Thank you, come again", 22, _FAINT)
    return canvas


def draw_chart() -> Canvas:
    canvas = Canvas((1000, 700), [(255, 255, 255)])
    canvas.write((80, 40), "Visitors by season", 38, _INK)
    for step in range(5):
        y = 600 - 110 * step
        canvas.paint([(80, y), (940, y), (940, y + 2), (80, y + 2)], [(222, 226, 232)])
        canvas.write((30, y - 12), str(25 * step), 20, _FAINT)
    bars = (("Spring", 300, "4e9f50"), ("Summer", 450, "e8b10c"),
            ("Autumn", 250, "d9622b"), ("Winter", 170, "3b76b8"))  # fmt: skip
    for index, (season, tall, color) in enumerate(bars):
        x = 130 + 210 * index
        canvas.paint(make_panel((x, 600 - tall, x + 130, 601), 8), parse_colors(color))
        canvas.write((x + 30, 616), season, 22, _INK)
    return canvas


def draw_poster() -> Canvas:
    """Rings of flat colour around a sun."""
    canvas = Canvas((800, 800), [(22, 60, 92)])
    rings = ((360, "1f7a8c"), (290, "f4d35e"), (220, "ee964b"), (150, "f95738"), (80, "fdf6e3"))
    for radius, color in rings:
        canvas.paint(
            make_oval((400 - radius, 400 - radius, 400 + radius, 400 + radius), 96),
            parse_colors(color),
        )
    return canvas


def draw_badge() -> Canvas:
    canvas = Canvas((560, 560), [(236, 240, 241)])
    canvas.paint(make_oval((50, 50, 510, 510), 96), [(192, 57, 43)])
    canvas.paint(
        make_oval((74, 74, 486, 486), 96), [(236, 240, 241)], hole=make_oval((82, 82, 478, 478), 96)
    )
    canvas.paint(_make_star((280, 280), 150), [(255, 255, 255)])
    return canvas


def draw_logo() -> Image.Image:
    """A leaf in a ring on nothing: red, green, blue and transparency."""
    canvas = Canvas((720, 720), parse_colors("18b48c 0f7f9a"))
    side = 720 * 3
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for points, value in (
        (make_oval((60, 60, 660, 660), 120), 255),
        (make_oval((110, 110, 610, 610), 120), 0),
        (_make_leaf(), 255),
    ):
        draw.polygon([(x * 3, y * 3) for x, y in points], fill=value)
    draw.line([(235 * 3, 490 * 3), (440 * 3, 285 * 3)], fill=0, width=36)
    canvas.image.putalpha(mask.reduce(3))
    return canvas.image


def _make_leaf() -> list[Point]:
    """Two arcs that meet at both ends, from lower left to upper right."""
    points: list[Point] = []
    for sign in (1, -1):
        for step in range(25):
            share = step / 24 if sign > 0 else 1 - step / 24
            swell = sign * 105 * math.sin(math.pi * share)
            along = 225 + 270 * share
            points.append((along + swell * 0.7, 720 - along + swell * 0.7))
    return points


def _make_star(middle: Point, radius: float) -> list[Point]:
    points = []
    for corner in range(10):
        reach = radius if corner % 2 == 0 else radius * 0.42
        turn = math.pi * (corner / 5 - 0.5)
        points.append((middle[0] + reach * math.cos(turn), middle[1] + reach * math.sin(turn)))
    return points
