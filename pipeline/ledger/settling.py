"""Attempts open before their request is sent; outcome, usage and cost settle together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from operator import itemgetter
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
from sqlalchemy import Connection, bindparam, literal_column, select

from pipeline.domain.jobs import (
    DECISIONS,
    STANDING,
    AttemptId,
    ClaimedJob,
    JobState,
    ResultId,
    ReviewState,
    RunId,
)
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.clerk import Clerk
from pipeline.ledger.database import Database
from pipeline.ledger.patience import patient
from pipeline.ledger.prepared import Insertion, Lookup
from pipeline.ledger.settlement import Origin, Settlement, write_settlements
from pipeline.ledger.spool import Spool, replay
from pipeline.ledger.tables import attempts, images, is_decided, jobs, results


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The attempt is on record: the request may be sent."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyAnswered:
    """The same picture was answered under the same profile: nothing to send."""

    result_id: ResultId
    confidence: float | None
    review: ReviewState = ReviewState.NONE
    """What a person said of it about an image with the same bytes."""


@dataclass(frozen=True, slots=True)
class BeingAsked:
    """Another process is asking about the same picture right now."""


Admission: TypeAlias = Opened | AlreadyAnswered | BeingAsked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    attempt_id: AttemptId
    job: ClaimedJob
    request_key: bytes
    now_ms: int


class Settler:
    """Opens and settles the attempts of one run, in groups.

    ``serve()`` must be running in a task group while the other methods are used. While the
    ledger is away everybody waits; when it stays away, settlements go to the spool.
    """

    def __init__(  # noqa: PLR0913  who asks, whom, and where it is written
        self,
        database: Database,
        run: RunId,
        assignment: Assignment,
        *,
        provider: str,
        model: str,
        linger_seconds: float,
        spool: Spool,
    ) -> None:
        self._database = database
        self._run = run
        self._assignment = assignment
        self._origin = Origin(version_id=assignment.version_id, provider=provider)
        self._model = model
        self._spool = spool
        self._numbers = count(1)
        self._clerk: Clerk[_Opening | Settlement, Admission | bool] = Clerk(
            self._write, linger_seconds=linger_seconds
        )
        self._finder: Clerk[bytes, AlreadyAnswered | None] = Clerk(self._find)

    async def serve(self) -> None:
        """Write until ``close()``, whatever is cancelled around it: no caller is left waiting."""
        try:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as clerks:
                    clerks.start_soon(self._clerk.run)
                    clerks.start_soon(self._finder.run)
        finally:
            self._spool.close()

    async def find_answer(self, sha256: bytes) -> AlreadyAnswered | None:
        """The answer that a file with the same bytes already has under this profile."""
        return await self._finder.do(sha256)

    async def open_attempt(self, job: ClaimedJob, request_key: bytes, now_ms: int) -> Admission:
        """Put an attempt on record, unless the answer is there or being asked for.

        Raises:
            EnvironmentFault: it is not on record: nothing may be sent.
        """
        attempt_id = AttemptId((self._run << 32) + next(self._numbers))
        answer = await self._clerk.do(
            _Opening(attempt_id=attempt_id, job=job, request_key=request_key, now_ms=now_ms)
        )
        assert not isinstance(answer, bool)  # noqa: S101  narrows the clerk's two answers
        return answer

    async def settle(self, settlement: Settlement) -> bool:
        """Write an outcome; False when the lease was lost and only the spend was recorded.

        Raises:
            EnvironmentFault: the ledger does not take it; what was paid for is in the spool.
        """
        try:
            return await self._clerk.do(settlement) is True
        except Exception:
            if settlement.attempt_id is not None:
                self._spool.put(settlement, self._origin)
            raise

    async def prepare(self) -> None:
        """Take room for the spool.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        await anyio.to_thread.run_sync(self._spool.open)

    @patient
    async def replay_spools(self) -> int:
        """Settle what runs that are over left in their spools; return how many answers.

        Raises:
            EnvironmentFault: the ledger is away.
        """
        return await replay(self._spool.path.parent, self._database)

    def hurry(self) -> None:
        """Wait for an absent ledger no longer: what is to be settled goes to the spool."""
        self._database.patience.end()

    def describe_spool(self) -> str:
        """What waits in the spool, as the end of a sentence; nothing when it is empty."""
        return self._spool.describe()

    def close(self) -> None:
        """Finish what was handed in, then let ``serve`` return."""
        self._clerk.close()
        self._finder.close()

    @patient
    async def _find(self, hashes: Sequence[bytes]) -> Sequence[AlreadyAnswered | None]:
        def look(connection: Connection) -> dict[bytes, AlreadyAnswered]:
            # Two steps: first by content, which is nearly always new.
            copies = {row.id: bytes(row.sha256) for row in _FIND_COPIES.run(connection, hashes)}
            asked = {"profile": self._assignment.profile_id, "version": self._origin.version_id}
            answers = _FIND_ANSWERS.run(connection, list(copies), **asked)
            # of several, the one that a person has looked at: it is the last
            answers.sort(key=lambda row: row.review in DECISIONS)
            return {
                copies[row.image_id]: replace(
                    _answer_of(row.result_id, row.confidence), review=ReviewState(row.review)
                )
                for row in answers
            }

        found = await self._database.look_up(look)
        return [found.get(sha256) for sha256 in hashes]

    @patient
    async def _write(self, group: Sequence[_Opening | Settlement]) -> Sequence[Admission | bool]:
        settlements = [work for work in group if isinstance(work, Settlement)]
        openings = [work for work in group if isinstance(work, _Opening)]

        def write(connection: Connection) -> tuple[set[int], dict[AttemptId, Admission]]:
            return self._settle(connection, settlements), self._open(connection, openings)

        accepted, admitted = await self._database.transact(write)
        return [
            work.job.id in accepted
            if isinstance(work, Settlement)
            else admitted.get(work.attempt_id, Opened(attempt_id=work.attempt_id))
            for work in group
        ]

    def _open(
        self, connection: Connection, openings: Sequence[_Opening]
    ) -> dict[AttemptId, Admission]:
        """Why attempts were not put on record; all others are."""
        found = _FIND_KNOWN.run(connection, [opening.request_key for opening in openings])
        answered = {bytes(row.request_key): _answer_of(row.id, row.confidence) for row in found}
        refused: dict[AttemptId, Admission] = {
            opening.attempt_id: answered[opening.request_key]
            for opening in openings
            if opening.request_key in answered
        }
        rows = [self._attempt_row(o) for o in openings if o.attempt_id not in refused]
        # in one order for all processes: they would lock each other out, else
        _OPEN_ATTEMPTS.run(connection, sorted(rows, key=itemgetter("request_key")))
        # of those whose question somebody else has open, there is none on record
        opened = {row.id for row in _FIND_OPEN.run(connection, [row["id"] for row in rows])}
        return refused | {row["id"]: BeingAsked() for row in rows if row["id"] not in opened}

    def _attempt_row(self, opening: _Opening) -> dict[str, Any]:
        return {
            "id": opening.attempt_id,
            "job_id": opening.job.id,
            "run_id": self._run,
            "request_key": opening.request_key,
            "state": "open",
            "provider": self._origin.provider,
            "model_asked": self._model,
            "opened_at": opening.now_ms,
        }

    def _settle(self, connection: Connection, settlements: Sequence[Settlement]) -> set[int]:
        """Write them; return the jobs that these settlements brought to where they are."""
        found = _LOCK_JOBS.run(connection, [s.job.id for s in settlements])
        rows = {row.id: row for row in found}
        held = {s.job.id for s in settlements if s.job.id in rows and self._holds(s, rows)}
        write_settlements(connection, settlements, held, self._origin)
        # a commit whose confirmation was lost with the connection is written a second time
        written = {
            s.job.id
            for s in settlements
            if s.job.id in rows and s.job.id not in held and _is_written(s, rows[s.job.id])
        }
        return held | written

    def _holds(self, settlement: Settlement, rows: Mapping[int, Any]) -> bool:
        """Whether the lease is still ours, and for the picture that was asked about."""
        row, image = rows[settlement.job.id], settlement.job.image
        is_leased = row.state == JobState.LEASED and row.run_id == self._run
        return is_leased and (row.size, row.version) == (image.size, image.version)


