"""The kinds of field a profile may ask for, and the closed lists of values they choose from."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from pipeline.config.complaints import show
from pipeline.config.settings import Section

Measure: TypeAlias = Literal[
    "colors", "palette", "brightness", "contrast", "sharpness", "orientation", "transparency",
    "plain_background", "kind", "text", "camera", "taken_at", "descriptors",
]  # fmt: skip
"""What the offline analyser can measure without understanding the picture."""

Word: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def compare_key(text: str) -> str:
    """Two texts with the same key are the same value: case and spacing do not count."""
    return " ".join(text.split()).casefold()


class Choice(Section):
    """One allowed value and the other spellings that are accepted for it."""

    value: Word = Field(description="What is stored.")
    aliases: tuple[Word, ...] = Field((), description="Spellings that are turned into `value`.")


def _as_choices(given: Any) -> Any:
    """Accepts ``[red, {value: gray, aliases: [grey]}]`` and ``{gray: [grey], red: }``."""
    if isinstance(given, Mapping):
        return [{"value": term, "aliases": names or ()} for term, names in given.items()]
    if not isinstance(given, Iterable) or isinstance(given, str):
        problem = f"{show(given)} is not allowed; must be a list of values"
        raise ValueError(problem)  # noqa: TRY004 - pydantic reports ValueErrors only
    return [_as_choice(item) for item in given]


def _as_choice(item: Any) -> Any:
    if item is None or isinstance(item, str | bool | int | float) or hasattr(item, "isoformat"):
        return {"value": item}
    return item


def _check_distinct(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    if not choices:
        raise ValueError("the list of values is empty; give at least one")
    owners: dict[str, int] = {}
    for position, choice in enumerate(choices):
        for name in (choice.value, *choice.aliases):
            owner = owners.setdefault(compare_key(name), position)
            if owner != position:
                kept = choices[owner].value
                raise ValueError(f"{show(name)} is listed twice; {show(kept)} has it already")
    return choices


Choices: TypeAlias = Annotated[
    tuple[Choice, ...], BeforeValidator(_as_choices), AfterValidator(_check_distinct)
]
PositiveInt: TypeAlias = Annotated[int, Field(strict=True, ge=1)]
PlainNumber: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _AnyField(Section):
    type: str
    description: Word | None = Field(
        None, description="What the model should put here; part of the question."
    )
    optional: StrictBool = Field(
        default=False, description="Whether the answer may be null: cannot be seen, does not apply."
    )
    measure: Annotated[
        Measure | None, BeforeValidator(lambda name: None if name == "none" else name)
    ] = Field(
        None,
        description="Measurement that fills the field offline; unset: by its name; `none`: never.",
    )

    @model_validator(mode="after")
    def _check_measure(self) -> Self:
        problem = self.measure and misfit(self.measure, self)
        if problem:
            raise ValueError(problem)
        return self


class TextField(_AnyField):
    """Free text."""

    type: Literal["text"]
    max_length: PositiveInt | None = Field(
        None, description="Characters; a longer answer is cut at a word, with an ellipsis."
    )
    multiline: StrictBool = Field(
        default=False, description="Keep line breaks; otherwise they become spaces."
    )


class OneOfField(_AnyField):
    """Exactly one of a closed list."""

    type: Literal["one_of"]
    values: Choices = Field(description="Allowed values; or `vocabulary`: a file with them.")


class ManyOfField(_AnyField):
    """Any number of a closed list."""

    type: Literal["many_of"]
    values: Choices = Field(description="Allowed values; or `vocabulary`: a file with them.")
    max: PositiveInt | None = Field(None, description="Most values kept; unset: all may apply.")


class KeywordsField(_AnyField):
    """Free words."""

    type: Literal["keywords"]
    max: PositiveInt = Field(20, description="Most keywords kept.")


class NumberField(_AnyField):
    """A number within bounds."""

    type: Literal["number"]
    min: PlainNumber | None = Field(None, description="Least value allowed.")
    max: PlainNumber | None = Field(None, description="Largest value allowed.")
    integer: StrictBool = Field(default=False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}; swap them")
        return self


class BooleanField(_AnyField):
    """Yes or no."""

    type: Literal["boolean"]


ProfileField: TypeAlias = Annotated[
    TextField | OneOfField | ManyOfField | KeywordsField | NumberField | BooleanField,
    Field(discriminator="type"),
]

_MEASURED_TYPES: dict[Measure, tuple[str, ...]] = {
    "colors": ("many_of", "keywords", "one_of"),
    "palette": ("keywords",),
    "brightness": ("number",),
    "contrast": ("number",),
    "sharpness": ("number",),
    "orientation": ("one_of",),
    "transparency": ("boolean",),
    "plain_background": ("boolean",),
    "kind": ("one_of",),
    "text": ("text",),
    "camera": ("text",),
    "taken_at": ("text",),
    "descriptors": ("keywords",),
}

# Only names that can hardly mean anything else; `text` and `kind` can, and are set by hand.
_MEASURED_NAMES: dict[str, Measure] = {
    **dict.fromkeys(
        (
            "color", "colour", "colors", "colours", "main_color", "main_colour", "main_colors",
            "main_colours", "dominant_color", "dominant_colour", "dominant_colors",
            "dominant_colours",
        ),
        "colors",
    ),
    "palette": "palette",
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "orientation": "orientation",
    "transparent": "transparency",
    "transparency": "transparency",
    "plain_background": "plain_background",
    "image_kind": "kind",
    "ocr_text": "text",
    "visible_text": "text",
    "camera": "camera",
    "taken_at": "taken_at",
    "keywords": "descriptors",
}  # fmt: skip


def with_measure(name: str, field: ProfileField) -> ProfileField:
    """The field with the measurement its name stands for, unless it says otherwise."""
    if "measure" in field.model_fields_set:
        return field
    measure = _MEASURED_NAMES.get(name.casefold())
    if measure is None or misfit(measure, field):
        return field
    return field.model_copy(update={"measure": measure})


def misfit(measure: Measure, field: "_AnyField") -> str | None:
    """Why this field cannot hold this measurement; None when it can."""
    allowed = _MEASURED_TYPES[measure]
    if field.type not in allowed:
        return f"measure {measure} needs type {' or '.join(allowed)}, not {field.type}"
    if isinstance(field, NumberField) and not _spans_unit_range(field):
        return f"measure {measure} gives 0 to 1: leave out integer, min and max, or use 0 and 1"
    return None


def _spans_unit_range(field: NumberField) -> bool:
    return not field.integer and field.min in {None, 0} and field.max in {None, 1}
