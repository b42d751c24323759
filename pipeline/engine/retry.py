"""One pure decision: after this error, at this try, wait or give up?"""

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.domain.errors import AskError, InvalidAnswer, TransientError

_INVALID_ANSWER_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient we are."""

    max_attempts: int
    base_seconds: float
    """Wait before the first retry; doubles with each."""
    cap_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Try again, not before this many seconds have passed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again by ourselves."""


Decision: TypeAlias = Wait | GiveUp


def decide(error: AskError, *, tries: int, policy: RetryPolicy, chance: float) -> Decision:
    """Say what follows a failed try.

    Args:
        error: what went wrong.
        tries: tries made so far, this one included.
        policy: limits.
        chance: uniform in [0, 1): spreads the retries of many images.
    """
    if not isinstance(error, TransientError) or tries >= _most_tries(error, policy):
        return GiveUp()
    backoff = min(policy.cap_seconds, policy.base_seconds * 2 ** (tries - 1))
    jittered = backoff * (0.5 + 0.5 * chance)
    if error.retry_after_seconds is None:
        return Wait(seconds=jittered)
    # The server named a time: never earlier; a little later, so that not all come back at once.
    return Wait(seconds=error.retry_after_seconds + policy.base_seconds * 0.5 * chance)


def _most_tries(error: AskError, policy: RetryPolicy) -> int:
    # An answer that breaks the schema is billed each time: one more try, not many.
    if isinstance(error, InvalidAnswer):
        return min(policy.max_attempts, _INVALID_ANSWER_TRIES)
    return policy.max_attempts
