"""Compiles a profile into the one question that every image of a run is asked."""

import hashlib

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
from pipeline.domain.vision import FieldQuestion, Question
from pipeline.tagging.schema import as_json_number, build_schema, drop_bounds, encode_schema

# Short lists stand in the text too, because servers that force the schema by a grammar do not show
# it to the model; long ones would be paid twice on servers that do.
_MOST_VALUES_SPELLED_OUT = 50
_FINE_TUNED = "ft:"


def compile_question(profile: Profile, *, model: str, preprocessing: str) -> Question:
    """The question, byte for byte the same for the same arguments.

    Args:
        profile: what to ask.
        model: the model that will be asked, the profile's own choice already considered.
        preprocessing: names everything that decides the bytes sent; only the fingerprint sees it.
    """
    instructions = write_instructions(profile)
    sent = build_schema(profile)
    schema = encode_schema(drop_bounds(sent) if model.startswith(_FINE_TUNED) else sent)
    parts = [
        instructions, schema.decode(), model, profile.detail.value, profile.max_output_tokens,
        preprocessing,
    ]  # fmt: skip
    return Question(
        name=profile.name,
        instructions=instructions,
        schema=schema,
        fields=tuple(_as_field_question(name, field) for name, field in profile.fields.items()),
        model=model,
        detail=profile.detail,
        max_output_tokens=profile.max_output_tokens,
        fingerprint=hashlib.sha256(orjson.dumps(parts)).hexdigest(),
    )


def write_instructions(profile: Profile) -> str:
    """The profile's own words, one line a field, and how to say that there is nothing."""
    lines = [_write_line(name, field) for name, field in profile.fields.items()]
    if profile.confidence == "self":
        lines.append(
            f"- {CONFIDENCE}: number from 0 to 1: how likely it is that every field is right"
        )
    closing = _write_nothing(profile)
    if profile.language and _has_free_words(profile):
        closing.append(
            f"Write free text and keywords in the language {profile.language}; "
            "values from a list stay exactly as listed."
        )
    return "\n".join(
        [profile.instructions.strip(), "", "Answer with one JSON object:", *lines, "", *closing]
    )


def _write_line(name: str, field: ProfileField) -> str:
    rule = _write_rule(field) + ("; or null" if field.optional else "")
    return f"- {name}: {rule}" + (f" ({field.description})" if field.description else "")


def _write_rule(field: ProfileField) -> str:
    match field:
        case TextField():
            kind = "text with its line breaks" if field.multiline else "text"
            return f"{kind}, at most {field.max_length} characters" if field.max_length else kind
        case BooleanField():
            return "true or false"
        case NumberField():
            return _write_number_rule(field)
        case OneOfField():
            return f"exactly one of: {_write_values(field)}"
        case ManyOfField():
            most = f"up to {field.max}" if field.max else "all that apply"
            return f"list of {most} of: {_write_values(field)}"
        case KeywordsField():
            return f"list of up to {field.max} different keywords"


def _write_values(field: OneOfField | ManyOfField) -> str:
    if len(field.values) > _MOST_VALUES_SPELLED_OUT:
        return "the values in the schema"
    values = [choice.value for choice in field.values]
    has_comma = any("," in value for value in values)
    return ", ".join(f'"{value}"' if has_comma else value for value in values)


def _write_number_rule(field: NumberField) -> str:
    kind = "whole number" if field.integer else "number"
    least = "" if field.min is None else f", at least {as_json_number(field.min)}"
    most = "" if field.max is None else f", at most {as_json_number(field.max)}"
    return kind + least + most


def _write_nothing(profile: Profile) -> list[str]:
    fields = profile.fields.values()
    words = []
    if any(field.optional for field in fields):
        words.append("null where it is allowed and the picture does not show it")
    if any(isinstance(field, ManyOfField | KeywordsField) for field in fields):
        words.append("an empty list where nothing fits")
    if any(isinstance(field, TextField) and not field.optional for field in fields):
        words.append("an empty text where there is nothing to write")
    return [f"Never guess. Answer {'; '.join(words)}."] if words else []


def _has_free_words(profile: Profile) -> bool:
    return any(isinstance(field, TextField | KeywordsField) for field in profile.fields.values())


def _as_field_question(name: str, field: ProfileField) -> FieldQuestion:
    choices = field.values if isinstance(field, OneOfField | ManyOfField) else ()
    return FieldQuestion(
        name=name,
        type=field.type,
        measure=field.measure,
        values=tuple(choice.value for choice in choices),
        max_items=field.max if isinstance(field, ManyOfField | KeywordsField) else None,
    )
