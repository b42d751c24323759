"""A request document, read as strictly as the real API reads it."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, cast

import orjson

from pipeline.domain.vision import Detail
from pipeline.simulator.errors import (
    about_model,
    bad_request,
    missing,
    unknown_parameter,
    wrong_type,
    wrong_value,
)
from pipeline.simulator.strict_schema import find_malformation

MIN_RESPONSES_OUTPUT_TOKENS: Final = 16
"""Least ``max_output_tokens`` that the Responses API takes."""

_SCHEMA_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SERVICE_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast")
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_INSTRUCTING_ROLES: Final = frozenset({"system", "developer"})


class Api(StrEnum):
    """Which of the two ways to ask."""

    CHAT = "chat"
    RESPONSES = "responses"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPicture:
    """A picture as the request names it, not yet decoded."""

    url: str
    detail: Detail
    param: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """The form the answer must have."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: Mapping[str, Any] | None = None
    is_strict: bool = False
    param: str = "response_format"
    """That an error about the schema names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCaching:
    """What the request says of the prompt cache, and what could be kept there."""

    key: str
    is_explicit: bool
    param: str | None
    """First parameter that only models with a price for cache writes have."""
    words: tuple[str, ...] | None
    """Of the prefix; None when nothing is to be cached."""
    pictures: int
    """In the prefix, from the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one request asks."""

    api: Api
    model: str
    document: Mapping[str, Any]
    text: str
    """All words of all messages."""
    worded_schema: Mapping[str, Any] | None
    """JSON Schema that the instructions spell out, for want of one in ``format``."""
    pictures: tuple[SentPicture, ...]
    format: AnswerFormat
    max_output_tokens: int | None
    service_tier: str
    caching: AskedCaching


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    role: str
    param: str
    content: Mapping[str, Any]


def read_request(body: bytes, api: Api) -> Asked:
    """Read a request body.

    Raises:
        ApiError: 400, in the words of the API.
    """
    document = _read_document(body)
    model = document.get("model")
    if not model or not isinstance(model, str):
        raise bad_request("you must provide a model parameter")
    with about_model(model):
        return _read_all(document, api, model)


def _read_all(document: Mapping[str, Any], api: Api, model: str) -> Asked:
    _refuse_unsupported(document)
    messages = _list_messages(document, api)
    parts = [part for message in messages for part in _list_parts(*message)]
    text = "\n".join(map(_read_text, _texts(parts)))
    answer_format = _read_format(document, api)
    if answer_format.kind == "json_object":
        _require_word_json(text, api)
    return Asked(
        api=api,
        model=model,
        document=document,
        text=text,
        worded_schema=_find_worded_schema(parts),
        pictures=tuple(_read_picture(part) for part in parts if _is_picture(part, api)),
        format=answer_format,
        max_output_tokens=_read_output_limit(document, api),
        service_tier=document.get("service_tier") or "auto",
        caching=_read_caching(document, parts, api),
    )


def _read_document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(
            "We could not parse the JSON body of your request. The API expects a JSON payload, "
            f"but what was sent was not valid JSON ({error})."
        ) from error
    if not isinstance(document, dict):
        raise bad_request("The JSON body must be an object.")
    return document


def _refuse_unsupported(document: Mapping[str, Any]) -> None:
    if document.get("stream"):
        raise bad_request("This server does not stream.", code="unsupported_value", param="stream")
    if document.get("n") not in (None, 1):
        raise bad_request("This server gives one answer.", code="unsupported_value", param="n")
    if document.get("service_tier") not in (None, *_SERVICE_TIERS):
        raise wrong_value("service_tier", document["service_tier"], _SERVICE_TIERS)


def _list_messages(document: Mapping[str, Any], api: Api) -> list[tuple[str, str, Any]]:
    """Return (role, param, content) of each message; instructions are one too."""
    key = "messages" if api is Api.CHAT else "input"
    items = document.get(key)
    if not items:
        raise missing(key)
    if api is Api.RESPONSES and isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list):
        raise wrong_type(key, "an array of objects")
    messages = [_read_message(item, f"{key}[{number}]") for number, item in enumerate(items)]
    instructions = document.get("instructions") if api is Api.RESPONSES else None
    if isinstance(instructions, str):
        messages.insert(0, ("developer", "instructions", instructions))
    return messages


def _read_message(item: Any, param: str) -> tuple[str, str, Any]:
    if not isinstance(item, dict):
        raise wrong_type(param, "an object")
    if not isinstance(item.get("role"), str):
        raise missing(f"{param}.role")
    return item["role"], f"{param}.content", item.get("content")


def _list_parts(role: str, param: str, content: Any) -> Iterator[_Part]:
    if isinstance(content, str):
        yield _Part(role=role, param=param, content={"type": "text", "text": content})
        return
    if not isinstance(content, list):
        raise wrong_type(param, "one of an array of objects or string")
    for number, part in enumerate(content):
        place = f"{param}[{number}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise missing(f"{place}.type")
        yield _Part(role=role, param=place, content=part)


def _read_text(part: _Part) -> str:
    text = part.content.get("text")
    if not isinstance(text, str):
        raise wrong_type(f"{part.param}.text", "a string")
    return text


def _find_worded_schema(parts: Sequence[_Part]) -> Mapping[str, Any] | None:
    """The last line of the instructions that is an object's schema as a whole."""
    texts = [part.content["text"] for part in _texts(parts) if part.role in _INSTRUCTING_ROLES]
    lines = [line for text in texts for line in text.split("\n") if line.startswith("{")]
    found = (schema for line in reversed(lines) if (schema := _read_worded(line)))
    return next(found, None)


