"""Jobs change hands: claim, reclaim, put back, mark stale."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    update,
)

from pipeline.domain.images import ImageId, ImageRef
from pipeline.domain.jobs import STANDING, ClaimedJob, JobId, JobState, Reason, RunId
from pipeline.domain.outcomes import UNTIL_NEWS
from pipeline.ledger.catalogue import AS_NEW, Assignment, Scope
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import among
from pipeline.ledger.patience import patient
from pipeline.ledger.prepared import Lookup
from pipeline.ledger.processes import OWNER, is_over
from pipeline.ledger.returns import give_back, put_back_chosen
from pipeline.ledger.selection import EVERYTHING, Selection, lies_in, meets, waits_for
from pipeline.ledger.tables import (
    attempt_is_in_batch,
    attempt_is_open,
    attempts,
    images,
    is_decided,
    job_is_leased,
    job_is_pending,
    jobs,
    runs,
)
from pipeline.ledger.waiting import Lane, Line, Position, Walk

_LONGEST_LEASE_MS: Final = 900_000
"""A living run may be on record with a time that lies ahead by its lease; longer ones are rare."""


_UNTIL_NEWS_MS: Final = int(UNTIL_NEWS.timestamp() * 1000)


class JobQueue:
    """Claims jobs for one run and gives back what dead runs held."""

    def __init__(
        self,
        database: Database,
        run: RunId,
        selection: Selection = EVERYTHING,
    ) -> None:
        self._database = database
        self._run = run
        self._selection = selection
        self._ids: Sequence[JobId] | None = None
        self._walk = Walk()

    def narrow(self, ids: Iterable[JobId]) -> None:
        """From now on, only these of the jobs that meet the selection."""
        self._ids = sorted(ids)
        self._walk = Walk()

    @patient
    async def claim(
        self, scopes: Sequence[Scope], assignment: Assignment, *, limit: int, now_ms: int
    ) -> list[ClaimedJob]:
        """Lease up to ``limit`` jobs that are due; nobody else can claim them meanwhile."""
        line = self._line_for(assignment)
        claimed = await self._claim_onwards(line, scopes, limit, now_ms)
        if not claimed and self._walk.is_old(now_ms):
            self._walk = Walk()
            claimed = await self._claim_onwards(line, scopes, limit, now_ms)
        return claimed

    @patient
    async def find_next_due(
        self, scopes: Sequence[Scope], assignment: Assignment, *, now_ms: int
    ) -> int | None:
        """When the next pending job may be claimed (ms); None when there is none."""
        line = self._line_for(assignment)
        due: list[int] = []
        async with self._database.read() as connection:
            for scope in scopes:
                query = line.select(connection, scope, jobs.c.not_before)
                query = query.where(~_waits_for_batch())
                first = await connection.scalar(query.order_by(jobs.c.not_before).limit(1))
                due += [] if first is None else [first]
        if due and min(due) <= now_ms:
            self._walk = Walk()
        return min(due, default=None)

    @patient
    async def release(self, *, now_ms: int) -> int:
        """Give back every job this run still holds; return how many."""
        async with self._database.write() as connection:
            returned = await give_back(connection, [self._run], now_ms)
        self._walk = Walk()
        return returned

    @patient
    async def reclaim_dead(self, *, now_ms: int) -> int:
        """Give back what runs hold whose process is gone, whose lease ran out, or that ended."""
        holding = (
            select(jobs.c.run_id)
            .where(job_is_leased)
            .union(select(attempts.c.run_id).where(attempt_is_open, ~attempt_is_in_batch))
        )
        query = select(*OWNER).where(
            runs.c.id != self._run, or_(runs.c.ended_at.is_(None), runs.c.id.in_(holding))
        )
        async with self._database.read() as connection:
            others = (await connection.execute(query)).all()
        dead = [row.id for row in others if is_over(row, now_ms)]
        if not dead:
            return 0
        async with self._database.write() as connection:
            returned = await give_back(connection, dead, now_ms)
            await connection.execute(
                update(runs)
                .where(runs.c.id.in_(dead), runs.c.ended_at.is_(None))
                .values(state="died", ended_at=now_ms)
            )
        if returned:
            self._walk = Walk()
        return returned

    @patient
    async def correct_waits(self, *, now_ms: int) -> int:
        """End the waits that were counted from a clock that was ahead of ours; return how many.

        Processes on one SQLite file go by the wall clock as it was when they began. Where a run
        is on record with a time that is still to come, nobody can tell how long is left of a
        wait: trying early costs little, and a wait of hours for a clock that jumped costs hours.
        """
        latest = select(
            func.max(runs.c.started_at), func.max(runs.c.ended_at), func.max(runs.c.lease_until)
        ).where(runs.c.id != self._run)
        async with self._database.read() as connection:
            known = [moment for moment in (await connection.execute(latest)).one() if moment]
        if max(known, default=0) <= now_ms + _LONGEST_LEASE_MS:
            return 0
        async with self._database.write() as connection:
            done = await connection.execute(
                update(jobs)
                .where(job_is_pending, jobs.c.not_before > now_ms, ~_waits_for_batch())
                .values(not_before=now_ms)
            )
        self._walk = Walk()
        return done.rowcount

    @patient
    async def put_back(self, ids: Sequence[JobId]) -> int:
        """Make jobs that this run ended pending again, as if never tried.

        What they were to be asked for stays: they are not to blame.
        """
        async with self._database.write() as connection:
            done = await connection.execute(
                update(jobs)
                .where(among(connection, jobs.c.id, ids), jobs.c.state == JobState.FAILED)
                .values(**AS_NEW)
            )
        return done.rowcount

    @patient
    async def put_back_failed(self, scope: Scope, assignment: Assignment) -> int:
        """Put back what has failed in the scope, if the selection asks for it; return how many."""
        if not self._selection.wants_failed:
            return 0
        is_ours = jobs.c.profile_id == assignment.profile_id
        async with self._database.write() as connection:
            count = await put_back_chosen(
                connection, [scope], self._selection, is_ours, states=self._selection.ends
            )
        self._walk = Walk()
        return count

    @patient
    async def mark_stale(self, scope: Scope, assignment: Assignment, *, chunk: int = 5_000) -> int:
        """Put jobs that ended under another version of the profile back to pending.

        The old answer stays until the new one is in. A person's decision is not overruled.
        What waits already is asked under the new version for the reason it has.

        Returns:
            How many answers are stale now.
        """
        outdated = (
            select(jobs.c.id, jobs.c.state)
            .where(
                jobs.c.profile_id == assignment.profile_id,
                jobs.c.version_id != assignment.version_id,
                jobs.c.state != JobState.LEASED,
                ~is_decided(STANDING),
                lies_in([scope]),
            )
            .order_by(jobs.c.id)
            .limit(chunk)
        )
        total = last = 0
        while rows := await self._read_rows(outdated.where(jobs.c.id > last)):
            async with self._database.write() as connection:
                await connection.execute(
                    update(jobs)
                    .where(
                        among(connection, jobs.c.id, [row.id for row in rows]),
                        # somebody may have claimed or approved it since we looked
                        jobs.c.state != JobState.LEASED,
                        ~is_decided(STANDING),
                    )
                    .values(
                        **AS_NEW, version_id=assignment.version_id, reason=_REASON_WHEN_OUTDATED
                    )
                )
            total += sum(row.state in {JobState.DONE, JobState.SKIPPED} for row in rows)
            last = rows[-1].id
            self._walk = Walk()
        return total

    @patient
    async def count_wanted(self, scopes: Sequence[Scope], assignment: Assignment) -> int:
        """How many images this run is still about, those that are claimed included."""
        return await count_wanted(
            self._database, scopes, assignment, self._selection, is_begun=True, ids=self._ids
        )

    def _line_for(self, assignment: Assignment) -> Line:
        return Line(
            assignment=assignment,
            selection=self._selection,
            ids=self._ids,
        )

    def look_again(self) -> None:
        """Some may have come to wait behind where the claims are: begin from the start."""
        self._walk = Walk()

    @patient
    async def hurry_copies(self) -> int:
        """End the waits for a batch to come home; return how many."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(jobs).where(job_is_pending, _waits_for_batch()).values(not_before=0)
            )
        if done.rowcount:
            self._walk = Walk()
        return done.rowcount

    @patient
    async def count_copies(self) -> int:
        """How many wait for a batch to come home, because it holds the same picture."""
        query = select(func.count()).select_from(jobs).where(job_is_pending, _waits_for_batch())
        async with self._database.read() as connection:
            return await connection.scalar(query) or 0

    async def _read_rows(self, query: Select[Any]) -> Sequence[Any]:
        async with self._database.read() as connection:
            found: Sequence[Any] = (await connection.execute(query)).all()
        return found

    async def _claim_onwards(
        self, line: Line, scopes: Sequence[Scope], limit: int, now_ms: int
    ) -> list[ClaimedJob]:
        """Claim from where the last claim ended."""
        walk, reached = self._walk, dict[Lane, Position]()
        lanes = list(line.lanes(scopes, is_turn_of_due=walk.is_turn_of_due(now_ms)))

        def claim(connection: Connection) -> list[ClaimedJob]:
            leased: list[Any] = []
            for lane in lanes:
                room = limit - len(leased)
                after = walk.reached.get(lane)
                found = self._lease(
                    connection, line.select_ready(connection, lane, after, now_ms).limit(room)
                )
                leased += found
                is_full = len(found) == room
                if lane.is_walked:
                    reached[lane] = (
                        max((row.not_before, row.id) for row in found)
                        if is_full
                        else line.find_end(connection, lane, now_ms)
                    )
                if is_full:
                    break
            return _read_claimed(connection, leased)

        claimed = await self._database.transact(claim)
        walk.note(reached, now_ms)
        return claimed

    def _lease(self, connection: Connection, ready: Select[Any]) -> Sequence[Any]:
        # a CTE is evaluated once; a subquery in IN may be run again and lock more than asked
        chosen = ready.with_for_update(skip_locked=True, of=jobs).cte("ready")
        lease = (
            update(jobs)
            .where(jobs.c.id.in_(select(chosen.c.id)))
            .values(state=JobState.LEASED, run_id=self._run)
            .returning(
                jobs.c.id,
                jobs.c.image_id,
                jobs.c.attempts,
                jobs.c.not_before,
                jobs.c.tried_since,
                jobs.c.next_step,
            )
        )
        return sorted(connection.execute(lease), key=itemgetter(3, 0))


