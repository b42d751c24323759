"""What goes out for a thought: whole, or spoilt as a fault says, and what it costs."""

from dataclasses import dataclass
from typing import Final, Literal

import orjson

from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import price
from pipeline.costs.text_tokens import estimate_text_tokens
from pipeline.domain.usage import TokenUsage
from pipeline.simulator.answers import make_empty_answer
from pipeline.simulator.behavior import Fault, Outage
from pipeline.simulator.exchange import Thought
from pipeline.simulator.prompt_cache import CacheUse

REFUSAL: Final = "I'm sorry, but I can't help with this picture."
BATCH_TIER: Final = "batch"
_TIERS: Final = {"auto": "default", "fast": "priority"}
"""Tier that answers, where it is not named as the one asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Who answers, which decides the price."""

    model: str
    spec: ModelSpec | None
    """None when nobody knows the model."""
    tier: str

    @property
    def told_tier(self) -> str:
        """What the answer says: in a batch the service tier is the default one."""
        return "default" if self.tier == BATCH_TIER else self.tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes out, and what it costs."""

    thought: Thought
    lane: Lane
    text: str
    is_refusal: bool
    is_void: bool
    """Without any choice or output."""
    ending: Literal["stop", "length", "content_filter"]
    usage: TokenUsage

    @property
    def is_cut(self) -> bool:
        return self.ending == "length"

    @property
    def cost_nano(self) -> int | None:
        """None when the model that answers has no known price in its tier."""
        spec = self.lane.spec
        return price(spec, self.usage, self.lane.tier) if spec else None


def served_tier(asked: str) -> str:
    """Name the service tier that answers when ``asked`` is asked for."""
    return _TIERS.get(asked, asked)


def make_reply(
    thought: Thought,
    fault: Fault | Outage | None,
    *,
    lane: Lane | None = None,
    cache: CacheUse | None = None,
) -> Reply:
    """Turn the thought into what is sent, spoilt as the fault says, cut at the output limit."""
    asked, text = thought.asked, _spoil(thought, fault)
    tokens = estimate_text_tokens(text)
    limit = max(1, tokens // 2) if fault is Fault.CUT_ANSWER else tokens
    if asked.max_output_tokens is not None:
        limit = min(limit, asked.max_output_tokens)
    is_cut = tokens > limit or fault is Fault.CUT_ANSWER
    cache = cache or CacheUse()
    return Reply(
        thought=thought,
        lane=lane
        or Lane(model=asked.model, spec=thought.spec, tier=served_tier(asked.service_tier)),
        text=_cut(text, limit) if is_cut else text,
        is_refusal=fault is Fault.REFUSED,
        is_void=fault is Fault.NO_CHOICES,
        ending="length" if is_cut else _name_ending(fault),
        usage=TokenUsage(
            input=thought.input_tokens,
            cached=cache.cached,
            cache_write=cache.written,
            output=min(tokens, limit),
        ),
    )


def _name_ending(fault: Fault | Outage | None) -> Literal["stop", "content_filter"]:
    return "content_filter" if fault is Fault.CONTENT_FILTER else "stop"


def _spoil(thought: Thought, fault: Fault | Outage | None) -> str:
    text = thought.text
    if fault is Fault.REFUSED:
        return REFUSAL
    if fault is Fault.WRONG_SCHEMA:
        return orjson.dumps({"unexpected": thought.sight.signature}).decode()
    if fault is Fault.EMPTY_ANSWER:
        return _write_nothing(thought)
    if fault is Fault.BAD_JSON:
        return text[: len(text) * 2 // 3]
    return text[: len(text) // 3] if fault is Fault.CONTENT_FILTER else text


def _write_nothing(thought: Thought) -> str:
    wanted, schema = thought.asked.format, thought.asked.worded_schema
    if wanted.kind == "text" and schema is None:
        return ""
    schema = wanted.schema if wanted.schema is not None else schema
    empty = {} if schema is None else make_empty_answer(schema, thought.sight)
    return orjson.dumps(empty).decode()


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
