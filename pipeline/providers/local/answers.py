"""Measurements brought into the form a field of the profile allows, or nothing at all."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final, TypeAlias

from pipeline.domain.images import PreparedImage
from pipeline.domain.vision import FieldQuestion
from pipeline.providers.local.colors import (
    Patch,
    find_background,
    list_palette,
    list_patches,
    name_colors,
)
from pipeline.providers.local.kind import tell_kind
from pipeline.providers.local.measure import (
    BLURRED_BELOW,
    BRIGHT_ABOVE,
    DARK_BELOW,
    FLAT_BELOW,
    LOW_CONTRAST_BELOW,
    is_black_and_white,
    measure_brightness,
    measure_contrast,
    measure_sharpness,
    tell_orientation,
)
from pipeline.providers.local.picture import Picture
from pipeline.providers.local.shades import Rgb
from pipeline.providers.local.text import TextReader

Measured: TypeAlias = float | bool | str | list[str | None] | None
"""A list is sorted, most important first; None in it is something no allowed value names."""
Value: TypeAlias = float | bool | str | list[str] | None

_SAME_WORD: Final = {
    "photograph": "photo",
    "graphics": "graphic",
    "horizontal": "landscape",
    "vertical": "portrait",
}


class Sitting:
    """One picture and what has been found out about it, so that no field measures twice."""

    def __init__(self, image: PreparedImage, reader: TextReader) -> None:
        self.image = image
        self.picture = Picture(image.data)
        self.reader = reader

    @cached_property
    def patches(self) -> list[Patch]:
        return list_patches(self.picture.swatch)

    @cached_property
    def background(self) -> Rgb | None:
        return find_background(self.picture.swatch)

    def read_text(self) -> str | None:
        shortest = min(self.picture.view.size)
        return self.reader.read(self.image.data, shortest_side=shortest)

    def read_date(self) -> str | None:
        taken = self.image.info.taken_at
        return None if taken is None else taken.isoformat()

    def describe(self) -> list[str | None]:
        """Words that follow from measurements alone, the most telling first."""
        picture, info = self.picture, self.image.info
        brightness, contrast = measure_brightness(picture), measure_contrast(picture)
        has_edges = contrast >= FLAT_BELOW
        words = {
            f"{tell_orientation(info)} format": True,
            "transparent": info.has_transparency,
            "plain background": self.background is not None,
            "black and white": has_edges and is_black_and_white(self.patches),
            "dark": brightness < DARK_BELOW,
            "bright": brightness > BRIGHT_ABOVE,
            "low contrast": contrast < LOW_CONTRAST_BELOW,
            "blurred": has_edges and measure_sharpness(picture) < BLURRED_BELOW,
        }
        told = [word for word, holds in words.items() if holds]
        return [*told, *name_colors(self.patches, self.background)]


Measurement: TypeAlias = Callable[[Sitting, FieldQuestion], Measured]

_MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    "colors": lambda sitting, field: name_colors(sitting.patches, sitting.background, field.values),
    "palette": lambda sitting, field: [*list_palette(sitting.patches, field.max_items)],
    "brightness": lambda sitting, _: measure_brightness(sitting.picture),
    "contrast": lambda sitting, _: measure_contrast(sitting.picture),
    "sharpness": lambda sitting, _: measure_sharpness(sitting.picture),
    "orientation": lambda sitting, _: tell_orientation(sitting.image.info),
    "transparency": lambda sitting, _: sitting.image.info.has_transparency,
    "plain_background": lambda sitting, _: sitting.background is not None,
    "kind": lambda sitting, _: tell_kind(sitting.picture, sitting.background),
    "text": lambda sitting, _: sitting.read_text(),
    "camera": lambda sitting, _: sitting.image.info.camera,
    "taken_at": lambda sitting, _: sitting.read_date(),
    "descriptors": lambda sitting, _: sitting.describe(),
}


def answer_fields(
    fields: tuple[FieldQuestion, ...], image: PreparedImage, reader: TextReader
) -> dict[str, Value]:
    """A value for each field, by name; None where pixels and metadata cannot tell.

    Raises:
        RequestRejected: a field needs the pixels and the bytes are no whole picture.
    """
    sitting = Sitting(image, reader)
    return {field.name: _answer(field, sitting) for field in fields}


def _answer(field: FieldQuestion, sitting: Sitting) -> Value:
    measure = _MEASUREMENTS.get(field.measure or "")
    return None if measure is None else fit_value(measure(sitting, field), field)


def fit_value(measured: Measured, field: FieldQuestion) -> Value:
    """The measured value as the field's type; None when it does not fit, never another value."""
    match field.type, measured:
        case ("boolean", bool()) | ("text", str()):
            return measured  # type: ignore[return-value] # mypy does not narrow pairs
        case "number", float():
            return measured
        case "one_of", str():
            return _find_allowed(measured, field.values)
        case "one_of", [str(first), *_]:
            return _find_allowed(first, field.values)
        case (("many_of" | "keywords"), list()):
            return _keep_allowed(measured, field)
        case _:
            return None


def _keep_allowed(measured: list[str | None], field: FieldQuestion) -> list[str] | None:
    matched = [_find_allowed(word, field.values) for word in measured if word]
    kept = list(dict.fromkeys(word for word in matched if word))[: field.max_items]
    # nothing measured is an answer; something measured that has no word here is not
    return kept if kept or not measured else None


def _find_allowed(word: str, values: tuple[str, ...]) -> str | None:
    if not values:
        return word
    return next((value for value in values if _make_key(value) == _make_key(word)), None)


def _make_key(word: str) -> str:
    key = " ".join(word.split()).casefold()
    return _SAME_WORD.get(key, key)
