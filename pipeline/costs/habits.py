"""What requests of one question use beside their picture: as earlier answers teach, or by rule."""

import math
from dataclasses import dataclass
from typing import Final

from pipeline.costs.estimate import (
    assume_cached,
    estimate_prefix_tokens,
    estimate_usage,
    most_input_words,
)
from pipeline.domain.vision import PromptCaching, Question

LEAST_ANSWERS: Final = 20
"""Fewer answers teach nothing: the mean of so few may be off by a quarter."""

_WORDS_SPREAD: Final = 0.25
"""How far the words may be off without a tokenizer. Chosen: the rule of four bytes to a token of
English (OpenAI, "What are tokens and how to count them?") names no error; to either side of it lie
3.2 bytes (JSON, German) and 5.3 (plain prose)."""
_RULE_LOW, _RULE_HIGH = 0.25, 2.0
"""A quarter to twice the rule of thumb for the length of an answer. Chosen: a field of text takes
30 tokens by rule, and 60 are three sentences; headlines for texts and lists that are nearly empty
come to a quarter of the rule."""
_ANSWER_SPREAD: Final = 0.5
"""Standard deviation of an answer's length over its mean. Chosen on the safe side: answers of one
profile are alike, 0.1 to 0.3."""
_LEAST_SPREAD: Final = 0.05
"""The next library is not the last one."""
_SURE: Final = 1.96
_LEAST_CACHED_TOKENS: Final = 1024
"""Shorter prefixes are never kept (OpenAI's guide "Prompt caching", 2026-09)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What is expected, and the two ends between which it should lie."""

    expected: int
    low: int
    high: int


def exactly(amount: int) -> Band:
    """An amount that is known."""
    return Band(expected=amount, low=amount, high=amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What earlier answers of one model under one profile used, in sums."""

    answers: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    sent_bytes: int
    pictures: int
    """Answers about a picture whose tokens the server counted."""
    picture_tokens: int
    """Of those, by the model's formula."""
    picture_inputs: int
    """Of those, all input tokens, as billed."""
    is_same_version: bool
    """They answered the very question that is quoted, not an older version of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Tokens that one request uses beside its picture."""

    words: Band
    output: Band
    cached: Band
    """Of the input, read from the server's prompt cache; its low end is the dear one."""
    cache_write: Band
    is_words_measured: bool = False
    is_output_measured: bool = False


FREE: Final = Habits(words=exactly(0), output=exactly(0), cached=exactly(0), cache_write=exactly(0))
"""Of the offline analyser, which sends nothing."""


def find_habits(question: Question, record: Record | None, *, reasons: bool) -> Habits:
    """What requests of a question use.

    Args:
        question: what is asked, its way of caching chosen.
        record: earlier answers; None, or too few of them: the rules of thumb count.
        reasons: the model thinks before it answers: without a record an answer may take all of
            its limit.
    """
    known = record if record is not None and record.answers >= LEAST_ANSWERS else None
    words = _measure_words(question, known)
    return Habits(
        words=words or _estimate_words(question),
        output=_measure_output(known) if known else _expect_output(question, reasons=reasons),
        cached=_measure(known.cached_tokens, known) if known else _assume_cached(question),
        cache_write=_measure(known.cache_write_tokens, known) if known else _write(question),
        is_words_measured=words is not None,
        is_output_measured=known is not None,
    )


def _measure_words(question: Question, record: Record | None) -> Band | None:
    """All that was billed beside the pictures; None where the record cannot tell.

    What is no possible count of these words says something of the formula for pictures, not of
    the words.
    """
    if record is None or not record.is_same_version or record.pictures < LEAST_ANSWERS:
        return None
    beside = round((record.picture_inputs - record.picture_tokens) / record.pictures)
    return exactly(beside) if 0 < beside <= most_input_words(question) else None


def _estimate_words(question: Question) -> Band:
    words = estimate_usage(question, 0).input
    spread = math.ceil(_WORDS_SPREAD * words)
    return Band(expected=words, low=words - spread, high=words + spread)


def _measure_output(record: Record) -> Band:
    mean = record.output_tokens / record.answers
    spread = max(_LEAST_SPREAD, _SURE * _ANSWER_SPREAD / math.sqrt(record.answers))
    return Band(
        expected=round(mean),
        low=math.floor(mean * (1 - spread)),
        high=math.ceil(mean * (1 + spread)),
    )


def _expect_output(question: Question, *, reasons: bool) -> Band:
    usual, most = estimate_usage(question, 0).output, question.max_output_tokens
    high = most if reasons else min(round(_RULE_HIGH * usual), most)
    return Band(expected=usual, low=math.floor(_RULE_LOW * usual), high=high)


def _measure(tokens: int, record: Record) -> Band:
    return exactly(round(tokens / record.answers))


def _assume_cached(question: Question) -> Band:
    """As ``assume_cached`` has it; a cache that promises nothing may all the same help."""
    prefix = estimate_prefix_tokens(question)
    may_help = question.caching is not PromptCaching.OFF and prefix >= _LEAST_CACHED_TOKENS
    return Band(
        expected=assume_cached(question, estimate_usage(question, 0)).cached,
        low=0,
        high=prefix if may_help else 0,
    )


def _write(question: Question) -> Band:
    is_marked = question.caching is PromptCaching.MARKED
    return Band(expected=0, low=0, high=estimate_prefix_tokens(question) if is_marked else 0)
