"""Attempts open before their request is sent; outcome, usage and cost settle together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import anyio
import anyio.to_thread
from sqlalchemy import Connection, bindparam, literal_column, select

from pipeline.domain.jobs import (
    DECISIONS,
    STANDING,
    AttemptId,
    ClaimedJob,
    JobState,
    ReviewState,
    RunId,
)
from pipeline.ledger.caps import NO_CAPS, Caps, CapStanding, wait_for_turn
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.clerk import Clerk
from pipeline.ledger.database import Database
from pipeline.ledger.facts import Facts
from pipeline.ledger.opening import (
    Admission,
    AlreadyAnswered,
    Opened,
    Opener,
    Opening,
    Refusals,
    Terms,
    answer_of,
)
from pipeline.ledger.patience import patient
from pipeline.ledger.prepared import Lookup
from pipeline.ledger.settlement import Origin, Settlement, write_settlements
from pipeline.ledger.spool import Spool, replay
from pipeline.ledger.tables import images, is_decided, jobs, results


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
        linger_seconds: float,
        spool: Spool,
        caps: Caps = NO_CAPS,
    ) -> None:
        self._database = database
        self._run = run
        self._assignment = assignment
        self._origin = Origin(version_id=assignment.version_id, provider=provider)
        self._opener = Opener(run=run, provider=provider, caps=caps)
        self._standings: Sequence[CapStanding] = ()
        self._spool = spool
        self._numbers = count(1)
        self._clerk: Clerk[Opening | Settlement, Admission | bool] = Clerk(
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

    @property
    def standings(self) -> Sequence[CapStanding]:
        """What was used of each cap when the last group of attempts was opened; none before."""
        return self._standings

    async def open_attempt(
        self,
        job: ClaimedJob,
        request_key: bytes,
        now_ms: int,
        terms: Terms,
        *,
        facts: Facts | None = None,
    ) -> Admission:
        """Put an attempt on record, unless the answer is there, is asked for, or is too dear.

        With the ``facts`` of its file, where it will not be settled soon.

        Raises:
            EnvironmentFault: it is not on record: nothing may be sent.
        """
        attempt_id = AttemptId((self._run << 32) + next(self._numbers))
        answer = await self._clerk.do(
            Opening(
                attempt_id=attempt_id,
                job=job,
                request_key=request_key,
                now_ms=now_ms,
                terms=terms,
                facts=facts,
            )
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
                    answer_of(row.result_id, row.confidence), review=ReviewState(row.review)
                )
                for row in answers
            }

        found = await self._database.look_up(look)
        return [found.get(sha256) for sha256 in hashes]

    @patient
    async def _write(self, group: Sequence[Opening | Settlement]) -> Sequence[Admission | bool]:
        settlements = [work for work in group if isinstance(work, Settlement)]
        openings = [work for work in group if isinstance(work, Opening)]

        def write(connection: Connection) -> tuple[set[int], Refusals, Sequence[CapStanding]]:
            if not openings:
                return self._settle(connection, settlements), {}, ()
            if self._opener.caps.list_set():
                wait_for_turn(connection)
            return self._settle(connection, settlements), *self._opener.write(connection, openings)

        accepted, refused, standings = await self._database.transact(write)
        self._standings = standings or self._standings
        return [
            work.job.id in accepted
            if isinstance(work, Settlement)
            else refused.get(work.attempt_id, Opened(attempt_id=work.attempt_id))
            for work in group
        ]

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
