"""Attempts open before their request is sent; outcome, usage and cost settle together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, assert_never

import anyio
import orjson
from sqlalchemy import Boolean, bindparam, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.images import ImageInfo
from pipeline.domain.jobs import AttemptId, ClaimedJob, JobState, ResultId, ReviewState, RunId
from pipeline.domain.outcomes import (
    Cause,
    Deferred,
    Failed,
    Outcome,
    Reused,
    Skipped,
    Spend,
    Tagged,
)
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.clerk import Clerk
from pipeline.ledger.database import Database, among, insert_new
from pipeline.ledger.tables import (
    attempt_is_open,
    attempts,
    images,
    job_is_leased,
    jobs,
    results,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The attempt is on record: the request may be sent."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyAnswered:
    """The same picture was answered under the same profile: nothing to send."""

    result_id: ResultId
    confidence: float | None


@dataclass(frozen=True, slots=True)
class BeingAsked:
    """Another process is asking about the same picture right now."""


Admission: TypeAlias = Opened | AlreadyAnswered | BeingAsked


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    job: ClaimedJob
    request_key: bytes
    now_ms: int


class Settler:
    """Opens and settles the attempts of one run, in groups.

    ``serve()`` must be running in a task group while the other methods are used.
    """

    def __init__(
        self,
        database: Database,
        run: RunId,
        assignment: Assignment,
        *,
        provider: str,
        model: str,
        linger_seconds: float,
    ) -> None:
        self._database = database
        self._run = run
        self._assignment = assignment
        self._provider = provider
        self._model = model
        self._numbers = count(1)
        self._clerk: Clerk[_Opening | Settlement, Admission | bool] = Clerk(
            self._write, linger_seconds=linger_seconds
        )
        self._finder: Clerk[bytes, AlreadyAnswered | None] = Clerk(self._find)

    async def serve(self) -> None:
        """Write until ``close()``, whatever is cancelled around it: no caller is left waiting."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as clerks:
                clerks.start_soon(self._clerk.run)
                clerks.start_soon(self._finder.run)

    async def find_answer(self, sha256: bytes) -> AlreadyAnswered | None:
        """The answer that a file with the same bytes already has under this profile."""
        return await self._finder.do(sha256)

    async def open_attempt(self, job: ClaimedJob, request_key: bytes, now_ms: int) -> Admission:
        """Put an attempt on record, unless the answer is there or being asked for."""
        opening = _Opening(job=job, request_key=request_key, now_ms=now_ms)
        answer = await self._clerk.do(opening)
        assert not isinstance(answer, bool)  # noqa: S101  narrows the clerk's two answers
        return answer

    async def settle(self, settlement: Settlement) -> bool:
        """Write an outcome; False when the lease was lost and only the spend was recorded."""
        return await self._clerk.do(settlement) is True

    def close(self) -> None:
        """Finish what was handed in, then let ``serve`` return."""
        self._clerk.close()
        self._finder.close()

    async def _find(self, hashes: Sequence[bytes]) -> Sequence[AlreadyAnswered | None]:
        query = (
            select(images.c.sha256, results.c.id, results.c.confidence)
            .join(jobs, jobs.c.image_id == images.c.id)
            .join(results, results.c.id == jobs.c.result_id)
            .where(
                images.c.sha256.in_(hashes),
                jobs.c.version_id == self._assignment.version_id,
                jobs.c.state == JobState.DONE,
            )
        )
        async with self._database.read() as connection:
            found = await _read_answers(connection, query)
        return [found.get(sha256) for sha256 in hashes]

    async def _write(self, group: Sequence[_Opening | Settlement]) -> Sequence[Admission | bool]:
        settlements = [work for work in group if isinstance(work, Settlement)]
        openings = [work for work in group if isinstance(work, _Opening)]
        async with self._database.write() as connection:
            accepted = await self._settle(connection, settlements) if settlements else set()
            admitted = await self._open(connection, openings) if openings else {}
        return [
            work.job.id in accepted if isinstance(work, Settlement) else admitted[id(work)]
            for work in group
        ]

    async def _open(
        self, connection: AsyncConnection, openings: Sequence[_Opening]
    ) -> dict[int, Admission]:
        keys = [opening.request_key for opening in openings]
        known = select(results.c.request_key, results.c.id, results.c.confidence)
        answered = await _read_answers(connection, known.where(results.c.request_key.in_(keys)))
        open_now = select(attempts.c.request_key).where(attempt_is_open)
        found = await connection.execute(open_now.where(attempts.c.request_key.in_(keys)))
        asking = set(found.scalars())
        admitted: dict[int, Admission] = {}
        rows: dict[int, dict[str, Any]] = {}
        for opening in openings:
            key = opening.request_key
            if key in answered:
                admitted[id(opening)] = answered[key]
            elif key in asking:
                admitted[id(opening)] = BeingAsked()
            else:
                attempt_id = AttemptId((self._run << 32) + next(self._numbers))
                asking.add(key)
                rows[attempt_id] = self._attempt_row(opening, attempt_id)
                admitted[id(opening)] = Opened(attempt_id=attempt_id)
        opened = await _insert_attempts(connection, list(rows.values()))
        # another process may have been first between the look and the insert
        return {
            slip: BeingAsked()
            if isinstance(answer, Opened) and answer.attempt_id not in opened
            else answer
            for slip, answer in admitted.items()
        }

    def _attempt_row(self, opening: _Opening, attempt_id: AttemptId) -> dict[str, Any]:
        return {
            "id": attempt_id,
            "job_id": opening.job.id,
            "run_id": self._run,
            "request_key": opening.request_key,
            "state": "open",
            "provider": self._provider,
            "model_asked": self._model,
            "opened_at": opening.now_ms,
        }

    async def _settle(
        self, connection: AsyncConnection, settlements: Sequence[Settlement]
    ) -> set[int]:
        held = select(jobs.c.id).where(
            among(connection, jobs.c.id, [s.job.id for s in settlements]),
            job_is_leased,
            jobs.c.run_id == self._run,
        )
        accepted = set((await connection.execute(held)).scalars())
        if attempt_rows := [_attempt_values(s) for s in settlements if s.attempt_id is not None]:
            await connection.execute(_SETTLE_ATTEMPT, attempt_rows)
        # An answer that came too late is paid for all the same: keep it for whoever asks next.
        if result_rows := [self._result_row(s) for s in settlements if _is_tagged(s)]:
            await connection.execute(insert_new(connection, results), result_rows)
        kept = [s for s in settlements if s.job.id in accepted]
        if image_rows := [_image_values(s) for s in kept if s.sha256 is not None]:
            await connection.execute(_SETTLE_IMAGE, image_rows)
        if kept:
            await connection.execute(_SETTLE_JOB, [_job_values(s) for s in kept])
        return accepted

    def _result_row(self, settlement: Settlement) -> dict[str, Any]:
        outcome = settlement.outcome
        assert isinstance(outcome, Tagged)  # noqa: S101  chosen by _is_tagged
        return {
            "id": settlement.attempt_id,
            "request_key": settlement.request_key,
            "version_id": self._assignment.version_id,
            "provider": self._provider,
            "model": outcome.spend.model,
            "answer": orjson.dumps(outcome.answer).decode(),
            "tags": orjson.dumps(settlement.tags).decode(),
            "confidence": outcome.confidence,
            "created_at": settlement.settled_at_ms,
        }


