"""The one flat row that everybody outside gets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

FIXED_BEFORE = (
    "image_id", "uri", "sha256", "width", "height", "format",
    "profile", "profile_version", "model", "status", "tags",
)  # fmt: skip
"""Columns that stand before the profile's own fields, in this order."""

FIXED_AFTER = (
    "confidence", "review", "input_tokens", "cached_tokens", "output_tokens",
    "cost_usd", "tagged_at", "cause", "message",
)  # fmt: skip
"""Columns that stand after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image under one profile, flat. Everything is JSON-ready except ``tagged_at``."""

    image_id: int
    uri: str
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None
    profile: str
    profile_version: int
    model: str | None
    status: str
    tags: tuple[str, ...]
    fields: Mapping[str, Any]
    """The profile's fields by name; empty when there is no answer."""
    confidence: float | None
    review: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: str | None
    """Exact decimal dollars; None when the model has no known price."""
    tagged_at: datetime | None
    """UTC."""
    cause: str | None
    """Why there is no answer (see ``domain.outcomes.Cause``); None when there is one."""
    message: str | None


_FIXED = frozenset(FIXED_BEFORE + FIXED_AFTER)
_values_before = attrgetter(*FIXED_BEFORE)
_values_after = attrgetter(*FIXED_AFTER)
_TAGGED_AT = FIXED_AFTER.index("tagged_at") - len(FIXED_AFTER)


@lru_cache(maxsize=64)
def column_names(fields: tuple[str, ...]) -> tuple[str, ...]:
    """All keys of a flat record, in order: the same in every format.

    A field named like a fixed column, or like one renamed before it, gets ``field_`` in front.
    """
    taken = {*_FIXED, *fields}
    names = []
    for field in fields:
        name = field
        while name in _FIXED or (name != field and name in taken):
            name = f"field_{name}"
        taken.add(name)
        names.append(name)
    return (*FIXED_BEFORE, *names, *FIXED_AFTER)


def row_values(record: Record, fields: tuple[str, ...]) -> list[Any]:
    """The values under ``column_names(fields)``; None for a field without an answer.

    Answers to fields that are not among ``fields`` are left out. Times are ISO 8601 with ``Z``.
    """
    answers = map(record.fields.get, fields)
    values = [*_values_before(record), *answers, *_values_after(record)]
    if record.tagged_at is not None:
        values[_TAGGED_AT] = _format_utc(record.tagged_at)
    return values


def flatten_record(record: Record, fields: tuple[str, ...]) -> dict[str, Any]:
    """One flat, ordered, JSON-ready mapping."""
    return dict(zip(column_names(fields), row_values(record, fields), strict=False))


def encode_record(record: Record, fields: tuple[str, ...]) -> bytes:
    """One flat record as compact JSON on one line, always valid UTF-8."""
    row = flatten_record(record, fields)
    try:
        return orjson.dumps(row)
    except TypeError:
        # orjson refuses lone surrogates (cut emoji, undecodable names) and very large integers
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return mend_surrogates(text).encode()


def mend_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: surrogate pairs are joined, lone ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _format_utc(moment: datetime) -> str:
    in_utc = moment if moment.tzinfo in (UTC, None) else moment.astimezone(UTC)
    return orjson.dumps(in_utc, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)[1:-1].decode()
