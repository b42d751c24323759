"""What is written when a job ends or is put off: attempt, answer, image and job together."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, assert_never

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Text,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)

from pipeline.domain.images import ImageInfo
from pipeline.domain.jobs import DECISIONS, AttemptId, ClaimedJob, JobState, ReviewState
from pipeline.domain.outcomes import (
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
from pipeline.ledger.facts import Facts, write_facts
from pipeline.ledger.prepared import Change, Insertion, Lookup
from pipeline.ledger.spends import add_spends
from pipeline.ledger.tables import attempt_is_unsettled, attempts, is_decided, jobs, results


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """All that is written when a job ends or is put off."""

    job: ClaimedJob
    outcome: Outcome
    settled_at_ms: int
    sha256: bytes | None = None
    info: ImageInfo | None = None
    attempt_id: AttemptId | None = None
    request_key: bytes | None = None
    tags: tuple[str, ...] = ()
    review: ReviewState = ReviewState.NONE
    version_id: int | None = None
    """Of the profile it was asked under, where that is not the run's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who was asked: it stands with every answer."""

    version_id: int
    provider: str


def write_settlements(
    connection: Connection,
    settlements: Sequence[Settlement],
    held: AbstractSet[int],
    origin: Origin,
) -> None:
    """Write outcomes; of jobs that are not in ``held``, only what was paid and answered.

    Each attempt is settled once, however often its settlement is written. An answer that came
    too late is paid for all the same: it is kept for whoever asks next.
    """
    known = _lock_unsettled(connection, settlements)
    fresh = [s for s in settlements if s.attempt_id is None or _is_news(s, known)]
    # a request that is passed on is no end of its job
    kept = [s for s in fresh if s.job.id in held and not isinstance(s.outcome, Passed)]
    paid = [s for s in fresh if s.attempt_id is not None]
    more = [s for s in paid if s.job.id not in held or isinstance(s.outcome, Passed)]
    answered = [s for s in paid if _has_answer(s.outcome)]
    _SETTLE_ATTEMPTS.run(connection, [_attempt_values(s) for s in paid])
    rows = sorted((_result_row(s, origin) for s in answered), key=itemgetter("request_key"))
    _ADD_RESULTS.run(connection, rows)
    write_facts(
        connection,
        [(s.job.image_id, Facts(sha256=s.sha256, info=s.info)) for s in kept if s.sha256],
    )
    keys = [s.request_key for s in answered if s.job.id in held]
    answers = {bytes(key): id_ for key, id_ in _FIND_RESULTS.run(connection, keys)}
    reused = [s.outcome.result_id for s in kept if isinstance(s.outcome, Reused)]
    known_results = dict(map(tuple, _FIND_KEPT.run(connection, reused)))
    _SETTLE_JOBS.run(connection, [_job_values(s, answers, known_results) for s in kept])
    _ADD_SPENDS.run(connection, [_spend_values(s) for s in more])
    settled = [s for s in paid if not _is_lost(s.outcome)]
    add_spends(connection, ((known[s.attempt_id], _spend_of(s.outcome)) for s in settled))


def _lock_unsettled(
    connection: Connection, settlements: Sequence[Settlement]
) -> Mapping[AttemptId | None, Any]:
    ids = [s.attempt_id for s in settlements if s.attempt_id is not None]
    return {row.id: row for row in _LOCK_UNSETTLED.run(connection, ids)}


def _is_news(settlement: Settlement, known: Mapping[AttemptId | None, Any]) -> bool:
    """Whether the attempt has no end yet, or was only thought lost.

    That its answer was lost may have been written already, by a commit whose confirmation was.
    """
    row = known.get(settlement.attempt_id)
    if row is None:
        return False
    return row.state == "open" or row.cause == Cause.LOST or not _is_lost(settlement.outcome)


_LOCK_UNSETTLED = Lookup(
    lambda among: (
        select(
            attempts.c.id, attempts.c.state, attempts.c.cause, attempts.c.opened_at,
            attempts.c.run_id, attempts.c.endpoint, attempts.c.model_asked,
            attempts.c.tier_asked, attempts.c.reserved_nanos, attempts.c.quoted_nanos,
            attempts.c.picture_tokens, attempts.c.sent_bytes, attempts.c.original_bytes,
            attempts.c.original_tokens,
        )
        .where(among(attempts.c.id), attempt_is_unsettled)
        .order_by(attempts.c.id)
        .with_for_update()
    )
)  # fmt: skip

