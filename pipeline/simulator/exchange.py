"""One request understood and answered in thought: pure, some milliseconds of CPU, no sockets."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.costs.image_tokens import TooManyPatches, image_tokens
from pipeline.costs.models import ModelSpec
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens
from pipeline.domain.usage import TokenUsage
from pipeline.simulator.answers import make_answer, make_json_object, make_text
from pipeline.simulator.behavior import Fault
from pipeline.simulator.errors import ApiError, bad_request
from pipeline.simulator.reading import Api, Asked, SentPicture, read_request
from pipeline.simulator.sight import Sight, decode_data_url, look_at, look_at_nothing
from pipeline.simulator.strict_schema import SchemaFault, check_schema, refuse_schema

FindModel = Callable[[str], ModelSpec | None]

REFUSAL: Final = "I'm sorry, but I can't help with this picture."


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """A request the server could answer, and what it would say."""

    asked: Asked
    spec: ModelSpec
    sight: Sight
    """Of the last picture, which is the one in question: examples come before it."""
    detail: str | None
    text: str
    text_tokens: int
    image_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes out, and what it costs."""

    thought: Thought
    text: str
    is_refusal: bool
    is_cut: bool
    usage: TokenUsage


def think(body: bytes, api: Api, find_model: FindModel, *, seed: int) -> Thought:
    """Read, check and answer one request.

    Raises:
        ApiError: the real API would refuse it.
    """
    asked = read_request(body, api)
    spec = find_model(asked.model)
    if spec is None:
        raise unknown_model(asked.model)
    schema = _check_schema(asked)
    sights = [_look(picture) for picture in asked.pictures]
    tokens = sum(
        _count_image_tokens(spec, picture, sight)
        for picture, sight in zip(asked.pictures, sights, strict=True)
    )
    sight = sights[-1] if sights else look_at_nothing(asked.text)
    text_tokens = estimate_text_tokens(asked.text) + estimate_text_tokens(schema)
    return Thought(
        asked=asked,
        spec=spec,
        sight=sight,
        detail=asked.pictures[-1].detail if asked.pictures else None,
        text=_write_text(asked, sight, seed=seed),
        text_tokens=text_tokens + REQUEST_TOKENS,
        image_tokens=tokens,
    )


def make_reply(thought: Thought, fault: Fault | None) -> Reply:
    """Turn the thought into what is sent, spoilt as the fault says, cut at the output limit."""
    text = _spoil(thought, fault)
    limit = thought.asked.max_output_tokens
    tokens = estimate_text_tokens(text)
    is_cut = limit is not None and tokens > limit
    if limit is not None and tokens > limit:
        text, tokens = _cut(text, limit), limit
    usage = TokenUsage(input=thought.text_tokens + thought.image_tokens, output=tokens)
    return Reply(
        thought=thought,
        text=text,
        is_refusal=fault is Fault.REFUSED,
        is_cut=is_cut,
        usage=usage,
    )


def unknown_model(name: str) -> ApiError:
    """404, in the words of the API."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return ApiError(404, message, code="model_not_found")


def _check_schema(asked: Asked) -> bytes:
    wanted = asked.format
    if wanted.schema is None:
        return b""
    param = _schema_param(asked)
    try:
        schema = orjson.dumps(wanted.schema)
    except orjson.JSONEncodeError as error:
        raise refuse_schema("nested too deeply.", name=wanted.name, param=param) from error
    check_schema(schema, is_strict=wanted.is_strict, name=wanted.name, param=param)
    return schema


def _schema_param(asked: Asked) -> str:
    return "response_format" if asked.api is Api.CHAT else "text.format.schema"


def _look(picture: SentPicture) -> Sight:
    return look_at(decode_data_url(picture.url, param=picture.param))


def _count_image_tokens(spec: ModelSpec, picture: SentPicture, sight: Sight) -> int:
    detail, place = picture.detail, picture.param.rpartition(".")[0]
    if not spec.offers(detail):
        raise bad_request(
            f"Invalid value: '{detail}' is not supported with this model.",
            code="invalid_value",
            param=f"{place}.detail",
        )
    try:
        return image_tokens(spec, detail, sight.width, sight.height)
    except TooManyPatches as error:
        raise bad_request(str(error), code="image_too_large", param=picture.param) from error


def _write_text(asked: Asked, sight: Sight, *, seed: int) -> str:
    wanted = asked.format
    if wanted.schema is None:
        return _write_unforced(asked, sight, seed=seed)
    try:
        answer = make_answer(wanted.schema, sight, seed=seed)
    except SchemaFault as fault:
        raise refuse_schema(str(fault), name=wanted.name, param=_schema_param(asked)) from fault
    return orjson.dumps(answer).decode()


def _write_unforced(asked: Asked, sight: Sight, *, seed: int) -> str:
    """What a model answers that is only told, not made, to fit a schema."""
    if asked.worded_schema is not None:
        # one that no value can fit is no reason to refuse: it is mere words
        with suppress(SchemaFault):
            return orjson.dumps(make_answer(asked.worded_schema, sight, seed=seed)).decode()
    if asked.format.kind == "text":
        return make_text(sight, seed=seed)
    return orjson.dumps(make_json_object(sight, seed=seed)).decode()


def _spoil(thought: Thought, fault: Fault | None) -> str:
    if fault is Fault.REFUSED:
        return REFUSAL
    if fault is Fault.WRONG_SCHEMA:
        return orjson.dumps({"unexpected": thought.sight.signature}).decode()
    if fault is Fault.BAD_JSON:
        return thought.text[: len(thought.text) * 2 // 3]
    return thought.text


def _cut(text: str, limit: int) -> str:
    """Longest beginning that is within ``limit`` tokens."""
    shortest, longest = 0, len(text)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if estimate_text_tokens(text[:middle]) <= limit:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest]
