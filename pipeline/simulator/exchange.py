"""One request understood and answered in thought: pure, some milliseconds of CPU, no sockets."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import orjson

from pipeline.costs.image_tokens import TooManyPatches, image_tokens
from pipeline.costs.models import ModelSpec
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens
from pipeline.simulator.answers import make_answer, make_json_object, make_text
from pipeline.simulator.errors import about_model, bad_request, unknown_parameter
from pipeline.simulator.prompt_cache import CacheWish, make_prefix, sells_writes
from pipeline.simulator.reading import Api, Asked, SentPicture, read_request
from pipeline.simulator.refusals import unknown_model
from pipeline.simulator.sight import Sight, decode_data_url, look_at, look_at_nothing
from pipeline.simulator.strict_schema import SchemaFault, check_schema, refuse_schema

FindModel = Callable[[str], ModelSpec | None]

_MOST_REMEMBERED: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """A request the server could answer, and what it would say."""

    asked: Asked
    """Without its words and pictures, which nobody needs any more."""
    spec: ModelSpec
    sight: Sight
    """Of the last picture, which is the one in question: examples come before it."""
    detail: str | None
    text: str
    text_tokens: int
    image_tokens: int
    cache_wish: CacheWish

    @property
    def input_tokens(self) -> int:
        return self.text_tokens + self.image_tokens

    @property
    def subject(self) -> str:
        """What is asked about, in hex: the picture's sha256, or else the question's signature."""
        return self.sight.sha256 or self.sight.signature


def describe(thought: Thought) -> dict[str, Any]:
    """What the log says of it."""
    sight = thought.sight
    return {
        "model": thought.asked.model,
        "sha256": sight.sha256 or None,
        "width": sight.width,
        "height": sight.height,
        "detail": thought.detail,
    }


class Thoughts:
    """The latest thoughts by what was asked: a request sent again is not thought about again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Api, bytes], Thought] = OrderedDict()

    def find(self, api: Api, digest: bytes) -> Thought | None:
        return self._kept.get((api, digest))

    def keep(self, api: Api, digest: bytes, thought: Thought) -> None:
        self._kept[api, digest] = thought
        if len(self._kept) > _MOST_REMEMBERED:
            self._kept.popitem(last=False)


def think(body: bytes, api: Api, find_model: FindModel, *, seed: int) -> Thought:
    """Read, check and answer one request.

    Raises:
        ApiError: the real API would refuse it.
    """
    asked = read_request(body, api)
    with about_model(asked.model):
        return _think_through(asked, find_model, seed=seed)


def _think_through(asked: Asked, find_model: FindModel, *, seed: int) -> Thought:
    spec = find_model(asked.model)
    if spec is None:
        raise unknown_model(asked.model)
    if asked.caching.param and not sells_writes(spec):
        raise unknown_parameter(asked.caching.param)
    schema = _check_schema(asked)
    sights = [_look(picture) for picture in asked.pictures]
    tokens = [
        _count_image_tokens(spec, picture, sight)
        for picture, sight in zip(asked.pictures, sights, strict=True)
    ]
    sight = sights[-1] if sights else look_at_nothing(asked.text)
    text_tokens = estimate_text_tokens(asked.text) + estimate_text_tokens(schema)
    return Thought(
        asked=_forget_words(asked, schema),
        spec=spec,
        sight=sight,
        detail=asked.pictures[-1].detail if asked.pictures else None,
        text=_write_text(asked, sight, seed=seed),
        text_tokens=text_tokens + REQUEST_TOKENS,
        image_tokens=sum(tokens),
        cache_wish=_make_cache_wish(asked, schema, tokens),
    )


def _forget_words(asked: Asked, schema: bytes) -> Asked:
    document = {k: v for k, v in asked.document.items() if k not in {"messages", "input"}}
    wanted = replace(asked.format, schema=_share(schema)) if schema else asked.format
    return replace(asked, document=document, text="", pictures=(), format=wanted)


@lru_cache(maxsize=64)
def _share(schema: bytes) -> Any:
    """One copy for all thoughts, as a run sends the same schema every time."""
    return orjson.loads(schema)


def _make_cache_wish(asked: Asked, schema: bytes, image_tokens: list[int]) -> CacheWish:
    caching = asked.caching
    if caching.words is None:
        return CacheWish(key=caching.key, is_explicit=caching.is_explicit)
    text_tokens = estimate_text_tokens("\n".join(caching.words)) + estimate_text_tokens(schema)
    shared = asked.pictures[: caching.pictures]
    prefix = make_prefix(
        [*caching.words, *(picture.url for picture in shared)],
        schema,
        tokens=text_tokens + sum(image_tokens[: caching.pictures]),
    )
    return CacheWish(key=caching.key, is_explicit=caching.is_explicit, prefix=prefix)


def _check_schema(asked: Asked) -> bytes:
    wanted = asked.format
    if wanted.schema is None:
        return b""
    try:
        schema = orjson.dumps(wanted.schema)
    except orjson.JSONEncodeError as error:
        raise refuse_schema("nested too deeply.", name=wanted.name, param=wanted.param) from error
    check_schema(schema, is_strict=wanted.is_strict, name=wanted.name, param=wanted.param)
    return schema


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
        raise refuse_schema(str(fault), name=wanted.name, param=wanted.param) from fault
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
