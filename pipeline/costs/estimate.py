"""What one request will use and cost, before it is sent."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import orjson

from pipeline.costs.image_tokens import TooManyPatches, image_tokens, seen_size
from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import worst_price
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens, most_text_tokens
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import Detail, FieldQuestion, PromptCaching, Question

_UNKNOWN_PATCH_SIDE = 28
"""Pixels. Open vision models that see pictures in their own size spend one token per square of 28
or 32 pixels (Qwen-VL and kin); those that shrink first spend fewer."""

_VALUE_TOKENS = {"text": 30, "one_of": 4, "number": 2, "boolean": 1}
_ITEM_TOKENS = {"many_of": 4, "keywords": 4}
_USUAL_ITEMS = {"many_of": 3, "keywords": 10}
_FRAME_TOKENS = 3
"""Quotes, colon and comma around one field's name."""


REPAIR_TOKENS = 1_000
"""More than the words around an answer that is to be put right, the complaint included, can have:
whoever writes them keeps them to as many bytes."""

LEAST_OUTPUT_TOKENS = 16
"""The lowest output limit that OpenAI's Responses API takes; a lower one is sent as this."""

_REPAIR_WORDS = 150
"""Expected tokens of those words."""


def estimate_usage(question: Question, picture_tokens: int, *, note: str = "") -> TokenUsage:
    """Expected tokens of one question about one picture, nothing cached."""
    words = estimate_prefix_tokens(question) + estimate_text_tokens(note)
    return TokenUsage(
        input=REQUEST_TOKENS + words + picture_tokens,
        output=min(expected_output_tokens(question.fields), question.max_output_tokens),
    )


def assume_cached(question: Question, usage: TokenUsage) -> TokenUsage:
    """The same tokens as all but the first requests use them, if the shared words are marked.

    Other ways of caching promise nothing, so nothing is taken off for them.
    """
    is_marked = question.caching is PromptCaching.MARKED
    return replace(usage, cached=estimate_prefix_tokens(question)) if is_marked else usage


def estimate_repair_tokens(question: Question, *, output_limit: int) -> int:
    """Expected input of a request to put right an answer that may be as long as the limit."""
    return REQUEST_TOKENS + estimate_prefix_tokens(question) + _REPAIR_WORDS + output_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBound:
    """Tokens that one request cannot exceed."""

    shared_tokens: int
    """Of the words that all requests share: every byte a token."""
    own_tokens: int
    """Of what is this request's alone, the picture included."""
    output_tokens: int
    writes_shared_only: bool
    """Whether the server was told to keep nothing but the shared words, or nothing at all."""

    def find_worst_cost(self, spec: ModelSpec, tiers: Iterable[str | None]) -> NanoDollars | None:
        """What the answer cannot exceed in any of the lanes; None when none of them has a price."""
        costs = [
            worst_price(
                spec,
                input_tokens=self.shared_tokens + self.own_tokens,
                output_tokens=self.output_tokens,
                tier=tier,
                written_tokens=self.shared_tokens if self.writes_shared_only else None,
            )
            for tier in tiers
        ]
        return max((cost for cost in costs if cost is not None), default=None)


def bound_request(
    question: Question, picture_tokens: int, *, note: str = "", output_factor: int = 1
) -> RequestBound:
    """The most tokens of one question about one picture.

    Args:
        question: what is asked.
        picture_tokens: of the picture, as ``count_picture_tokens`` has them.
        note: words about this picture only.
        output_factor: how many times the question's output limit is sent.
    """
    own = picture_tokens + most_text_tokens(note)
    return _bound(question, own_tokens=own, output_factor=output_factor)


def bound_repair(question: Question, answer: str, *, output_factor: int = 1) -> RequestBound:
    """The most tokens of a request to put an answer right: the picture is not sent again."""
    # It is sent as a JSON string, in which what must be escaped takes more bytes.
    quoted = len(orjson.dumps(answer.encode(errors="replace").decode()))
    return _bound(question, own_tokens=REPAIR_TOKENS + quoted, output_factor=output_factor)


def _bound(question: Question, *, own_tokens: int, output_factor: int) -> RequestBound:
    most_output = question.max_output_tokens * output_factor
    return RequestBound(
        shared_tokens=most_input_words(question),
        own_tokens=own_tokens,
        output_tokens=max(most_output, LEAST_OUTPUT_TOKENS),
        writes_shared_only=question.caching in {PromptCaching.MARKED, PromptCaching.OFF},
    )


def most_input_words(question: Question) -> int:
    """More tokens than this the words that all requests share cannot have: every byte a token."""
    return REQUEST_TOKENS + _prefix_tokens(question.instructions, question.schema)[1]


def estimate_prefix_tokens(question: Question) -> int:
    """About how many tokens the words have that all requests share and begin with."""
    return _prefix_tokens(question.instructions, question.schema)[0]


@lru_cache(maxsize=16)
def expected_output_tokens(fields: tuple[FieldQuestion, ...]) -> int:
    """A usual answer's tokens as compact JSON, from the kinds of its fields alone.

    A rule of thumb to quote with before anything was answered; a run knows better from its own
    answers.
    """
    return _FRAME_TOKENS + sum(
        _FRAME_TOKENS + estimate_text_tokens(field.name) + _value_tokens(field) for field in fields
    )


def _value_tokens(field: FieldQuestion) -> int:
    if field.type not in _ITEM_TOKENS:
        return _VALUE_TOKENS[field.type]
    usual = _USUAL_ITEMS[field.type]
    limits = [usual, field.max_items or usual, len(field.values) or usual]
    return _ITEM_TOKENS[field.type] * min(limits)


@lru_cache(maxsize=16)
def _prefix_tokens(instructions: str, schema: bytes) -> tuple[int, int]:
    """Expected and most tokens of the words that are the same for every picture of a run."""
    expected = estimate_text_tokens(instructions) + estimate_text_tokens(schema)
    return expected, most_text_tokens(instructions) + most_text_tokens(schema)


def count_picture_tokens(spec: ModelSpec | None, detail: Detail, width: int, height: int) -> int:
    """Tokens of the picture as it is sent; for an unknown model those of a usual open one.

    Raises:
        TooManyPatches: the service would refuse the picture in this size.
    """
    if spec is not None:
        return image_tokens(spec, detail, width, height)
    across, down = -(-width // _UNKNOWN_PATCH_SIDE), -(-height // _UNKNOWN_PATCH_SIDE)
    return across * down


def count_accepted_tokens(spec: ModelSpec | None, detail: Detail, width: int, height: int) -> int:
    """The same, but a picture that the service would refuse counts as the largest accepted."""
    try:
        return count_picture_tokens(spec, detail, width, height)
    except TooManyPatches:
        assert spec is not None  # noqa: S101  an unknown model refuses nothing
        return image_tokens(spec, detail, *seen_size(spec, detail, width, height))
