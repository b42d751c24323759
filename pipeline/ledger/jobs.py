"""Jobs change hands: claim, reclaim, put back, mark stale."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Select, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.images import ImageId, ImageRef
from pipeline.domain.jobs import ClaimedJob, JobId, JobState, ReviewState, RunId
from pipeline.domain.outcomes import Cause
from pipeline.ledger.catalogue import AS_NEW, Assignment, Scope, in_scope
from pipeline.ledger.database import Database, among
from pipeline.ledger.patience import patient
from pipeline.ledger.tables import (
    attempt_is_open,
    attempts,
    images,
    job_is_leased,
    job_is_pending,
    jobs,
    runs,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "ProcessId":
        started, _ = read_process(os.getpid())
        return cls(host=read_host(), pid=os.getpid(), started=started)


def read_host() -> str:
    """This machine and its process namespace, beyond which a pid means nothing."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  no file
    except OSError:
        return socket.gethostname()


def read_process(pid: int) -> tuple[str, bool]:
    """Boot id and start tick of a process (empty when it is gone), and whether it is stopped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "", False
    facts = stat.rsplit(")", 1)[1].split()
    return f"{boot}:{facts[19]}", facts[0] in {"T", "t"}


class JobQueue:
    """Claims jobs for one run and gives back what dead runs held."""

    def __init__(self, database: Database, run: RunId) -> None:
        self._database = database
        self._run = run

    @patient
    async def claim(
        self, scopes: Sequence[Scope], assignment: Assignment, *, limit: int, now_ms: int
    ) -> list[ClaimedJob]:
        """Lease up to ``limit`` jobs that are due; nobody else can claim them meanwhile."""
        claimed: list[ClaimedJob] = []
        async with self._database.write() as connection:
            for scope in scopes:
                ready = _ready_jobs(scope, assignment, now_ms).limit(limit - len(claimed))
                claimed += await self._lease(connection, ready)
                if len(claimed) >= limit:
                    break
        return claimed

    @patient
    async def find_next_due(self, scopes: Sequence[Scope], assignment: Assignment) -> int | None:
        """When the next pending job may be claimed (ms); None when there is none."""
        due: list[int] = []
        async with self._database.read() as connection:
            for scope in scopes:
                query = _pending_jobs(scope, assignment, jobs.c.not_before)
                first = await connection.scalar(query.order_by(jobs.c.not_before).limit(1))
                due += [] if first is None else [first]
        return min(due, default=None)

    @patient
    async def release(self, *, now_ms: int) -> int:
        """Give back every job this run still holds; return how many."""
        async with self._database.write() as connection:
            return await _give_back(connection, [self._run], now_ms)

    @patient
    async def reclaim_dead(self, *, now_ms: int) -> int:
        """Give back what runs hold whose process is gone, whose lease ran out, or that ended."""
        columns = (runs.c.id, runs.c.host, runs.c.pid, runs.c.process_started, runs.c.lease_until,
                   runs.c.ended_at)  # fmt: skip
        holding = (
            select(jobs.c.run_id)
            .where(job_is_leased)
            .union(select(attempts.c.run_id).where(attempt_is_open))
        )
        query = select(*columns).where(
            runs.c.id != self._run, or_(runs.c.ended_at.is_(None), runs.c.id.in_(holding))
        )
        async with self._database.read() as connection:
            others = (await connection.execute(query)).all()
        dead = [row.id for row in others if row.ended_at is not None or _is_dead(row, now_ms)]
        if not dead:
            return 0
        async with self._database.write() as connection:
            returned = await _give_back(connection, dead, now_ms)
            await connection.execute(
                update(runs)
                .where(runs.c.id.in_(dead), runs.c.ended_at.is_(None))
                .values(state="died", ended_at=now_ms)
            )
        return returned

    @patient
    async def put_back(self, ids: Sequence[JobId]) -> int:
        """Make jobs that this run ended pending again, as if never tried."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(jobs)
                .where(among(connection, jobs.c.id, ids), jobs.c.state == JobState.FAILED)
                .values(**AS_NEW)
            )
        return done.rowcount

    @patient
    async def mark_stale(self, scope: Scope, assignment: Assignment, *, chunk: int = 5_000) -> int:
        """Put jobs answered under another version of the profile back to pending.

        The old answer stays until the new one is in. A person's decision is not overruled.
        """
        # EXISTS keeps the walk in order of the jobs: a join would sort the whole scope each time
        belongs = exists().where(
            images.c.id == jobs.c.image_id, images.c.gone_at.is_(None), in_scope(scope)
        )
        stale = (
            select(jobs.c.id)
            .where(
                jobs.c.profile_id == assignment.profile_id,
                jobs.c.version_id != assignment.version_id,
                jobs.c.state != JobState.LEASED,
                jobs.c.review.not_in((ReviewState.APPROVED, ReviewState.EDITED)),
                belongs,
            )
            .order_by(jobs.c.id)
            .limit(chunk)
        )
        total = last = 0
        while ids := await self._read_ids(stale.where(jobs.c.id > last)):
            async with self._database.write() as connection:
                await connection.execute(
                    update(jobs)
                    .where(among(connection, jobs.c.id, ids))
                    .values(**AS_NEW, version_id=assignment.version_id)
                )
            total, last = total + len(ids), ids[-1]
        return total

    async def _read_ids(self, query: Select[Any]) -> list[int]:
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def _lease(self, connection: AsyncConnection, ready: Select[Any]) -> list[ClaimedJob]:
        # a CTE is evaluated once; a subquery in IN may be run again and lock more than asked
        chosen = ready.with_for_update(skip_locked=True, of=jobs).cte("ready")
        taken = await connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(select(chosen.c.id)))
            .values(state=JobState.LEASED, run_id=self._run)
            .returning(jobs.c.id, jobs.c.image_id, jobs.c.attempts)
        )
        leased = {row.image_id: row for row in taken}
        if not leased:
            return []
        where = among(connection, images.c.id, list(leased))
        found = await connection.execute(
            select(images.c.id, images.c.uri, images.c.size, images.c.version).where(where)
        )
        return [
            ClaimedJob(
                id=JobId(leased[row.id].id),
                image_id=ImageId(row.id),
                image=ImageRef(uri=row.uri, size=row.size, version=row.version),
                attempts=leased[row.id].attempts,
            )
            for row in found
        ]


