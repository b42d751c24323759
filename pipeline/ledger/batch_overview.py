"""Batches as whoever looks at a ledger sees them: how they stand and who looks after them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, false, func, or_, select

from pipeline.domain.batches import BatchId, BatchState
from pipeline.domain.jobs import ProfileId
from pipeline.ledger.batches import Batch, read_batch
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.database import Database
from pipeline.ledger.processes import is_dead
from pipeline.ledger.tables import (
    attempt_is_open,
    attempts,
    batch_is_live,
    batches,
    profile_versions,
    runs,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """One batch, as it stood when it was last heard of."""

    batch: Batch
    lines: int
    """Those written so far where its file is not whole yet."""
    keeper: str | None
    """The living run that looks after it, for people; None when it is left to the next."""
    is_unknown: bool = False
    """The server was asked, and does not know it any more."""


async def view_batches(
    database: Database,
    *,
    now_ms: int,
    ids: Sequence[BatchId] = (),
    has_over: bool = False,
) -> list[BatchView]:
    """The batches of a ledger, oldest first.

    Args:
        database: the ledger.
        now_ms: the ledger's time.
        ids: these, too, although they are over.
        has_over: all that are over, too.
    """
    wanted: ColumnElement[bool] = or_(batch_is_live, batches.c.id.in_(ids) if ids else false())
    query = _VIEWS if has_over else _VIEWS.where(wanted)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    views = []
    for row in rows:
        is_kept = row.ended_at is None and row.run_ended_at is None and not is_dead(row, now_ms)
        views.append(
            BatchView(
                batch=read_batch(row),
                lines=row.lines_so_far,
                keeper=f"run {row.run_id} (process {row.pid} on {_name(row.host)})"
                if is_kept
                else None,
            )
        )
    return views


async def find_assignment(database: Database, batch: Batch) -> Assignment:
    """The profile that a batch asks under."""
    query = select(profile_versions.c.profile_id).where(profile_versions.c.id == batch.version_id)
    async with database.read() as connection:
        profile_id = (await connection.execute(query)).scalar_one()
    return Assignment(profile_id=ProfileId(profile_id), version_id=batch.version_id)


def _name(host: str) -> str:
    """Without its process namespace."""
    return host.split(" ", 1)[0]


_WRITTEN = (
    select(func.count())
    .where(attempt_is_open, attempts.c.batch_id == batches.c.id)
    .correlate(batches)
    .scalar_subquery()
)
_VIEWS = (
    select(
        batches,
        case((batches.c.state == BatchState.PACKING, _WRITTEN), else_=batches.c.lines).label(
            "lines_so_far"
        ),
        runs.c.host,
        runs.c.pid,
        runs.c.process_started,
        runs.c.lease_until,
        runs.c.ended_at.label("run_ended_at"),
    )
    .join(runs, runs.c.id == batches.c.run_id)
    .order_by(batches.c.id)
)
