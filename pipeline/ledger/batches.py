"""Batches on record: each step before it is taken or once it is done, so that none is lost."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, CursorResult, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.batches import BatchId, BatchReport, BatchState
from pipeline.domain.errors import BatchTaken
from pipeline.domain.jobs import JobState, RunId
from pipeline.domain.outcomes import Cause
from pipeline.ledger.batch_lines import LineBook
from pipeline.ledger.database import Database
from pipeline.ledger.patience import patient
from pipeline.ledger.processes import OWNER, is_over
from pipeline.ledger.tables import (
    attempt_is_open,
    attempts,
    batch_is_live,
    batches,
    job_is_leased,
    jobs,
    runs,
)

_TOKEN_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as it stands on record."""

    id: BatchId
    token: str
    """In the name of its file and in its metadata at the server."""
    run_id: RunId
    version_id: int
    account: str
    endpoint: str
    """The server, as users may see it."""
    path: str
    model: str
    state: BatchState
    file: Path
    sha256: bytes | None
    lines: int
    bytes: int
    tokens: int
    """Of input, as expected: what it takes of the quota for what waits at the server."""
    input_file: str | None
    remote_id: str | None
    remote_state: str | None
    completed: int
    failed: int
    not_before_ms: int
    opened_at_ms: int
    submitted_at_ms: int | None
    ended_at_ms: int | None
    message: str | None

    @property
    def unanswered(self) -> int:
        return max(0, self.lines - self.completed - self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlace:
    """Where the lines of a batch go, and what they ask."""

    version_id: int
    account: str
    endpoint: str
    path: str
    model: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A batch's file, once it is whole."""

    sha256: bytes
    lines: int
    bytes: int
    tokens: int


class BatchBook(LineBook):
    """The batches of one run, and those it takes over from runs that are over."""

    def __init__(self, database: Database, run: RunId) -> None:
        super().__init__(database)
        self._run = run

    @patient
    async def open(self, place: BatchPlace, *, now_ms: int) -> Batch:
        """Begin a batch: its lines may be opened as attempts, and written."""
        token = secrets.token_hex(_TOKEN_BYTES)
        async with self._database.write() as connection:
            made = await connection.execute(
                insert(batches)
                .values(
                    token=token,
                    run_id=self._run,
                    version_id=place.version_id,
                    account=place.account,
                    endpoint=place.endpoint,
                    path=place.path,
                    model=place.model,
                    state=BatchState.PACKING,
                    file=str((place.folder / f"tagpipe-{token}.jsonl").absolute()),
                    opened_at=now_ms,
                )
                .returning(batches)
            )
            return read_batch(made.one())

    async def seal(self, batch: BatchId, sealed: Sealed) -> Batch:
        """The file is whole and on the disk."""
        return await self._move(
            batch,
            {
                "state": BatchState.PACKED,
                "sha256": sealed.sha256,
                "lines": sealed.lines,
                "bytes": sealed.bytes,
                "tokens": sealed.tokens,
            },
        )

    async def note_uploaded(self, batch: BatchId, input_file: str) -> Batch:
        """The server has the file."""
        return await self._move(batch, {"state": BatchState.UPLOADED, "input_file": input_file})

    async def note_submitting(self, batch: BatchId) -> Batch:
        """The server is about to be told: from now on it is asked before it is told again."""
        return await self._move(batch, {"state": BatchState.SUBMITTING, "message": None})

    async def note_submitted(self, batch: BatchId, remote_id: str, *, now_ms: int) -> Batch:
        """The server works on it."""
        return await self._move(
            batch, {"state": BatchState.SUBMITTED, "remote_id": remote_id, "submitted_at": now_ms}
        )

    async def note_report(self, batch: BatchId, report: BatchReport) -> Batch:
        """What the server says of it."""
        return await self._move(
            batch,
            {"remote_state": report.state, "completed": report.completed, "failed": report.failed},
        )

    async def put_off(self, batch: BatchId, *, not_before_ms: int, message: str) -> Batch:
        """The server took none of it: it is to be told again, not before the time given."""
        return await self._move(
            batch,
            {
                "state": BatchState.UPLOADED,
                "remote_id": None,
                "remote_state": None,
                "submitted_at": None,
                "completed": 0,
                "failed": 0,
                "not_before": not_before_ms,
                "message": message,
            },
        )

    async def close(self, batch: BatchId, *, now_ms: int) -> Batch:
        """All that came of it is settled."""
        return await self._move(batch, {"state": BatchState.HARVESTED, "ended_at": now_ms})

    @patient
    async def discard(self, batch: BatchId, *, now_ms: int, message: str = "") -> int:
        """Forget a batch that was never worked on: its pictures wait again; return how many."""
        is_line = self._of_ours(batch)
        async with self._database.overhaul() as connection:
            freed = await self._free(connection, *is_line)
            # nothing was sent, so there was no attempt
            await connection.execute(delete(attempts).where(*is_line))
            await self._end(
                connection, batch, state=BatchState.DISCARDED, now_ms=now_ms, message=message
            )
        return freed

    @patient
    async def lose(self, batch: BatchId, *, now_ms: int, message: str = "") -> int:
        """Forget a batch whose answers nobody will read: its pictures wait again; return how many.

        Its lines may have been billed: they stay on record as lost, and the worst that each can
        have cost is held against the caps.
        """
        is_line = self._of_ours(batch)
        async with self._database.overhaul() as connection:
            freed = await self._free(connection, *is_line)
            await connection.execute(
                update(attempts)
                .where(*is_line)
                .values(state="lost", cause=Cause.LOST, settled_at=now_ms)
            )
            await self._end(
                connection, batch, state=BatchState.FORGOTTEN, now_ms=now_ms, message=message
            )
        return freed

    def _of_ours(self, batch: BatchId) -> tuple[ColumnElement[bool], ...]:
        """The open lines of a batch; not those that went to another run together with it."""
        return (attempts.c.batch_id == batch, attempts.c.run_id == self._run, attempt_is_open)

    async def _end(
        self,
        connection: AsyncConnection,
        batch: BatchId,
        *,
        state: BatchState,
        now_ms: int,
        message: str,
    ) -> None:
        await connection.execute(
            update(batches)
            .where(batches.c.id == batch, batches.c.run_id == self._run)
            .values(state=state, ended_at=now_ms, message=message or None)
        )

    async def _free(self, connection: AsyncConnection, *is_line: ColumnElement[bool]) -> int:
        freed = await connection.execute(
            update(jobs)
            .where(
                job_is_leased,
                jobs.c.run_id == self._run,
                jobs.c.id.in_(select(attempts.c.job_id).where(*is_line)),
            )
            .values(state=JobState.PENDING, run_id=None)
        )
        return freed.rowcount

    async def adopt(self, account: str, *, path: str | None = None, now_ms: int) -> list[Batch]:
        """Take over the batches of runs that are over or dead; return all that are ours now.

        Args:
            account: of server and key: only with the same one is a batch seen again.
            path: only those whose lines ask this: answers of others are not understood.
            now_ms: by the run's clock.
        """
        await self.take_over(account, path=path, now_ms=now_ms)
        return await self.list_ours()

    @patient
    async def take_over(self, account: str, *, path: str | None = None, now_ms: int) -> list[Batch]:
        """The same, in a run that has batches of its own: return those that were taken."""
        owners = (
            select(*OWNER)
            .join(batches, batches.c.run_id == runs.c.id)
            .where(*_of_account(account, path), runs.c.id != self._run)
            .distinct()
        )
        async with self._database.read() as connection:
            found = (await connection.execute(owners)).all()
        dead = [row.id for row in found if is_over(row, now_ms)]
        if not dead:
            return []
        async with self._database.overhaul() as connection:
            taken = await self._take(connection, _of_account(account, path), dead)
        return await self._list(batches.c.id.in_(taken)) if taken else []

    async def _take(
        self,
        connection: AsyncConnection,
        meant: Sequence[ColumnElement[bool]],
        dead: Sequence[int],
    ) -> list[int]:
        taken = await connection.execute(
            update(batches)
            .where(*meant, batches.c.run_id.in_(dead))
            .values(run_id=self._run)
            .returning(batches.c.id)
        )
        ids = list(taken.scalars())
        if not ids:  # another run was faster
            return []
        is_line = (attempt_is_open, attempts.c.batch_id.in_(ids))
        await connection.execute(
            update(jobs)
            .where(
                job_is_leased,
                jobs.c.run_id.in_(dead),
                jobs.c.id.in_(select(attempts.c.job_id).where(*is_line)),
            )
            .values(run_id=self._run)
        )
        await connection.execute(update(attempts).where(*is_line).values(run_id=self._run))
        return ids

    @patient
    async def count_ownerless(self) -> int:
        """Batches that are not over and whose run is: nobody looks after them."""
        query = (
            select(func.count())
            .select_from(batches)
            .join(runs, runs.c.id == batches.c.run_id)
            .where(batch_is_live, runs.c.ended_at.is_not(None))
        )
        async with self._database.read() as connection:
            return await connection.scalar(query) or 0

    async def list_ours(self) -> list[Batch]:
        """This run's batches that are not over, oldest first."""
        return await self._list(batches.c.run_id == self._run)

    @patient
    async def read(self, batch: BatchId) -> Batch:
        """How it stands on record."""
        async with self._database.read() as connection:
            return read_batch(
                (await connection.execute(select(batches).where(batches.c.id == batch))).one()
            )

    @patient
    async def _list(self, *conditions: Any) -> list[Batch]:
        query = select(batches).where(batch_is_live, *conditions).order_by(batches.c.id)
        async with self._database.read() as connection:
            return [read_batch(row) for row in (await connection.execute(query)).all()]

    @patient
    async def _move(self, batch: BatchId, values: Mapping[str, Any]) -> Batch:
        """Write a step of a batch, if it is still ours.

        Raises:
            BatchTaken: it is not: what we would do next somebody else does.
        """
        async with self._database.write() as connection:
            moved: CursorResult[Any] = await connection.execute(
                update(batches)
                .where(batches.c.id == batch, batches.c.run_id == self._run)
                .values(**values)
                .returning(batches)
            )
            row = moved.one_or_none()
        if row is None:
            raise BatchTaken(
                f"another run took batch {batch} over and goes on with it: this process stood "
                "still for longer than its lease (ledger.lease_s)"
            )
        return read_batch(row)


def _of_account(account: str, path: str | None) -> tuple[ColumnElement[bool], ...]:
    meant = (batch_is_live, batches.c.account == account)
    return meant if path is None else (*meant, batches.c.path == path)


async def list_live(database: Database) -> list[Batch]:
    """All batches on a ledger that are not over, whosever they are."""
    query = select(batches).where(batch_is_live).order_by(batches.c.id)
    async with database.read() as connection:
        return [read_batch(row) for row in (await connection.execute(query)).all()]


def read_batch(row: Any) -> Batch:
    """A row of ``batches``."""
    return Batch(
        id=BatchId(row.id),
        token=row.token,
        run_id=RunId(row.run_id),
        version_id=row.version_id,
        account=row.account,
        endpoint=row.endpoint,
        path=row.path,
        model=row.model,
        state=BatchState(row.state),
        file=Path(row.file),
        sha256=bytes(row.sha256) if row.sha256 else None,
        lines=row.lines,
        bytes=row.bytes,
        tokens=row.tokens,
        input_file=row.input_file,
        remote_id=row.remote_id,
        remote_state=row.remote_state,
        completed=row.completed,
        failed=row.failed,
        not_before_ms=row.not_before,
        opened_at_ms=row.opened_at,
        submitted_at_ms=row.submitted_at,
        ended_at_ms=row.ended_at,
        message=row.message,
    )
