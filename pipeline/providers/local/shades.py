"""Names of colours: the twelve basic ones, and the shades that belong to each."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

Rgb = tuple[int, int, int]

# Landmarks: "hex" or "hex shade". A colour gets the name of the nearest one, so a nameless
# landmark only moves the border between two families.
_LANDMARKS: Final = {
    "black": "000000, 141414, 101018, 181210",
    "white": "ffffff, f4f4f4, fffff0 ivory, f2f5f8, eef0fa, faf6f0 off-white",
    "gray": """808080, a0a0a0, 606060, d3d3d3 light gray, c0c0c0 silver, 404040 charcoal,
        505050 dark gray, 708090 slate, 303438, 8a8680, b4b8bc, d0d4e0, b0b4c2, 5c5650, dedede""",
    "red": """ff0000, c00000, 8b0000 dark red, dc143c crimson, e2231a scarlet, 800000 maroon,
        800020 burgundy, 722f37 wine, d9534f, a52a2a, e57373""",
    "orange": """ffa500, ff8000, ff5f00, ff7f50 coral, e2725b terracotta, ffcba4 peach,
        ffbf00 amber, d2691e, f4a460, e08030""",
    "yellow": """ffff00, ffe135, ffd700 gold, e1ad01 mustard, fff44f lemon, c8b400, f0e68c,
        ffffa0, d4af37""",
    "green": """008000, 00ff00 lime, 006400 dark green, 808000 olive, 98ff98 mint, 9caf88 sage,
        228b22 forest green, 50c878 emerald, 6b8e23, 004d40, 2e8b57 sea green, 008080 teal,
        3c4a2c, 7cb342, c0ff3e, c8e6c9, 556b2f, 1e2a18""",
    "blue": """0000ff, 000080 navy, 87ceeb sky blue, add8e6 light blue, 4169e1 royal blue,
        4682b4 steel blue, 40e0d0 turquoise, 00ffff cyan, 1560bd denim, 191970 midnight blue,
        005f7a petrol, b0d8ee, 5b84b1, 1e90ff, 22354f, 141e3c, 00008b dark blue, 5a7ca0""",
    "purple": """800080, 8f00ff violet, b57edc, e6e6fa lavender, 8e4585 plum, 4b0082 indigo,
        c8a2c8 lilac, e0b0ff mauve, 472c4c aubergine, 6a5acd, 9b59b6, 2e1a47, 673ab7""",
    "pink": """ffc0cb, ff69b4 hot pink, ff1493, ff00ff magenta, ff007f rose, fa8072 salmon,
        f4c2c2 blush, de5d83, db7093, e75480, b86088, fce4ec,
        ffb6c1 light pink, c98b91 dusty pink""",
    "brown": """8b4513, 654321 dark brown, 7b3f00 chocolate, a0522d sienna, 6f4e37 coffee,
        b87333 copper, 954535 chestnut, 5c4033 walnut, c19a6b camel, cd7f32 bronze, 3b2415,
        8b6b4a, 9a7b4f, 8b7360 taupe, a67b5b""",
    "beige": """f5f5dc, fffdd0 cream, f5deb3 wheat, f7e7ce champagne, c2b280 sand, c3b091 khaki,
        d2b48c tan, e8dcc4, ead7b7, d9c7a8, eec890, e0b078""",
}
NEUTRALS: Final = frozenset({"black", "white", "gray"})
MULTICOLOR: Final = "multicolor"
"""The thirteenth name: a picture of many colours, none of which leads."""

_OTHER_SPELLINGS: Final = {
    "aqua": "cyan",
    "golden": "gold",
    "multi": MULTICOLOR,
    "multicolored": MULTICOLOR,
    "rainbow": MULTICOLOR,
}


class Lab(NamedTuple):
    """CIELAB under D65: lightness 0 to 100, then green to red and blue to yellow."""

    l: float  # noqa: E741 - the name the space has
    a: float
    b: float

    @property
    def chroma(self) -> float:
        return math.hypot(self.a, self.b)


class Shade(NamedTuple):
    """One landmark among the colours."""

    basic: str
    key: str
    """The shade's own name as ``_make_key`` writes it; empty when it has none."""
    lab: Lab


