"""The JSON Schema an answer must fit, within the subset that strict structured outputs accept."""

from typing import Any

import orjson

from pipeline.config.fields import (
    BooleanField,
    KeywordsField,
    ManyOfField,
    NumberField,
    OneOfField,
    ProfileField,
    TextField,
)
from pipeline.config.profiles import CONFIDENCE, Profile

_BOUNDS = frozenset({"maxItems", "minimum", "maximum"})


def build_schema(profile: Profile, *, allow_empty: bool = False) -> dict[str, Any]:
    """Strict schema of the profile's answer: every property required, nothing else allowed.

    Args:
        profile: what is asked.
        allow_empty: let every field be null, for checking the answers of a provider that
            can fill only some of them; never sent.
    """
    properties = {
        name: _or_null(_describe_field(field)) if field.optional or allow_empty
        else _describe_field(field)
        for name, field in profile.fields.items()
    }  # fmt: skip
    if profile.confidence == "self":
        share = {"type": "number", "minimum": 0, "maximum": 1}
        properties[CONFIDENCE] = _or_null(share) if allow_empty else share
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def drop_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without limits of numbers and lists, for fine-tuned models.

    These refuse such keywords: https://platform.openai.com/docs/guides/structured-outputs
    """
    properties = {name: _drop_from(part) for name, part in schema["properties"].items()}
    return {**schema, "properties": properties}


def _drop_from(part: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key not in _BOUNDS}
    if "anyOf" in kept:
        kept["anyOf"] = [_drop_from(option) for option in kept["anyOf"]]
    return kept


def encode_schema(schema: dict[str, Any]) -> bytes:
    """Compact JSON; the same schema gives the same bytes, so servers compile it once."""
    return orjson.dumps(schema)


def as_json_number(value: float) -> float:
    """``0`` rather than ``0.0``, as people write bounds."""
    return int(value) if value.is_integer() else value


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _describe_field(field: ProfileField) -> dict[str, Any]:
    match field:
        case TextField():
            return {"type": "string"}
        case BooleanField():
            return {"type": "boolean"}
        case NumberField():
            return _describe_number(field)
        case OneOfField():
            return _describe_choice(field)
        case ManyOfField():
            most = {} if field.max is None else {"maxItems": field.max}
            return {"type": "array", "items": _describe_choice(field), **most}
        case KeywordsField():
            return {"type": "array", "items": {"type": "string"}, "maxItems": field.max}


def _describe_choice(field: OneOfField | ManyOfField) -> dict[str, Any]:
    return {"type": "string", "enum": [choice.value for choice in field.values]}


def _describe_number(field: NumberField) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer" if field.integer else "number"}
    if field.min is not None:
        schema["minimum"] = as_json_number(field.min)
    if field.max is not None:
        schema["maximum"] = as_json_number(field.max)
    return schema
