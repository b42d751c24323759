"""One pure decision: after this error, at this try, what follows?"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from pipeline.domain.errors import (
    AnswerCut,
    AskError,
    ContentFiltered,
    ContentRefused,
    InvalidAnswer,
    NoAnswer,
    NoCapacity,
    Overloaded,
    RateLimited,
    TransientError,
)

_MOST_BAD_ANSWERS = 2


class Why(StrEnum):
    """What may lead from one route to the next; the words of ``provider.fallback``."""

    RATE = "rate"
    OUTAGE = "outage"
    REFUSAL = "refusal"
    INVALID = "invalid"
    LOW_CONFIDENCE = "low_confidence"
    NO_CAPACITY = "no_capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient we are."""

    max_attempts: int
    base_seconds: float
    """Wait before the first retry; doubles with each."""
    cap_seconds: float
    deadline_seconds: float = float("inf")
    """After its first try, an image is tried again no longer than this."""
    may_repair: bool = False
    may_have_more_room: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The try that went wrong."""

    tries: int
    """Tries made so far that count, this one included."""
    chance: float
    """Uniform in [0, 1): spreads the retries of many images."""
    elapsed_seconds: float = 0.0
    """Since the image's first try."""
    bad_answers: int = 0
    """Answers so far that broke the schema, this one included."""
    was_repair: bool = False
    had_more_room: bool = False
    leads_on: AbstractSet[Why] = field(default_factory=frozenset)
    """Causes for which somebody else can be asked instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Try again, not before this many seconds have passed."""

    seconds: float
    counts: bool = True
    """Whether it was a try: being refused as one too many is none."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again by ourselves."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Have the answer put right, in words."""


@dataclass(frozen=True, slots=True)
class MoreRoom:
    """Ask again at once with more output tokens."""


@dataclass(frozen=True, slots=True)
class AskNext:
    """Ask the next route that takes over for this."""

    why: Why


Decision: TypeAlias = Wait | GiveUp | Repair | MoreRoom | AskNext


def decide(error: AskError, attempt: Attempt, policy: RetryPolicy) -> Decision:
    """Say what follows a failed try.

    First what mends it at once; then who else could answer, where waiting does not help or costs
    more than asking elsewhere (``_AT_ONCE``); then patience; and at its end, who else could answer
    for what may have passed.
    """
    if isinstance(error, AnswerCut) and policy.may_have_more_room and not attempt.had_more_room:
        return MoreRoom()
    if _is_repairable(error) and policy.may_repair and not attempt.was_repair:
        return Repair()
    why = _name_reason(error)
    if why in _AT_ONCE and why in attempt.leads_on:
        return AskNext(why)
    if _has_patience(error, attempt, policy):
        counts = not _is_too_much(error, attempt)
        return Wait(seconds=_choose_wait(error, attempt, policy), counts=counts)
    return AskNext(why) if why is not None and why in attempt.leads_on else GiveUp()


_AT_ONCE = frozenset({Why.RATE, Why.NO_CAPACITY, Why.REFUSAL})


def _is_repairable(error: AskError) -> bool:
    has_words = error.response is not None and bool(error.response.text)
    return isinstance(error, InvalidAnswer) and not isinstance(error, NoAnswer) and has_words


def _name_reason(error: AskError) -> Why | None:
    match error:
        case NoCapacity():
            return Why.NO_CAPACITY
        case RateLimited():
            return Why.RATE
        case ContentRefused() | ContentFiltered():
            return Why.REFUSAL
        case InvalidAnswer() | AnswerCut():
            return Why.INVALID
        case TransientError():
            return Why.OUTAGE
        case _:
            return None


def _has_patience(error: AskError, attempt: Attempt, policy: RetryPolicy) -> bool:
    if not isinstance(error, TransientError) or attempt.elapsed_seconds >= policy.deadline_seconds:
        return False
    if _is_too_much(error, attempt):
        return True
    # An answer that breaks the schema is billed each time: one more try, not many.
    is_billed = isinstance(error, InvalidAnswer)
    if is_billed and attempt.bad_answers >= _MOST_BAD_ANSWERS:
        return False
    return attempt.tries < policy.max_attempts


def _is_too_much(error: AskError, attempt: Attempt) -> bool:
    """Whether it is all requests together that the server refuses, and nobody else is there."""
    is_busy = isinstance(error, Overloaded) and Why.OUTAGE not in attempt.leads_on
    return is_busy or isinstance(error, RateLimited)


def _choose_wait(error: AskError, attempt: Attempt, policy: RetryPolicy) -> float:
    backoff = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt.tries - 1, 60))
    if error.retry_after_seconds is None:
        return backoff * (0.5 + 0.5 * attempt.chance)
    # The server named a time: never earlier; a little later, so that not all come back at once.
    return error.retry_after_seconds + policy.base_seconds * 0.5 * attempt.chance