# The same picture may have been answered by another attempt, which was thought lost.
_FIND_RESULTS = Lookup(
    lambda among: select(results.c.request_key, results.c.id).where(among(results.c.request_key))
)

# An answer of ours is not kept where the same picture had one already: that one serves as well.
_FIND_KEPT = Lookup(
    lambda among: (
        select(attempts.c.id, results.c.id)
        .join(results, results.c.request_key == attempts.c.request_key)
        .where(among(attempts.c.id))
    )
)

_ADD_RESULTS = Insertion(results, [column.name for column in results.columns])


def _result_row(settlement: Settlement, origin: Origin) -> dict[str, Any]:
    outcome = settlement.outcome
    assert isinstance(outcome, Tagged | Passed)  # noqa: S101  chosen by the caller
    assert outcome.spend is not None  # noqa: S101  an answer names who gave it
    return {
        "id": settlement.attempt_id,
        "request_key": settlement.request_key,
        "version_id": settlement.version_id or origin.version_id,
        "provider": origin.provider,
        "model": outcome.spend.model,
        "answer": orjson.dumps(outcome.answer).decode(),
        "tags": orjson.dumps(settlement.tags).decode(),
        "confidence": outcome.confidence,
        "created_at": settlement.settled_at_ms,
    }


_SETTLE_ATTEMPTS = Change(lambda _: (
    update(attempts)
    .where(
        attempts.c.id == bindparam("attempt_id"), attempt_is_unsettled
    )
    .values(
        state=bindparam("new_state"),
        **{
            name: bindparam(f"new_{name}")
            for name in (
                "model_answered", "service_tier", "cause", "request_id", "input_tokens",
                "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
                "usage_is_estimated", "cost_nanos", "saved_nanos", "settled_at",
            )
        },
    )
))  # fmt: skip

_MORE_SPEND = {
    "input_tokens": jobs.c.input_tokens + bindparam("more_input"),
    "cached_tokens": jobs.c.cached_tokens + bindparam("more_cached"),
    "output_tokens": jobs.c.output_tokens + bindparam("more_output"),
    "cost_nanos": jobs.c.cost_nanos + bindparam("more_cost"),
    "is_unpriced": or_(jobs.c.is_unpriced, bindparam("is_unpriced", type_=Boolean)),
}

_ADD_SPENDS = Change(
    lambda _: update(jobs).where(jobs.c.id == bindparam("job_id")).values(**_MORE_SPEND)
)

_IS_PUT_OFF = bindparam("is_put_off", type_=Boolean)
_TRIED_AT = bindparam("tried_at", type_=BigInteger)
_NEW_CAUSE, _NEW_MESSAGE = bindparam("new_cause", type_=Text), bindparam("new_message", type_=Text)

_SETTLE_JOBS = Change(
    lambda _: (
        update(jobs)
        .where(jobs.c.id == bindparam("job_id"))
        .values(
            state=bindparam("new_state"),
            run_id=null(),
            attempts=jobs.c.attempts + bindparam("tries"),
            not_before=bindparam("new_not_before"),
            # Put off, it keeps its first cause: that may be what it was chosen for.
            cause=case((_IS_PUT_OFF & jobs.c.cause.is_not(None), jobs.c.cause), else_=_NEW_CAUSE),
            message=case(
                (_IS_PUT_OFF & jobs.c.cause.is_not(None), jobs.c.message), else_=_NEW_MESSAGE
            ),
            # The same answer again, for a file that was only touched: what people said holds.
            review=case(
                (
                    (jobs.c.result_id == bindparam("new_result_id")) & is_decided(DECISIONS),
                    jobs.c.review,
                ),
                else_=func.coalesce(bindparam("new_review"), jobs.c.review),
            ),
            result_id=func.coalesce(bindparam("new_result_id"), jobs.c.result_id),
            **_MORE_SPEND,
            # put off is no end: the time stays that of the answer there is
            settled_at=func.coalesce(bindparam("new_settled_at"), jobs.c.settled_at),
            tried_since=case(
                (_IS_PUT_OFF, func.coalesce(jobs.c.tried_since, _TRIED_AT)), else_=null()
            ),
            next_step=bindparam("new_next_step"),
        )
    )
)


def _spend_of(outcome: Outcome) -> Spend | None:
    return None if isinstance(outcome, Reused | Skipped) else outcome.spend


def _has_answer(outcome: Outcome) -> bool:
    """Whether there is something to keep: the answer, or one that is kept for want of a better."""
    return isinstance(outcome, Tagged) or (
        isinstance(outcome, Passed) and outcome.answer is not None
    )


