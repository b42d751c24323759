"""A profile says what to ask about an image: instructions, fields, and how the image is sent."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from pipeline.config.complaints import explain, place_in, show, suggest
from pipeline.config.documents import read_document
from pipeline.config.fields import (
    ManyOfField,
    OneOfField,
    PlainNumber,
    PositiveInt,
    ProfileField,
    Word,
    with_measure,
)
from pipeline.config.paths import configs_folder
from pipeline.config.settings import Section
from pipeline.config.vocabularies import inline_vocabularies
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import Detail

CONFIDENCE = "confidence"
"""Property of the answer that holds the model's own confidence."""

RESERVED_NAMES = frozenset({
    "image_id", "uri", "sha256", "width", "height", "format", "profile", "profile_version",
    "model", "status", "tags", "confidence", "review", "input_tokens", "cached_tokens",
    "output_tokens", "cost_usd", "tagged_at", "cause", "message",
})  # fmt: skip
"""Columns every record has; a field of that name would hide one of them."""

# Limits of strict structured outputs, https://platform.openai.com/docs/guides/structured-outputs
MAX_PROPERTIES = 5_000
MAX_NAME_CHARACTERS = 120_000
MAX_ENUM_VALUES = 1_000
LONG_ENUM_VALUES = 250
MAX_LONG_ENUM_CHARACTERS = 15_000

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PROFILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PROFILE_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def _check_field_name(name: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(
            "is no usable field name; use 1 to 64 letters, digits and _, no digit first"
        )
    if name.casefold() in RESERVED_NAMES:
        raise ValueError("is a column that every record has already; choose another field name")
    return name


def _check_profile_name(name: str) -> str:
    if not _PROFILE_NAME.fullmatch(name):
        raise ValueError(f"{show(name)} is not allowed; use 1 to 64 letters, digits, _ and -")
    return name


def _check_language(language: str) -> str:
    if not _LANGUAGE.fullmatch(language):
        raise ValueError(f"{show(language)} is no language code; use one such as en, de or pt-BR")
    return language


def _check_side(side: Any) -> Any:
    is_pixels = isinstance(side, int) and not isinstance(side, bool) and side >= 1
    if not is_pixels and side not in ("auto", "original"):
        raise ValueError(f"{show(side)} is not allowed; use auto, original or a number of pixels")
    return side


def _check_confidence(confidence: Any) -> Any:
    if confidence == "logprobs":
        raise ValueError("logprobs is not available yet; use self or none")
    return confidence


FieldName: TypeAlias = Annotated[str, AfterValidator(_check_field_name)]


class ImageOptions(Section):
    """How the picture is made ready to be sent."""

    max_side: Annotated[Literal["auto", "original"] | PositiveInt, BeforeValidator(_check_side)] = (
        Field(
            "auto",
            description="Longest side: `auto` (what the model will see), `original`, or pixels.",
        )
    )
    format: Literal["auto", "jpeg", "png", "webp"] = Field(
        "auto", description="Encoding when the picture has to be encoded anew."
    )
    quality: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        85, description="JPEG and WebP quality."
    )


