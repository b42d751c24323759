"""What becomes of a request's image, its money and its turn: pure, so every case is a line."""

from datetime import datetime, timedelta

from pipeline.domain.errors import (
    AskError,
    NoCapacity,
    Overloaded,
    RateLimited,
    RunPaused,
    SlowDown,
)
from pipeline.domain.outcomes import (
    AT_ONCE,
    UNTIL_NEWS,
    Cause,
    Deferred,
    Failed,
    Outcome,
    Passed,
    Reused,
    Skipped,
    Spend,
    Tagged,
)
from pipeline.domain.usage import NanoDollars, to_usd
from pipeline.domain.vision import VisionResponse
from pipeline.engine.retry import Wait
from pipeline.ledger.caps import OverCap
from pipeline.ledger.opening import AlreadyAnswered, BeingAsked
from pipeline.limits.gate import Passage, PassageKind

_NOTHING = NanoDollars(0)


def reuse(answer: AlreadyAnswered) -> Reused:
    """The outcome of an image whose picture has its answer already."""
    return Reused(result_id=answer.result_id, confidence=answer.confidence, review=answer.review)


def pass_on(error: AskError, spend: Spend | None) -> Passed:
    """The request is over; another follows, or an answer is there already."""
    return Passed(
        cause=error.cause, message=str(error), spend=spend, may_be_billed=error.may_be_billed
    )


def put_off(error: AskError, spend: Spend | None, wait: Wait, now: datetime) -> Deferred:
    """The image is to be tried again later."""
    return Deferred(
        cause=error.cause,
        message=str(error),
        not_before=now + timedelta(seconds=wait.seconds),
        spend=spend,
        counts=wait.counts,
        may_be_billed=error.may_be_billed,
    )


def give_up(error: AskError, spend: Spend | None) -> Failed:
    """The image stays without an answer."""
    return Failed(
        cause=error.cause, message=str(error), spend=spend, may_be_billed=error.may_be_billed
    )


def give_back(pause: RunPaused, outcome: Outcome | None, not_before: datetime) -> Deferred:
    """The image is not to blame for what makes the run pause; what was paid stays on record."""
    ended = outcome if isinstance(outcome, Deferred | Passed | Failed) else None
    return Deferred(
        cause=Cause.PAUSED,
        message=str(pause),
        not_before=not_before,
        spend=ended.spend if ended else None,
        counts=False,
        may_be_billed=ended is not None and ended.may_be_billed,
    )


def wait_for_other(asked: BeingAsked, soon: datetime, *, next_step: str | None) -> Deferred:
    """Somebody asks about the same picture: its answer will do for this image, too."""
    if asked.is_in_batch:
        message, not_before = "the same picture is in a batch", UNTIL_NEWS
    else:
        message, not_before = "another process is asking about the same picture", soon
    return Deferred(
        cause=Cause.ASKED_ELSEWHERE,
        message=message,
        not_before=not_before,
        counts=False,
        next_step=next_step,
    )


def interrupt() -> Deferred:
    """The request was cancelled; what it cost nobody knows."""
    return Deferred(
        cause=Cause.INTERRUPTED,
        message="the run was cancelled while the request was under way",
        not_before=AT_ONCE,
        counts=False,
        may_be_billed=True,
    )


def cost_of(outcome: Outcome) -> NanoDollars | None:
    """What a request cost; None when nobody knows."""
    if isinstance(outcome, Reused | Skipped):
        return _NOTHING
    if not isinstance(outcome, Tagged) and outcome.may_be_billed:
        return None
    if outcome.spend is None:
        return _NOTHING
    return None if outcome.spend.usage_is_estimated else outcome.spend.cost


def read_passage(response: VisionResponse) -> Passage:
    """What a good answer says about the rate."""
    return Passage(
        kind=PassageKind.ANSWERED, rates=response.rates, used_tokens=_count_used(response)
    )


def read_refusal(error: AskError) -> Passage:
    """What an error says about the rate.

    A useless answer opens the gate no wider: at the start, it may be the first of many.
    """
    used = None if error.response is None else _count_used(error.response)
    return Passage(
        kind=_sort(error),
        rates=error.rates or (error.response.rates if error.response else None),
        retry_after_seconds=error.retry_after_seconds,
        used_tokens=used,
    )


def _sort(error: AskError) -> PassageKind:
    match error:
        case SlowDown():
            return PassageKind.SLOW_DOWN
        case NoCapacity():
            return PassageKind.FAILED  # of one lane only: the limits are not at fault
        case RateLimited():
            return PassageKind.REFUSED
        case Overloaded():
            return PassageKind.OVERLOADED
        case _:
            return PassageKind.FAILED


def _count_used(response: VisionResponse) -> int | None:
    used = response.usage.input + response.usage.output
    return None if response.usage_is_estimated else used


def describe_cap(cap: OverCap, worst: int) -> str:
    """Why there is no room under a cap, and what to do."""
    left = max(0, cap.cap_nanos - cap.spent_nanos - cap.held_nanos)
    return (
        f"the {cap.scope}'s budget of ${to_usd(cap.cap_nanos)} has ${to_usd(left)} left and the "
        f"next request may cost ${to_usd(worst)}: go on when the next {cap.scope} begins (UTC), "
        f"or raise it (--budget-{cap.scope}, limits.budget_{cap.scope}_usd)"
    )