def _is_written(settlement: Settlement, job: Any) -> bool:
    answer = settlement.attempt_id
    return answer is not None and job.run_id is None and job.result_id == answer


def _answer_of(result_id: int, confidence: float | None) -> AlreadyAnswered:
    return AlreadyAnswered(result_id=ResultId(result_id), confidence=confidence)


_FIND_COPIES = Lookup(
    lambda among: select(images.c.id, images.c.sha256).where(among(images.c.sha256))
)

_FIND_ANSWERS = Lookup(
    lambda among: (
        select(jobs.c.image_id, jobs.c.result_id, jobs.c.review, results.c.confidence)
        .join(results, results.c.id == jobs.c.result_id)
        .where(
            among(jobs.c.image_id),
            jobs.c.profile_id == bindparam("profile"),
            # what a person let stand is never stale
            (jobs.c.version_id == bindparam("version")) | is_decided(STANDING),
            jobs.c.state == literal_column("'done'"),
        )
    )
)

_FIND_KNOWN = Lookup(
    lambda among: select(results.c.request_key, results.c.id, results.c.confidence).where(
        among(results.c.request_key)
    )
)

_OPENED = (
    "id", "job_id", "run_id", "request_key", "state", "provider", "model_asked", "opened_at",
)  # fmt: skip

_OPEN_ATTEMPTS = Insertion(attempts, _OPENED)
_FIND_OPEN = Lookup(lambda among: select(attempts.c.id).where(among(attempts.c.id)))

_LOCK_JOBS = Lookup(
    lambda among: (
        select(
            jobs.c.id, jobs.c.state, jobs.c.run_id, jobs.c.result_id,
            images.c.size, images.c.version,
        )
        .join(images, images.c.id == jobs.c.image_id)
        .where(among(jobs.c.id))
        .order_by(jobs.c.id)
        .with_for_update(of=jobs)
    )
)  # fmt: skip
