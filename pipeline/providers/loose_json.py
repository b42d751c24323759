"""Reading JSON that others wrote: any shape may come, none may break us."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from pipeline.domain.errors import TransportError
from pipeline.domain.usage import TokenUsage

_MOST_TOKENS: Final = 10**9


def parse_answer(body: bytes, *, request_id: str | None, may_be_billed: bool = True) -> Any:
    """The JSON document of an answer.

    Raises:
        TransportError: cut, or not JSON at all (a proxy's page); ``may_be_billed`` goes along.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "no whole JSON"
        doubt = "; it may have been billed" if may_be_billed else ""
        raise TransportError(
            f"the answer is {kind} ({len(body)} bytes){doubt}",
            request_id=request_id,
            may_be_billed=may_be_billed,
        ) from error


def as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def as_text(value: Any) -> str | None:
    """A string that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int | None:
    """A plausible number of tokens, else None; some servers write whole numbers as ``12.0``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _MOST_TOKENS else None


def join_texts(parts: Any, *, kinds: frozenset[str], key: str = "text") -> str | None:
    """The ``key`` of all parts of the given types, joined; None when there is none."""
    found = (
        as_text(part.get(key))
        for part in map(as_mapping, as_sequence(parts))
        if part.get("type") in kinds
    )
    return "".join(text for text in found if text) or None


def make_usage(
    input_tokens: int | None,
    output_tokens: int | None,
    *,
    cached: int | None,
    cache_write: int | None,
    reasoning: int | None,
) -> TokenUsage | None:
    """The usage a server reported; None when it reported none that can be.

    Parts never exceed their whole, so that a garbled report cannot make a price negative.
    """
    # A question with a picture has input tokens: a zero means the server does not count.
    if not input_tokens or output_tokens is None:
        return None
    read = min(cached or 0, input_tokens)
    return TokenUsage(
        input=input_tokens,
        cached=read,
        cache_write=min(cache_write or 0, input_tokens - read),
        output=output_tokens,
        reasoning=min(reasoning or 0, output_tokens),
    )
