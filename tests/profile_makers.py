"""Makers of profiles and of answers that fit them."""

import string
from collections.abc import Mapping
from typing import Any

import orjson
from hypothesis import strategies as st

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
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import FinishReason, VisionResponse

FIELDS: dict[str, dict[str, Any]] = {
    "title": {"type": "text", "max_length": 20},
    "note": {"type": "text", "optional": True},
    "category": {"type": "one_of", "values": ["shoes", {"value": "bags", "aliases": ["purse"]}]},
    "style": {"type": "one_of", "values": ["modern", "rustic"], "optional": True},
    "colors": {
        "type": "many_of",
        "values": ["red", "blue", "green", {"value": "gray", "aliases": ["grey"]}],
        "max": 2,
    },
    "keywords": {"type": "keywords", "max": 3},
    "pieces": {"type": "number", "integer": True, "min": 0, "max": 9},
    "in_use": {"type": "boolean"},
}
ANSWER: dict[str, Any] = {
    "title": "Red shoes",
    "note": None,
    "category": "shoes",
    "style": "modern",
    "colors": ["red"],
    "keywords": ["leather", "Lace"],
    "pieces": 2,
    "in_use": True,
}


def make_profile(fields: Mapping[str, Any] | None = None, **overrides: Any) -> Profile:
    return Profile.model_validate(
        {"name": "sample", "instructions": "Look.", "fields": fields or FIELDS, **overrides}
    )


def make_response(answer: object, **overrides: Any) -> VisionResponse:
    """``answer`` as the text: as it is when it is a text (or None), else as JSON."""
    text = answer if isinstance(answer, str | None) else orjson.dumps(answer).decode()
    facts: dict[str, Any] = {"finish": FinishReason.STOP, "model": "m-1", "request_id": "req_7"}
    usage = TokenUsage(input=100, output=20)
    return VisionResponse(**{"text": text, "usage": usage, **facts, **overrides})


def answers_of(profile: Profile) -> st.SearchStrategy[dict[str, Any]]:
    """Every answer that is already in normal form and fits the profile."""
    fitting = {name: _values_of(field) for name, field in profile.fields.items()}
    if profile.confidence == "self":
        fitting[CONFIDENCE] = st.floats(0, 1)
    return st.fixed_dictionaries(fitting)


def _values_of(field: ProfileField) -> st.SearchStrategy[Any]:
    values = _filled_values_of(field)
    return st.none() | values if field.optional else values


def _filled_values_of(field: ProfileField) -> st.SearchStrategy[Any]:
    match field:
        case TextField():
            return st.text(string.ascii_letters, min_size=1, max_size=field.max_length or 30)
        case BooleanField():
            return st.booleans()
        case NumberField():
            return _numbers_of(field)
        case OneOfField():
            return st.sampled_from([choice.value for choice in field.values])
        case ManyOfField():
            values = st.sampled_from([choice.value for choice in field.values])
            return st.lists(values, unique=True, max_size=field.max)
        case KeywordsField():
            word = st.text(string.ascii_letters + "äß", min_size=1, max_size=12)
            return st.lists(word, unique_by=str.casefold, max_size=field.max)


def _numbers_of(field: NumberField) -> st.SearchStrategy[Any]:
    if not field.integer:
        return st.floats(field.min, field.max, allow_nan=False, allow_infinity=False)
    least = None if field.min is None else int(field.min)
    return st.integers(least, 1_000 if field.max is None else int(field.max))