def _pending_jobs(scope: Scope, assignment: Assignment, *columns: Any) -> Select[Any]:
    query = select(*columns).where(
        jobs.c.version_id == assignment.version_id,
        jobs.c.library_id == scope.library_id,
        job_is_pending,
    )
    if scope.is_whole_library:
        return query
    return query.join(images, and_(images.c.id == jobs.c.image_id, in_scope(scope)))


def _ready_jobs(scope: Scope, assignment: Assignment, now_ms: int) -> Select[Any]:
    return (
        _pending_jobs(scope, assignment, jobs.c.id)
        .where(jobs.c.not_before <= now_ms)
        .order_by(jobs.c.not_before, jobs.c.id)
    )


async def _give_back(connection: AsyncConnection, dead: Sequence[int], now_ms: int) -> int:
    """Leased jobs become pending; requests whose end nobody recorded are lost."""
    await connection.execute(
        update(attempts)
        .where(attempts.c.run_id.in_(dead), attempt_is_open)
        .values(state="lost", cause=Cause.LOST, settled_at=now_ms)
    )
    done = await connection.execute(
        update(jobs)
        .where(job_is_leased, jobs.c.run_id.in_(dead))
        .values(state=JobState.PENDING, run_id=None)
    )
    return done.rowcount


def _is_dead(row: Any, now_ms: int) -> bool:
    """On our own host the process table decides: a lease runs out while a laptop sleeps.

    A process that is stopped, or on another host, is known by its lease alone.
    """
    if row.host != read_host() or not row.process_started:
        return bool(row.lease_until < now_ms)
    started, is_stopped = read_process(row.pid)
    if started != row.process_started:
        return True
    return bool(is_stopped and row.lease_until < now_ms)


async def put_back(
    database: Database,
    scopes: Sequence[Scope] | None,
    *,
    causes: Sequence[Cause] | None = None,
    states: Sequence[JobState] = (JobState.FAILED, JobState.SKIPPED),
    uri_like: str | None = None,
) -> int:
    """Make ended jobs pending again, as if never tried; return how many.

    Args:
        database: the ledger.
        scopes: parts of the ledger to look in; None for all.
        causes: only jobs that ended for one of these.
        states: only jobs in one of these.
        uri_like: only images whose uri matches this glob (``*`` and ``?``).
    """
    chosen: Select[Any] = select(jobs.c.id).join(images, images.c.id == jobs.c.image_id)
    chosen = chosen.where(jobs.c.state.in_(states), images.c.gone_at.is_(None))
    if scopes is not None:
        chosen = chosen.where(or_(*(in_scope(scope) for scope in scopes)))
    if causes is not None:
        chosen = chosen.where(jobs.c.cause.in_(causes))
    if uri_like is not None:
        chosen = chosen.where(images.c.uri.like(_like_of(uri_like), escape="\\"))
    async with database.write() as connection:
        done = await connection.execute(update(jobs).where(jobs.c.id.in_(chosen)).values(**AS_NEW))
    return done.rowcount


def _like_of(glob: str) -> str:
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
