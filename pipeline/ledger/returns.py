"""Jobs that wait again: what the dead held is given back, what had ended is put back."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.jobs import JobState, Reason
from pipeline.domain.outcomes import Cause
from pipeline.ledger.catalogue import AS_NEW, Scope
from pipeline.ledger.database import Database
from pipeline.ledger.selection import EVERYTHING, Selection, lies_in, meets
from pipeline.ledger.tables import (
    attempt_is_in_batch,
    attempt_is_open,
    attempts,
    job_is_leased,
    jobs,
    profiles,
)


async def give_back(connection: AsyncConnection, dead: Sequence[int], now_ms: int) -> int:
    """Leased jobs become pending; requests whose end nobody recorded are lost.

    What is in a batch stays there: the server answers it whoever waits, and who runs next takes
    the batch over (``ledger.batches``).
    """
    await connection.execute(
        update(attempts)
        .where(attempts.c.run_id.in_(dead), attempt_is_open, ~attempt_is_in_batch)
        .values(state="lost", cause=Cause.LOST, settled_at=now_ms)
    )
    in_batches = select(attempts.c.job_id).where(
        attempts.c.run_id.in_(dead), attempt_is_open, attempt_is_in_batch
    )
    done = await connection.execute(
        update(jobs)
        .where(job_is_leased, jobs.c.run_id.in_(dead), jobs.c.id.not_in(in_batches))
        .values(state=JobState.PENDING, run_id=None)
    )
    return done.rowcount


async def put_back(
    database: Database,
    selection: Selection = EVERYTHING,
    *,
    states: Sequence[JobState],
    profile: str | None = None,
) -> int:
    """Make ended jobs pending again, as if never tried; return how many.

    Args:
        database: the ledger.
        selection: only jobs that meet it; why they were asked about does not count.
        states: only jobs in one of these.
        profile: only jobs under the profile of this name.
    """
    asked: ColumnElement[bool] = true()
    if profile is not None:
        named = select(profiles.c.id).where(profiles.c.name == profile)
        asked = jobs.c.profile_id == named.scalar_subquery()
    async with database.overhaul() as connection:
        return await put_back_chosen(connection, None, selection, asked, states=states)


async def put_back_chosen(
    connection: AsyncConnection,
    scopes: Sequence[Scope] | None,
    selection: Selection,
    asked: ColumnElement[bool],
    *,
    states: Sequence[JobState],
) -> int:
    done = await connection.execute(
        update(jobs)
        .where(jobs.c.state.in_(states), asked, lies_in(scopes), *meets(connection, selection))
        .values(**AS_NEW, reason=Reason.FAILED)
    )
    return done.rowcount