def _is_lost(outcome: Outcome) -> bool:
    """Whether the request went out and nobody here knows what became of it."""
    if not isinstance(outcome, Deferred | Passed | Failed) or outcome.spend is not None:
        return False
    is_broken_off = isinstance(outcome, Deferred) and outcome.cause is Cause.INTERRUPTED
    return outcome.may_be_billed or is_broken_off


_NO_TRIES: Final = (Cause.PAUSED, Cause.INTERRUPTED, Cause.ASKED_ELSEWHERE)
"""Put off for these, a picture was not tried: it is not to blame."""


def _attempt_values(settlement: Settlement) -> dict[str, Any]:
    outcome, spend = settlement.outcome, _spend_of(settlement.outcome)
    usage = spend.usage if spend else None
    is_lost = _is_lost(outcome)
    return {
        "attempt_id": settlement.attempt_id,
        "new_state": "lost" if is_lost else "settled",
        "new_model_answered": spend.model if spend else None,
        "new_service_tier": spend.service_tier if spend else None,
        "new_cause": None if isinstance(outcome, Tagged | Reused) else outcome.cause,
        "new_request_id": spend.request_id if spend else None,
        "new_input_tokens": usage.input if usage else 0,
        "new_cached_tokens": usage.cached if usage else 0,
        "new_cache_write_tokens": usage.cache_write if usage else 0,
        "new_output_tokens": usage.output if usage else 0,
        "new_reasoning_tokens": usage.reasoning if usage else 0,
        "new_usage_is_estimated": bool(spend and spend.usage_is_estimated),
        # nothing answered, nothing billed; None when the answer was lost, or has no price
        "new_cost_nanos": spend.cost if spend else None if is_lost else 0,
        "new_saved_nanos": spend.saved if spend else 0,
        "new_settled_at": settlement.settled_at_ms,
    }


def _spend_values(settlement: Settlement) -> dict[str, Any]:
    spend = _spend_of(settlement.outcome)
    usage = spend.usage if spend else None
    return {
        "job_id": settlement.job.id,
        "more_input": usage.input if usage else 0,
        "more_cached": usage.cached if usage else 0,
        "more_output": usage.output if usage else 0,
        "more_cost": (spend.cost or 0) if spend else 0,
        "is_unpriced": spend is not None and spend.cost is None,
    }


def _job_values(
    settlement: Settlement, answers: Mapping[bytes, int], known_results: Mapping[int, int]
) -> dict[str, Any]:
    outcome = settlement.outcome
    is_answered, is_put_off = isinstance(outcome, Tagged | Reused), isinstance(outcome, Deferred)
    return {
        **_spend_values(settlement),
        "new_state": _state_after(outcome),
        "tries": 0 if isinstance(outcome, Deferred) and not outcome.counts else 1,
        "new_not_before": (
            int(outcome.not_before.timestamp() * 1000) if isinstance(outcome, Deferred) else 0
        ),
        "new_cause": None if isinstance(outcome, Tagged | Reused) else outcome.cause,
        # Postgres takes no NUL in a text, and a server may say anything
        "new_message": (
            None if isinstance(outcome, Tagged | Reused) else outcome.message.replace("\0", "")
        ),
        "new_review": settlement.review if is_answered else None,
        "new_result_id": _find_result(settlement, answers, known_results),
        "is_put_off": is_put_off,
        "new_settled_at": None if is_put_off else settlement.settled_at_ms,
        "tried_at": _tell_try(settlement),
        "new_next_step": outcome.next_step if isinstance(outcome, Deferred) else None,
    }


def _tell_try(settlement: Settlement) -> int | None:
    outcome = settlement.outcome
    is_try = isinstance(outcome, Deferred) and outcome.cause not in _NO_TRIES
    return settlement.settled_at_ms if is_try else None


def _find_result(
    settlement: Settlement, answers: Mapping[bytes, int], known_results: Mapping[int, int]
) -> int | None:
    if isinstance(settlement.outcome, Reused):
        result_id = settlement.outcome.result_id
        return known_results.get(result_id, result_id)
    if isinstance(settlement.outcome, Tagged) and settlement.request_key is not None:
        return answers[settlement.request_key]
    return None


def _state_after(outcome: Outcome) -> JobState:
    match outcome:
        case Tagged() | Reused():
            return JobState.DONE
        case Skipped():
            return JobState.SKIPPED
        case Deferred():
            return JobState.PENDING
        case Passed():
            return JobState.LEASED
        case Failed():
            return JobState.FAILED
        case _:
            assert_never(outcome)
