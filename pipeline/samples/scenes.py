"""Views of the country: layered hills, sea and sky in several lights."""

import math
import random

from PIL import ImageFilter, ImageOps

from pipeline.samples.canvas import (
    Canvas,
    Outline,
    Point,
    Rgb,
    make_curve,
    make_oval,
    make_panel,
    parse_colors,
    tint,
)

_WIDE = (1200, 800)
_TALL = (800, 1200)


def _make_ridge(
    rng: random.Random, size: tuple[int, int], level: float, *, height: float, jagged: bool = False
) -> list[Point]:
    """The upper edge of a range of hills, closed along the bottom of the picture."""
    width, bottom = size
    waves = [(rng.uniform(0.6, 3.2), rng.uniform(0, 6.3), rng.uniform(0.3, 1)) for _ in range(4)]
    rough = 0.35 if jagged else 0.0
    edge: list[Point] = []
    for x in range(0, width + 9, 8):
        swing = sum(
            gain * math.sin(turns * 2 * math.pi * x / width + start) for turns, start, gain in waves
        )
        edge.append((x, level - height * (swing / 2 + rough * rng.uniform(-0.4, 0.4))))
    return [*edge, (width + 8, bottom), (0, bottom)]


def _make_peaks(
    rng: random.Random, size: tuple[int, int], level: float, *, height: float, count: int
) -> list[Point]:
    width, bottom = size
    points: list[Point] = [(0, level)]
    step = width / count
    for index in range(count):
        middle = step * (index + rng.uniform(0.35, 0.65))
        top = level - height * rng.uniform(0.55, 1)
        points += _break_slope(rng, points[-1], (middle, top))
        foot = (step * (index + 1), level - height * rng.uniform(0, 0.25))
        points += _break_slope(rng, (middle, top), foot)
    return [*points, (width, bottom), (0, bottom)]


def _break_slope(rng: random.Random, start: Point, end: Point) -> list[Point]:
    points = []
    for step in range(1, 9):
        share = step / 8
        wobble = 0 if step == 8 else rng.uniform(-7, 7)  # noqa: PLR2004 - the end stays
        points.append(
            (
                start[0] + (end[0] - start[0]) * share,
                start[1] + (end[1] - start[1]) * share + wobble,
            )
        )
    return points


def _add_sun(canvas: Canvas, middle: Point, radius: float, color: Rgb) -> None:
    x, y = middle
    for reach, opacity in ((4.5, 0.18), (2.4, 0.3), (1.5, 0.4)):
        glow = make_oval(
            (x - radius * reach, y - radius * reach, x + radius * reach, y + radius * reach)
        )
        canvas.paint(glow, [tint(color, 0.3)], blur=radius * reach / 3, opacity=opacity)
    canvas.paint(
        make_oval((x - radius, y - radius, x + radius, y + radius)), [tint(color, 0.6), color]
    )


def _add_cloud(canvas: Canvas, rng: random.Random, middle: Point, width: float) -> None:
    x, y = middle
    for step in range(7):
        puff = width * rng.uniform(0.16, 0.3) * (1 - abs(step - 3) / 5)
        at = x + width * (step - 3) / 7
        oval = make_oval((at - puff * 1.3, y - puff, at + puff * 1.3, y + puff * 0.55), 40)
        canvas.paint(oval, parse_colors("ffffff ffffff dfe7ef"), blur=7, opacity=0.85)


def _add_firs(
    canvas: Canvas, rng: random.Random, ridge: Outline, *, color: Rgb, count: int
) -> None:
    for x, y in rng.sample(list(ridge[:-2]), count):
        tall = rng.uniform(34, 74)
        for layer in range(3):
            top, half = y - tall * (1 - layer * 0.24), tall * (0.14 + 0.06 * layer)
            canvas.paint(
                [(x, top), (x + half, top + tall * 0.42), (x - half, top + tall * 0.42)],
                [tint(color, 0.08), tint(color, -0.2)],
            )