def _read_worded(line: str) -> Mapping[str, Any] | None:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    is_schema = document.get("type") == "object" and "properties" in document
    return document if is_schema and find_malformation(line.encode()) is None else None


def _is_picture(part: _Part, api: Api) -> bool:
    kind: str = part.content["type"]
    wanted = "image_url" if api is Api.CHAT else "input_image"
    if kind not in (wanted, *_TEXT_PARTS, "refusal"):
        raise wrong_value(f"{part.param}.type", kind, (wanted, *sorted(_TEXT_PARTS)))
    if kind == wanted and part.role != "user":
        raise bad_request(
            f"Image URLs are only allowed for messages with role 'user', but this message with "
            f"role '{part.role}' contains an image URL.",
            code="invalid_value",
            param=part.param,
        )
    return kind == wanted


def _read_picture(part: _Part) -> SentPicture:
    is_chat = part.content["type"] == "image_url"
    place = f"{part.param}.image_url" if is_chat else part.param
    holder = part.content.get("image_url") if is_chat else part.content
    if not isinstance(holder, dict):
        raise wrong_type(place, "an object")
    key = "url" if is_chat else "image_url"
    if not isinstance(holder.get(key), str):
        raise missing(f"{place}.{key}")
    allowed = ("low", "high", "auto") if is_chat else ("low", "high", "auto", "original")
    detail = holder.get("detail") or "auto"
    if detail not in allowed:
        raise wrong_value(f"{place}.detail", detail, allowed)
    return SentPicture(url=holder[key], detail=Detail(detail), param=f"{place}.{key}")


def _read_format(document: Mapping[str, Any], api: Api) -> AnswerFormat:
    if api is Api.CHAT:
        place, wanted = "response_format", document.get("response_format")
    else:
        place, wanted = "text.format", (document.get("text") or {}).get("format")
    if wanted is None:
        return AnswerFormat()
    kinds = ("text", "json_object", "json_schema")
    if not isinstance(wanted, dict) or wanted.get("type") not in kinds:
        raise wrong_value(f"{place}.type", wanted, kinds)
    if wanted["type"] != "json_schema":
        return AnswerFormat(kind=cast("Literal['text', 'json_object']", wanted["type"]))
    if api is Api.CHAT:
        place, wanted = f"{place}.json_schema", wanted.get("json_schema")
    return _read_schema_format(wanted, place)


