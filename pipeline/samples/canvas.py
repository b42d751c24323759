"""A canvas for soft-edged, shaded shapes: outlines in pixels, filled with gradients."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Rgb: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
Outline: TypeAlias = Sequence[Point]

_OVERSAMPLING: Final = 3
_GRAIN_SIDE: Final = 256


def parse_colors(text: str) -> list[Rgb]:
    """Colours of a list such as ``"ff8800 402000"``."""
    return [(r, g, b) for r, g, b in map(bytes.fromhex, text.split())]


def tint(color: Rgb, amount: float) -> Rgb:
    """The colour lighter (towards white, up to 1) or darker (towards black, down to -1)."""
    goal = 255 if amount > 0 else 0
    red, green, blue = (round(part + (goal - part) * abs(amount)) for part in color)
    return red, green, blue


def make_round(color: Rgb) -> list[Rgb]:
    """Stops across a standing cylinder lit from the left."""
    return [tint(color, step) for step in (-0.25, 0.05, 0.38, 0.08, 0.0, -0.18, -0.42)]


def make_gradient(size: tuple[int, int], stops: Sequence[Rgb], *, across: bool) -> Image.Image:
    """Colours blended from left to right (``across``) or from top to bottom."""
    line = Image.new("RGB", (len(stops), 1) if across else (1, len(stops)))
    line.putdata(list(stops))
    return line.resize(size, Image.Resampling.BICUBIC)


def make_oval(box: Box, points: int = 72) -> list[Point]:
    left, top, right, bottom = box
    turns = [2 * math.pi * step / points for step in range(points)]
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    wide, high = (right - left) / 2, (bottom - top) / 2
    return [(middle_x + wide * math.cos(turn), middle_y + high * math.sin(turn)) for turn in turns]


def make_panel(box: Box, radius: float) -> list[Point]:
    """A rectangle with round corners."""
    left, top, right, bottom = box
    corners = (
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 1),
        (left + radius, top + radius, 2),
        (right - radius, top + radius, 3),
    )
    points = []
    for x, y, quarter in corners:
        for step in range(9):
            turn = math.pi / 2 * (quarter + step / 8)
            points.append((x + radius * math.cos(turn), y + radius * math.sin(turn)))
    return points


def make_curve(knots: Outline, *, closed: bool = True, steps: int = 10) -> list[Point]:
    """A smooth line through the knots (Catmull-Rom)."""
    ring = [knots[-1], *knots, *knots[:2]] if closed else [knots[0], *knots, knots[-1]]
    points = []
    for before, start, end, after in zip(ring, ring[1:], ring[2:], ring[3:], strict=False):
        for step in range(steps):
            share = step / steps
            points.append(
                (
                    _interpolate(before[0], start[0], end[0], after[0], share),
                    _interpolate(before[1], start[1], end[1], after[1], share),
                )
            )
    return points if closed else [*points, knots[-1]]


def _interpolate(before: float, start: float, end: float, after: float, share: float) -> float:  # noqa: PLR0917 - four knots
    slope = 2 * before - 5 * start + 4 * end - after
    bend = -before + 3 * start - 3 * end + after
    return 0.5 * (2 * start + share * (end - before + share * (slope + share * bend)))


def make_lathed(axis: float, profile: Outline) -> list[Point]:
    """A turned body: the profile gives half widths by height, top to bottom."""
    side = make_curve(profile, closed=False)
    right = [(axis + half, y) for half, y in side]
    return right + [(axis - half, y) for half, y in reversed(side)]


class Canvas:
    """A picture under way. Edges are smooth; what lies outside is cut off."""

    def __init__(self, size: tuple[int, int], stops: Sequence[Rgb]) -> None:
        self.image = make_gradient(size, stops, across=False)

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def paint(
        self,
        outline: Outline,
        stops: Sequence[Rgb],
        *,
        across: bool = False,
        hole: Outline = (),
        blur: float = 0,
        opacity: float = 1,
    ) -> None:
        """Fill an outline, less a hole in it, with a gradient over its bounding box."""
        left, top, right, bottom = self._bound(outline, margin=3 * blur)
        size = (right - left, bottom - top)
        if min(size) <= 0:
            return
        grid = _OVERSAMPLING if blur < 2 else 1  # noqa: PLR2004 - a blurred edge needs no more
        mask = Image.new("L", (size[0] * grid, size[1] * grid))
        draw = ImageDraw.Draw(mask)
        for shape, value in ((outline, round(255 * opacity)), (hole, 0)):
            if shape:
                draw.polygon([((x - left) * grid, (y - top) * grid) for x, y in shape], fill=value)
        mask = mask.reduce(grid) if grid > 1 else mask
        mask = mask.filter(ImageFilter.BoxBlur(blur)).filter(ImageFilter.BoxBlur(blur))
        self.image.paste(make_gradient(size, stops, across=across), (left, top), mask)

    def _bound(self, outline: Outline, *, margin: float) -> tuple[int, int, int, int]:
        columns, rows = [x for x, _ in outline], [y for _, y in outline]
        return (
            max(0, math.floor(min(columns) - margin)),
            max(0, math.floor(min(rows) - margin)),
            min(self.size[0], math.ceil(max(columns) + margin)),
            min(self.size[1], math.ceil(max(rows) + margin)),
        )

    def trace(self, knots: Outline, color: Rgb, width: float) -> None:
        """A smooth line of even width with round ends."""
        line = make_curve(knots, closed=False)
        for start, end in pairwise(line):
            self._stroke(start, end, color, width)

    def _stroke(self, start: Point, end: Point, color: Rgb, width: float) -> None:
        turn = math.atan2(end[1] - start[1], end[0] - start[0])
        half = width / 2
        cap = [turn + math.pi / 2 + math.pi * step / 6 for step in range(7)]
        back = [(start[0] + half * math.cos(t), start[1] + half * math.sin(t)) for t in cap]
        front = [(end[0] - half * math.cos(t), end[1] - half * math.sin(t)) for t in cap]
        self.paint(back + front, [color])

    def write(self, place: Point, text: str, size: float, color: Rgb) -> None:
        font = ImageFont.load_default(size)
        ImageDraw.Draw(self.image).text(place, text, fill=color, font=font)

    def add_shadow(self, box: Box, *, opacity: float = 0.35) -> None:
        """A soft dark pool under a thing that stands."""
        blur = (box[3] - box[1]) / 3
        self.paint(make_oval(box), [(30, 28, 36)], blur=blur, opacity=opacity)

    def add_grain(self, rng: random.Random, amount: int = 5) -> None:
        """Noise as of a sensor, at most ``amount`` levels up or down."""
        tile = Image.frombytes("L", (_GRAIN_SIDE, _GRAIN_SIDE), rng.randbytes(_GRAIN_SIDE**2))
        tile = tile.point([value * 2 * amount // 255 for value in range(256)])
        noise = Image.new("L", self.size)
        for x in range(0, self.size[0], _GRAIN_SIDE):
            for y in range(0, self.size[1], _GRAIN_SIDE):
                noise.paste(tile, (x, y))
        self.image = ImageChops.add(
            self.image, Image.merge("RGB", (noise, noise, noise)), offset=-amount
        )