_SETTLE_ATTEMPT = (
    update(attempts)
    .where(attempts.c.id == bindparam("attempt_id"), attempts.c.state != "settled")
    .values(
        state=bindparam("new_state"),
        **{
            name: bindparam(f"new_{name}")
            for name in (
                "model_answered", "service_tier", "cause", "request_id", "input_tokens",
                "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
                "usage_is_estimated", "cost_nanos", "settled_at",
            )
        },
    )
)  # fmt: skip

_SETTLE_IMAGE = (
    update(images)
    .where(images.c.id == bindparam("image_id"))
    .values(
        sha256=bindparam("new_sha256"),
        format=func.coalesce(bindparam("new_format"), images.c.format),
        width=func.coalesce(bindparam("new_width"), images.c.width),
        height=func.coalesce(bindparam("new_height"), images.c.height),
    )
)

_SETTLE_JOB = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values(
        state=bindparam("new_state"),
        run_id=null(),
        attempts=jobs.c.attempts + bindparam("tries"),
        not_before=bindparam("new_not_before"),
        cause=bindparam("new_cause"),
        message=bindparam("new_message"),
        review=func.coalesce(bindparam("new_review"), jobs.c.review),
        result_id=func.coalesce(
            select(results.c.id).where(results.c.request_key == bindparam("key")).scalar_subquery(),
            bindparam("new_result_id"),
            jobs.c.result_id,
        ),
        input_tokens=jobs.c.input_tokens + bindparam("more_input"),
        cached_tokens=jobs.c.cached_tokens + bindparam("more_cached"),
        output_tokens=jobs.c.output_tokens + bindparam("more_output"),
        cost_nanos=jobs.c.cost_nanos + bindparam("more_cost"),
        is_unpriced=or_(jobs.c.is_unpriced, bindparam("is_unpriced", type_=Boolean)),
        settled_at=bindparam("new_settled_at"),
    )
)