def _waits_for_batch() -> ColumnElement[bool]:
    return jobs.c.not_before >= _UNTIL_NEWS_MS


# What waits has its reason already; what had failed has no answer that could be stale.
_REASON_WHEN_OUTDATED = case(
    (jobs.c.state == JobState.PENDING, jobs.c.reason),
    (jobs.c.state == JobState.FAILED, Reason.FAILED.value),
    else_=Reason.STALE.value,
)


def _read_claimed(connection: Connection, rows: Sequence[Any]) -> list[ClaimedJob]:
    found = _READ_IMAGES.run(connection, [row.image_id for row in rows])
    images_by_id = {id_: (uri, size, version) for id_, uri, size, version in found}
    claimed = []
    for id_, image_id, attempts_so_far, _, tried_since, next_step in rows:
        uri, size, version = images_by_id[image_id]
        claimed.append(
            ClaimedJob(
                id=JobId(id_),
                image_id=ImageId(image_id),
                image=ImageRef(uri=uri, size=size, version=version),
                attempts=attempts_so_far,
                tried_since_ms=tried_since,
                next_step=next_step,
            )
        )
    return claimed


_READ_IMAGES = Lookup(
    lambda among: select(images.c.id, images.c.uri, images.c.size, images.c.version).where(
        among(images.c.id)
    )
)


async def count_wanted(
    database: Database,
    scopes: Sequence[Scope],
    assignment: Assignment,
    selection: Selection,
    *,
    is_begun: bool,
    ids: Sequence[JobId] | None = None,
) -> int:
    """How many images a run with this selection is about.

    Before it has begun, those that wait and those it will put back; then, those that wait and
    those that are claimed. With ``ids``, only those of these jobs.
    """
    states = (JobState.PENDING, JobState.LEASED) if is_begun else (JobState.PENDING,)
    async with database.read() as connection:
        is_wanted = and_(
            jobs.c.version_id == assignment.version_id,
            jobs.c.state.in_(states),
            *waits_for(connection, selection),
        )
        if selection.wants_failed and not is_begun:
            will_be_put_back = and_(
                jobs.c.profile_id == assignment.profile_id,
                jobs.c.state.in_(selection.ends),
                *meets(connection, selection),
            )
            is_wanted = or_(is_wanted, will_be_put_back)
        query = select(func.count()).select_from(jobs).where(is_wanted, lies_in(scopes))
        if ids is not None:
            query = query.where(among(connection, jobs.c.id, ids))
        return await connection.scalar(query) or 0
