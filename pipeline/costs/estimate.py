"""What one request will use and cost, before it is sent."""

from dataclasses import dataclass
from functools import lru_cache

from pipeline.costs.image_tokens import image_tokens
from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import price, worst_price
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens, most_text_tokens
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import FieldQuestion, Question

_UNKNOWN_PATCH_SIDE = 28
"""Pixels. Open vision models that see pictures in their own size spend one token per square of 28
or 32 pixels (Qwen-VL and kin); those that shrink first spend fewer."""

_VALUE_TOKENS = {"text": 30, "one_of": 4, "number": 2, "boolean": 1}
_ITEM_TOKENS = {"many_of": 4, "keywords": 4}
_USUAL_ITEMS = {"many_of": 3, "keywords": 10}
_FRAME_TOKENS = 3
"""Quotes, colon and comma around one field's name."""


_NOTHING = NanoDollars(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Tokens and money of one request, or of many: they add with ``+``, starting at none."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Expected, without reasoning tokens, which cannot be foreseen."""
    max_output_tokens: int = 0
    """The limit that is sent; reasoning tokens count against it."""
    cost: NanoDollars | None = _NOTHING
    """Expected, nothing cached; None when there is no price (or a part of a sum has none)."""
    worst_cost: NanoDollars | None = _NOTHING
    """What the answer cannot exceed: every byte of text a token, output up to its limit."""

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            max_output_tokens=self.max_output_tokens + other.max_output_tokens,
            cost=_add(self.cost, other.cost),
            worst_cost=_add(self.worst_cost, other.worst_cost),
        )


def estimate_request(
    spec: ModelSpec | None,
    question: Question,
    width: int,
    height: int,
    *,
    tier: str | None,
    note: str = "",
) -> Estimate:
    """Estimate one question about one picture.

    Args:
        spec: the model; None when it is unknown, which leaves the costs None.
        question: what is asked.
        width: pixels of the picture as it is sent, so after local shrinking.
        height: pixels.
        tier: the lane that is asked for; None is standard.
        note: words about this picture only.

    Raises:
        TooManyPatches: the service would refuse the picture in this size.
    """
    picture = _picture_tokens(spec, question, width, height)
    text, most_text = _fixed_text_tokens(question.instructions, question.schema)
    inputs = picture + text + estimate_text_tokens(note)
    most = question.max_output_tokens
    output = min(expected_output_tokens(question.fields), most)
    usage = TokenUsage(input=inputs, output=output)
    worst_input = picture + most_text + most_text_tokens(note)
    return Estimate(
        input_tokens=inputs,
        output_tokens=output,
        max_output_tokens=most,
        cost=price(spec, usage, tier) if spec else None,
        worst_cost=_worst(spec, worst_input, most, tier) if spec else None,
    )


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
def _fixed_text_tokens(instructions: str, schema: bytes) -> tuple[int, int]:
    """Expected and most tokens of the words that are the same for every picture of a run."""
    expected = estimate_text_tokens(instructions) + estimate_text_tokens(schema)
    most = most_text_tokens(instructions) + most_text_tokens(schema)
    return REQUEST_TOKENS + expected, REQUEST_TOKENS + most


def _picture_tokens(spec: ModelSpec | None, question: Question, width: int, height: int) -> int:
    if spec is not None:
        return image_tokens(spec, question.detail, width, height)
    across, down = -(-width // _UNKNOWN_PATCH_SIDE), -(-height // _UNKNOWN_PATCH_SIDE)
    return across * down


def _worst(spec: ModelSpec, inputs: int, outputs: int, tier: str | None) -> NanoDollars | None:
    return worst_price(spec, input_tokens=inputs, output_tokens=outputs, tier=tier)


def _add(left: NanoDollars | None, right: NanoDollars | None) -> NanoDollars | None:
    return None if left is None or right is None else NanoDollars(left + right)
