"""Names of colours: which of a schema's values a picture shows most."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import ImageColor

from pipeline.simulator.sight import Color, Sight


def rank_colors(values: Sequence[Any], sight: Sight) -> list[Any]:
    """Sort the values that name colours, most of the picture first; empty when none does."""
    named = [(value, _read_color(value)) for value in values if isinstance(value, str)]
    known = [(value, color) for value, color in named if color is not None]
    if not known:
        return []
    # one cell in four is enough to vote
    cells = list(sight.colors())[::4]
    votes = Counter(_find_nearest(known, cell) for cell in cells)
    return sorted((value for value, _ in known), key=lambda value: -votes[value])


@lru_cache(maxsize=1024)
def _read_color(name: str) -> Color | None:
    try:
        red, green, blue = ImageColor.getrgb(name.lower())[:3]
    except ValueError:
        return None
    return red, green, blue


def _find_nearest(known: Sequence[tuple[str, Color]], cell: Color) -> str:
    return min(known, key=lambda pair: _measure_distance(pair[1], cell))[0]


def _measure_distance(first: Color, second: Color) -> int:
    # written out, as it is most of what an answer costs
    red, green, blue = first[0] - second[0], first[1] - second[1], first[2] - second[2]
    return red * red + green * green + blue * blue