async def _insert_attempts(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> set[int]:
    """The ids that are now on record: those whose question nobody else had open."""
    if not rows:
        return set()
    made = await connection.execute(insert_new(connection, attempts).returning(attempts.c.id), rows)
    return set(made.scalars())


async def _read_answers(connection: AsyncConnection, query: Any) -> dict[bytes, AlreadyAnswered]:
    """Key to answer, of rows of key, result id and confidence."""
    return {
        key: AlreadyAnswered(result_id=ResultId(result_id), confidence=confidence)
        for key, result_id, confidence in await connection.execute(query)
    }


def _is_tagged(settlement: Settlement) -> bool:
    return isinstance(settlement.outcome, Tagged)


def _spend_of(outcome: Outcome) -> Spend | None:
    return None if isinstance(outcome, Reused | Skipped) else outcome.spend


def _attempt_values(settlement: Settlement) -> dict[str, Any]:
    outcome, spend = settlement.outcome, _spend_of(settlement.outcome)
    usage = spend.usage if spend else None
    is_unknown = isinstance(outcome, Deferred) and outcome.cause is Cause.INTERRUPTED
    return {
        "attempt_id": settlement.attempt_id,
        # cancelled under way: whether it was billed, nobody here knows
        "new_state": "lost" if is_unknown else "settled",
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
        # nothing answered, nothing billed; None only when the answering model has no price
        "new_cost_nanos": spend.cost if spend else 0,
        "new_settled_at": settlement.settled_at_ms,
    }


def _image_values(settlement: Settlement) -> dict[str, Any]:
    info = settlement.info
    return {
        "image_id": settlement.job.image_id,
        "new_sha256": settlement.sha256,
        "new_format": info.format.value if info else None,
        "new_width": info.width if info else None,
        "new_height": info.height if info else None,
    }


def _job_values(settlement: Settlement) -> dict[str, Any]:
    outcome, spend = settlement.outcome, _spend_of(settlement.outcome)
    usage = spend.usage if spend else None
    is_answered = isinstance(outcome, Tagged | Reused)
    return {
        "job_id": settlement.job.id,
        "new_state": _state_after(outcome),
        "tries": 0 if isinstance(outcome, Deferred) and not outcome.counts else 1,
        "new_not_before": (
            int(outcome.not_before.timestamp() * 1000) if isinstance(outcome, Deferred) else 0
        ),
        "new_cause": None if isinstance(outcome, Tagged | Reused) else outcome.cause,
        "new_message": None if isinstance(outcome, Tagged | Reused) else outcome.message,
        "new_review": settlement.review if is_answered else None,
        "key": settlement.request_key if isinstance(outcome, Tagged) else None,
        "new_result_id": outcome.result_id if isinstance(outcome, Reused) else None,
        "more_input": usage.input if usage else 0,
        "more_cached": usage.cached if usage else 0,
        "more_output": usage.output if usage else 0,
        "more_cost": (spend.cost or 0) if spend else 0,
        "is_unpriced": spend is not None and spend.cost is None,
        "new_settled_at": settlement.settled_at_ms,
    }


def _state_after(outcome: Outcome) -> JobState:
    match outcome:
        case Tagged() | Reused():
            return JobState.DONE
        case Skipped():
            return JobState.SKIPPED
        case Deferred():
            return JobState.PENDING
        case Failed():
            return JobState.FAILED
        case _:
            assert_never(outcome)