def _read_schema_format(wanted: Any, place: str) -> AnswerFormat:
    if not isinstance(wanted, dict):
        raise missing(place)
    for key, kind in (("name", str), ("schema", dict)):
        if not isinstance(wanted.get(key), kind):
            raise missing(f"{place}.{key}")
    if not _SCHEMA_NAME.fullmatch(wanted["name"]):
        raise bad_request(
            f"Invalid '{place}.name': expected 1 to 64 of A-Z a-z 0-9 _ -.",
            code="invalid_value",
            param=f"{place}.name",
        )
    return AnswerFormat(
        kind="json_schema",
        name=wanted["name"],
        schema=wanted["schema"],
        is_strict=bool(wanted.get("strict")),
        param="text.format.schema" if place == "text.format" else "response_format",
    )


def _require_word_json(text: str, api: Api) -> None:
    if "json" not in text.lower():
        key = "messages" if api is Api.CHAT else "input"
        raise bad_request(
            f"'{key}' must contain the word 'json' in some form, to use a format of type "
            "'json_object'.",
            param=key,
        )


def _read_output_limit(document: Mapping[str, Any], api: Api) -> int | None:
    keys: tuple[str, ...] = ("max_output_tokens",)
    least = MIN_RESPONSES_OUTPUT_TOKENS
    if api is Api.CHAT:
        keys, least = ("max_completion_tokens", "max_tokens"), 1
    for key in keys:
        limit = document.get(key)
        if limit is None:
            continue
        if not isinstance(limit, int):
            raise wrong_type(key, "an integer")
        if limit < least:
            raise bad_request(
                f"Invalid '{key}': integer below minimum value. Expected a value >= {least}.",
                code="integer_below_min_value",
                param=key,
            )
        return limit
    return None


def _read_caching(document: Mapping[str, Any], parts: Sequence[_Part], api: Api) -> AskedCaching:
    key = document.get("prompt_cache_key")
    if not isinstance(key, str | None):
        raise wrong_type("prompt_cache_key", "a string")
    options = document.get("prompt_cache_options")
    modes = ("implicit", "explicit")
    if options is not None:
        _check_cache_object(options, "prompt_cache_options", {"mode": modes, "ttl": ("30m",)})
    marked = [
        number for number, part in enumerate(parts) if "prompt_cache_breakpoint" in part.content
    ]
    places = [f"{parts[number].param}.prompt_cache_breakpoint" for number in marked]
    for number, place in zip(marked, places, strict=True):
        marker = parts[number].content["prompt_cache_breakpoint"]
        _check_cache_object(marker, place, {"mode": ("explicit",)})
        if not marker:
            raise missing(f"{place}.mode")
    is_explicit = (options or {}).get("mode") == "explicit"
    prefix = _find_prefix(parts, marked, api, is_explicit=is_explicit)
    return AskedCaching(
        key=key or "",
        is_explicit=is_explicit,
        param=next(iter(["prompt_cache_options"] * (options is not None) + places), None),
        words=None if is_explicit and not marked else tuple(map(_read_text, _texts(prefix))),
        pictures=sum(_is_picture(part, api) for part in prefix),
    )


def _texts(parts: Sequence[_Part]) -> list[_Part]:
    return [part for part in parts if part.content["type"] in _TEXT_PARTS]


def _check_cache_object(value: object, place: str, allowed: Mapping[str, tuple[str, ...]]) -> None:
    if not isinstance(value, dict):
        raise wrong_type(place, "an object")
    for name, given in value.items():
        if name not in allowed:
            raise unknown_parameter(f"{place}.{name}")
        if given not in allowed[name]:
            raise wrong_value(f"{place}.{name}", given, allowed[name])


def _find_prefix(
    parts: Sequence[_Part], marked: Sequence[int], api: Api, *, is_explicit: bool
) -> list[_Part]:
    """What other requests can share: up to the last breakpoint, else the instructions."""
    if is_explicit:
        return list(parts[: marked[-1] + 1]) if marked else []
    before = itertools.takewhile(lambda part: not _is_picture(part, api), parts)
    return [part for part in before if part.role in _INSTRUCTING_ROLES]