def draw_hills(rng: random.Random) -> Canvas:
    canvas = Canvas(_WIDE, parse_colors("3f8fd8 8cc4ee d6ecf8 f4f8f4"))
    for x, y, width in ((250, 150, 300), (820, 110, 380), (1080, 230, 240)):
        _add_cloud(canvas, rng, (x, y), width)
    greens = ("a9c6a0 7fae7a", "86b866 5f9a4a", "5e9a3f 3f7d2f", "3f7f2e 25561f")
    for step, stops in enumerate(greens):
        ridge = _make_ridge(rng, _WIDE, 400 + 95 * step, height=58)
        canvas.paint(ridge, parse_colors(stops))
        if step:
            color = parse_colors("2c5e33 234f2b 1c4324")[step - 1]
            _add_firs(canvas, rng, ridge, color=color, count=4 + 3 * step)
    canvas.add_grain(rng)
    return canvas


def draw_sunset(rng: random.Random) -> Canvas:
    canvas = Canvas(_WIDE, parse_colors("2b2350 7a3b6b d9604f f7a24b fbd37a fbd37a fbd37a"))
    _add_sun(canvas, (600, 430), 70, (255, 196, 84))
    canvas.paint(
        [(0, 470), (1200, 470), (1200, 800), (0, 800)], parse_colors("e58a4e a14a56 4a2a55 1d1838")
    )
    for row in range(26):
        y = 476 + row * 12
        reach = 70 + row * 5
        for _ in range(3):
            x = 600 + rng.uniform(-reach, reach) * 0.6
            half = rng.uniform(18, 70)
            glint = make_oval((x - half, y - 2.5, x + half, y + 2.5), 24)
            canvas.paint(glint, parse_colors("ffd98a"), opacity=0.75 - row * 0.02)
    for x in (210, 960):
        _draw_sail(canvas, (x, 520), 60 if x < 600 else 38)  # noqa: PLR2004 - left of the sun
    canvas.add_grain(rng)
    return canvas


def _draw_sail(canvas: Canvas, foot: Point, size: float) -> None:
    x, y = foot
    dark = parse_colors("2a1a38")
    canvas.paint(
        make_curve(
            [
                (x - size, y),
                (x + size, y),
                (x + size * 0.6, y + size * 0.3),
                (x - size * 0.6, y + size * 0.3),
            ]
        ),
        dark,
    )
    canvas.paint([(x - 4, y - 6), (x - 4, y - size * 2.1), (x - size * 0.85, y - 6)], dark)
    canvas.paint([(x + 4, y - 6), (x + 4, y - size * 1.8), (x + size * 0.7, y - 6)], dark)


def draw_mountains(rng: random.Random, size: tuple[int, int] = _WIDE) -> Canvas:
    width, height = size
    canvas = Canvas(size, parse_colors("6f8fc4 a8bce0 f0d2c8 f8e4cf f8e4cf"))
    _add_sun(canvas, (width * 0.7, height * 0.3), 46, (255, 226, 170))
    layers = ("9fb0d2 b9c6dd", "7389b8 93a5c8", "4c6496 6a80ac", "2d4371 455b8a", "17264a 24365f")
    for step, stops in enumerate(layers):
        level = height * (0.5 + 0.115 * step)
        peaks = _make_peaks(rng, size, level, height=height * (0.24 - 0.03 * step), count=3 + step)
        canvas.paint(peaks, parse_colors(stops))
    canvas.add_grain(rng)
    return canvas