def _linearize(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - sRGB


def _bend(value: float) -> float:
    return float(value ** (1 / 3)) if value > 216 / 24389 else value * 841 / 108 + 4 / 29


_LINEAR: Final = tuple(_linearize(value / 255) for value in range(256))


def to_lab(color: Rgb) -> Lab:
    """CIELAB of an sRGB colour (IEC 61966-2-1 and CIE 15, white point D65)."""
    red, green, blue = (_LINEAR[channel] for channel in color)
    x = _bend((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047)
    y = _bend(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    z = _bend((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883)
    return Lab(116 * y - 16, 500 * (x - y), 200 * (y - z))


def measure_difference(first: Lab, second: Lab) -> float:
    """CIE76: about 2 can just be seen, above 10 at a glance."""
    return math.dist(first, second)


def _make_key(word: str) -> str:
    letters = "".join(letter for letter in word.casefold() if letter.isalpha())
    key = letters.replace("grey", "gray").replace("colour", "color")
    return _OTHER_SPELLINGS.get(key, key)


def _read_landmarks() -> tuple[Shade, ...]:
    shades = []
    for basic, landmarks in _LANDMARKS.items():
        for landmark in landmarks.split(","):
            digits, _, name = landmark.strip().partition(" ")
            red, green, blue = bytes.fromhex(digits)
            shades.append(Shade(basic, _make_key(name), to_lab((red, green, blue))))
    return tuple(shades)


_SHADES: Final = _read_landmarks()
_WEIGHTED: Final = tuple(
    (shade, *shade.lab, chroma, (1 + 0.045 * chroma) ** -2, (1 + 0.015 * chroma) ** -2)
    for shade in _SHADES
    for chroma in (shade.lab.chroma,)
)


def name_shade(color: Rgb) -> Shade:
    """The landmark nearest to a colour, by CIE94 (graphic arts weights)."""
    red, green, blue = color
    # cells of 8 x 8 x 8 keep the table small enough to hold every answer
    return _name_cell(red >> 3, green >> 3, blue >> 3)


@lru_cache(maxsize=32 * 32 * 32)
def _name_cell(red: int, green: int, blue: int) -> Shade:
    def spread(value: int) -> int:
        return value << 3 | value >> 2

    return _find_nearest(to_lab((spread(red), spread(green), spread(blue))))


def _find_nearest(lab: Lab) -> Shade:
    """By CIE94: hue and chroma count less the more colourful the landmark is."""
    nearest, least = _SHADES[0], math.inf
    (own_lightness, own_a, own_b), own_chroma = lab, lab.chroma
    for shade, lightness, a, b, chroma, chroma_weight, hue_weight in _WEIGHTED:
        lightness_step = (lightness - own_lightness) ** 2
        if lightness_step >= least:
            continue
        chroma_step = (chroma - own_chroma) ** 2
        hue_step = (a - own_a) ** 2 + (b - own_b) ** 2 - chroma_step
        difference = lightness_step + chroma_step * chroma_weight + hue_step * hue_weight
        if difference < least:
            nearest, least = shade, difference
    return nearest


@lru_cache(maxsize=256)
def match_values(values: tuple[str, ...]) -> Mapping[tuple[str, str], str]:
    """Which allowed value stands for a shade, by its basic name and key.

    A shade's own name wins, then its basic name. Where the values have neither but a single
    word of that family ("navy" and no other blue), that word stands for the whole family.
    """
    by_key = {_make_key(value): value for value in reversed(values)}
    matched = {}
    for basic in _LANDMARKS:
        family = {shade.key for shade in _SHADES if shade.basic == basic}
        named = [by_key[key] for key in sorted(family) if key in by_key]
        lone = named[0] if len(named) == 1 else None
        for key in family:
            value = by_key.get(key) or by_key.get(basic) or lone
            if value is not None:
                matched[basic, key] = value
    if MULTICOLOR in by_key:
        matched[MULTICOLOR, ""] = by_key[MULTICOLOR]
    return matched