class Profile(Section):
    """What to ask, frozen. Vocabularies are inlined and measurements resolved."""

    name: Annotated[str, AfterValidator(_check_profile_name)] = Field(
        description="Stored with every answer; letters, digits, _ and -."
    )
    description: Word | None = Field(None, description="For people; never sent.")
    instructions: Word = Field(description="What the model is told before the list of fields.")
    fields: Mapping[FieldName, ProfileField] = Field(description="Name to field, in answer order.")
    model: Word | None = Field(None, description="Model to ask; unset: the provider's.")
    detail: Detail = Field(
        Detail.HIGH, description="How closely the model looks; decides image tokens."
    )
    image: ImageOptions = Field(ImageOptions(), description="How the picture is made ready.")
    max_output_tokens: PositiveInt = Field(
        500, description="Ceiling of the answer; reasoning tokens count against it."
    )
    language: Annotated[str, AfterValidator(_check_language)] | None = Field(
        "en", description="Language of texts and keywords (BCP 47); null: the model chooses."
    )
    confidence: Annotated[Literal["none", "self"], BeforeValidator(_check_confidence)] = Field(
        "none", description="`self` asks the model how sure it is, from 0 to 1."
    )
    review_below: Annotated[PlainNumber, Field(ge=0, le=1)] | None = Field(
        None, description="Answers less sure than this wait for review; needs `confidence: self`."
    )

    repair: bool = Field(
        default=False,
        description="Have an answer that breaks the schema put right, without sending the picture.",
    )
    more_room: bool = Field(
        default=True,
        description="Ask once more with four times max_output_tokens when an answer was cut.",
    )

    @model_validator(mode="before")
    @classmethod
    def _check_fields_present(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("fields") in ({}, None, []):
            raise ValueError("fields: is missing or empty; ask for at least one field")
        return data

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.review_below is not None and self.confidence == "none":
            raise ValueError("review_below: needs a confidence to compare; set confidence: self")
        _check_distinct_names(tuple(self.fields))
        _check_schema_limits(self.fields)
        measured = {name: with_measure(name, field) for name, field in self.fields.items()}
        object.__setattr__(self, "fields", measured)
        return self


def _check_distinct_names(names: tuple[str, ...]) -> None:
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(name.casefold(), name)
        if owner != name:
            raise ValueError(f"fields.{name}: differs from fields.{owner} in case only; rename one")


def _check_schema_limits(fields: Mapping[str, ProfileField]) -> None:
    """Refuse what a server with strict schemas would refuse for every request.

    Nesting needs no check: a compiled schema is never deeper than a list in the root object.
    """
    enums = {
        name: [choice.value for choice in field.values]
        for name, field in fields.items()
        if isinstance(field, OneOfField | ManyOfField)
    }
    if len(fields) >= MAX_PROPERTIES:
        raise ValueError(f"fields: {len(fields)} are too many; allowed: {MAX_PROPERTIES - 1:,}")
    for name, values in enums.items():
        characters = sum(map(len, values))
        if len(values) > LONG_ENUM_VALUES and characters > MAX_LONG_ENUM_CHARACTERS:
            raise ValueError(
                f"fields.{name}: {len(values)} values of {characters:,} characters; a list of more "
                f"than {LONG_ENUM_VALUES} may hold {MAX_LONG_ENUM_CHARACTERS:,}: shorten the values"
            )
    total = sum(map(len, enums.values()))
    if total > MAX_ENUM_VALUES:
        raise ValueError(
            f"fields: {total:,} values in all; allowed: {MAX_ENUM_VALUES:,}. Split the profile, "
            "or ask for keywords"
        )
    characters = sum(map(len, fields)) + sum(len(v) for values in enums.values() for v in values)
    if characters > MAX_NAME_CHARACTERS:
        raise ValueError(
            f"fields: names and values have {characters:,} characters; "
            f"allowed: {MAX_NAME_CHARACTERS:,}"
        )


def shipped_profiles(folder: Path | None = None) -> tuple[str, ...]:
    """Names that ``load_profile`` knows without a path, sorted."""
    return tuple(sorted(path.stem for path in (folder or _shipped_folder()).glob("*.yaml")))


def load_profile(name_or_path: str, *, folder: Path | None = None) -> Profile:
    """A shipped profile by name, or the profile in a file.

    Args:
        name_or_path: a name such as ``product``; anything with a slash or a ``.yaml``, ``.yml``
            or ``.json`` ending is a path, relative to the current directory.
        folder: where named profiles are; the shipped ones unless given.

    Raises:
        ConfigurationError: the profile is unknown, or says something that is not allowed.
    """
    document = read_document(_find_profile(name_or_path, folder or _shipped_folder()))
    data = inline_vocabularies(document)
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise explain(
            error, model=Profile, data=data, place=place_in(document), written=document.written
        ) from error


def _shipped_folder() -> Path:
    return configs_folder() / "profiles"


def _find_profile(name_or_path: str, folder: Path) -> Path:
    path = Path(name_or_path)
    if path.suffix.lower() in _PROFILE_SUFFIXES or len(path.parts) > 1 or path.is_absolute():
        return path
    names = shipped_profiles(folder)
    if name_or_path not in names:
        near = suggest(name_or_path, names)
        known = "." if near.startswith("allowed") else f" Shipped: {', '.join(names)}."
        raise ConfigurationError(
            f"profile: {show(name_or_path)} is no shipped profile; {near}{known} "
            "For a file of yours, give its path, such as profiles/mine.yaml"
        )
    return folder / f"{name_or_path}.yaml"