def draw_lake(rng: random.Random) -> Canvas:
    """An upright picture: mountains over water that mirrors them."""
    canvas = draw_mountains(rng, _TALL)
    middle = 700
    mirror = ImageOps.flip(canvas.image.crop((0, 2 * middle - 1200, 800, middle)))
    canvas.image.paste(
        mirror.filter(ImageFilter.BoxBlur(3)).point(lambda value: value * 0.82), (0, middle)
    )
    for _ in range(46):
        x, y = rng.uniform(0, 800), rng.uniform(middle + 8, 1190)
        half = rng.uniform(20, 110)
        canvas.paint(
            make_oval((x - half, y - 1.6, x + half, y + 1.6), 20), [(236, 240, 248)], opacity=0.28
        )
    shore = _make_ridge(rng, (800, middle + 10), middle - 14, height=10)
    canvas.paint(shore, parse_colors("2d4a3a 1a3026"))
    _add_firs(canvas, rng, shore, color=(28, 58, 44), count=26)
    canvas.add_grain(rng)
    return canvas


def draw_desert(rng: random.Random) -> Canvas:
    canvas = Canvas(_TALL, parse_colors("2f86c9 6db6e4 bfe0ef f3e6cf f3e6cf"))
    _add_sun(canvas, (590, 210), 52, (255, 240, 190))
    dunes = ("e6c08a d9a566", "dca765 c4874a", "cf9049 b06f35", "b8743a 8f5428")
    for step, stops in enumerate(dunes):
        ridge = _make_ridge(rng, _TALL, 590 + 150 * step, height=72)
        canvas.paint(ridge, parse_colors(stops))
        shade = [(x, y + 46 + 40 * math.sin(x / 90 + step)) for x, y in ridge[:-2]]
        canvas.paint([*ridge[:-2], *reversed(shade)], parse_colors("8a4d22"), blur=5, opacity=0.22)
    for x, y, tall in ((150, 900, 230), (640, 800, 130)):
        _draw_cactus(canvas, (x, y), tall)
    canvas.add_grain(rng)
    return canvas


def _draw_cactus(canvas: Canvas, foot: Point, tall: float) -> None:
    x, y = foot
    wide = tall * 0.15
    green = parse_colors("7fa05a 54803f 2f5a2c")
    for side, low, high in ((-1, 0.42, 0.78), (1, 0.3, 0.66)):
        reach = x + side * tall * 0.28
        canvas.trace(
            [(x, y - tall * low), (reach, y - tall * low - 4), (reach, y - tall * high)],
            green[1],
            wide * 0.75,
        )
    canvas.paint(
        make_panel((x - wide / 2, y - tall, x + wide / 2, y), wide / 2 - 1), green, across=True
    )


def draw_night(rng: random.Random) -> Canvas:
    canvas = Canvas(_WIDE, parse_colors("03040c 070b1c 101a36 1a2748"))
    for _ in range(170):
        x, y, half = rng.uniform(0, 1200), rng.uniform(0, 520), rng.choice((0.7, 0.9, 1.3))
        canvas.paint(
            make_oval((x - half, y - half, x + half, y + half), 10), [(226, 232, 255)], opacity=0.9
        )
    canvas.paint(make_oval((860, 90, 1020, 250)), [(210, 216, 240)], blur=30, opacity=0.16)
    canvas.paint(make_oval((890, 120, 990, 220)), parse_colors("f4f1e2 cfcbbd"))
    canvas.paint(_make_ridge(rng, _WIDE, 560, height=60), parse_colors("0a1226 060b18"))
    near = _make_ridge(rng, _WIDE, 670, height=45)
    canvas.paint(near, parse_colors("050914 020308"))
    for x, y in rng.sample(near[:-2], 9):
        canvas.paint(make_panel((x - 4, y + 24, x + 4, y + 34), 1), parse_colors("ffcf6b"))
    canvas.add_grain(rng, 3)
    return canvas


def blur(canvas: Canvas, radius: float = 14) -> Canvas:
    """The same picture, badly out of focus."""
    for _ in range(2):
        canvas.image = canvas.image.filter(ImageFilter.BoxBlur(radius))
    return canvas


def remove_color(canvas: Canvas) -> Canvas:
    canvas.image = ImageOps.autocontrast(canvas.image.convert("L"), cutoff=1)
    return canvas
