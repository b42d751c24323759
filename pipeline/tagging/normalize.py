"""Puts right what is harmless in an answer: spacing, case, aliases, duplicates, excess. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config.fields import (
    BooleanField,
    KeywordsField,
    ManyOfField,
    NumberField,
    OneOfField,
    ProfileField,
    TextField,
    compare_key,
)
from pipeline.config.profiles import Profile
from pipeline.domain.vision import Answer

_NOTHING: tuple[object, ...] = (None, [], "")
_ELLIPSIS = "…"
# NUL and its kin break databases and spreadsheets; no model means them.
_CONTROLS = dict.fromkeys([*range(9), *range(14, 28), 127])
_EXACT_FLOATS = 2**53
_HEX_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class Normalizer:
    """One profile's rules, with the spellings of its values looked up once."""

    def __init__(self, profile: Profile) -> None:
        self._fields = profile.fields
        self._spellings = {
            name: _spellings_of(field)
            for name, field in profile.fields.items()
            if isinstance(field, OneOfField | ManyOfField)
        }

    def normalize(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer in field order, harmless deviations put right.

        What would change its meaning is left as it is, for validation to refuse: unknown values,
        wrong types, numbers out of bounds, fields nobody asked for.
        """
        known = {
            name: self._normalize_field(name, field, answer.get(name))
            for name, field in self._fields.items()
            if name in answer or field.optional
        }
        return known | {name: value for name, value in answer.items() if name not in known}

    def _normalize_field(self, name: str, field: ProfileField, value: Any) -> Any:
        match field:
            case TextField():
                return _normalize_text(field, value)
            case NumberField():
                return _normalize_number(field, value)
            case OneOfField():
                return _normalize_choice(field, value, self._spellings[name])
            case ManyOfField():
                return _normalize_list(value, self._spellings[name], field.max)
            case KeywordsField():
                return _normalize_list(value, {}, field.max)
            case BooleanField():
                return value


def flat_tags(profile: Profile, answer: Answer) -> tuple[str, ...]:
    """The record's ``tags``: values and keywords in field order, and true booleans by name.

    Texts, numbers and palette colours are no tags. Of two that differ in case only the first stays.
    """
    tags: dict[str, str] = {}
    for name, field in profile.fields.items():
        for tag in _tags_of(name, field, answer.get(name)):
            tags.setdefault(tag.casefold(), tag)
    return tuple(tags.values())


def _tags_of(name: str, field: ProfileField, value: Any) -> Iterable[str]:
    match field:
        case OneOfField():
            return () if value is None else (value,)
        case ManyOfField() | KeywordsField():
            return (tag for tag in value or () if not _HEX_COLOR.fullmatch(tag))
        case BooleanField():
            return (name,) if value is True else ()
        case TextField() | NumberField():
            return ()


def _spellings_of(field: OneOfField | ManyOfField) -> dict[str, str]:
    return {
        compare_key(name): choice.value
        for choice in field.values
        for name in (choice.value, *choice.aliases)
    }


def _normalize_text(field: TextField, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _clean_lines(value) if field.multiline else _clean(value)
    if field.max_length is not None:
        text = cut_text(text, field.max_length)
    return None if not text and field.optional else text


def _clean(text: str) -> str:
    return " ".join(text.translate(_CONTROLS).split())


def _clean_lines(text: str) -> str:
    lines = [_clean(line) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def cut_text(text: str, max_length: int) -> str:
    """At most ``max_length`` characters with an ellipsis, cut between words where that is near."""
    if len(text) <= max_length:
        return text
    room = max_length - len(_ELLIPSIS)
    ends_whole = text[room].isspace()
    boundary = room if ends_whole else max(text.rfind(space, 0, room) for space in " \n")
    # Scripts without spaces have no boundary near: half of the room is not given away for one.
    return text[: boundary if boundary >= room // 2 else room].rstrip() + _ELLIPSIS


def _normalize_number(field: NumberField, value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS
    return int(value) if field.integer and is_whole else value


def says_nothing(profile: Profile, answer: Answer) -> bool:
    """Whether an answer leaves all open that it may leave open: what must be chosen says little."""
    free = [
        name
        for name, field in profile.fields.items()
        if field.optional or isinstance(field, TextField | ManyOfField | KeywordsField)
    ]
    return bool(free) and not any(answer.get(name) not in _NOTHING for name in free)


def _normalize_choice(field: OneOfField, value: Any, spellings: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    if field.optional and not value.strip():
        return None
    return spellings.get(compare_key(value), value)


def _normalize_list(value: Any, spellings: Mapping[str, str], most: int | None) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return value
    kept: dict[str, str] = {}
    for item in map(_clean, value):
        word = spellings.get(compare_key(item), item)
        if word:
            kept.setdefault(word.casefold(), word)
    return list(kept.values())[:most]
