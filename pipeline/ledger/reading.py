"""What the ledger can tell: counts, spend, failures, records. Reads only."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    union_all,
)

from pipeline.domain.jobs import JobState, Reason
from pipeline.ledger import sums
from pipeline.ledger.batch_overview import BatchView, view_batches
from pipeline.ledger.catalogue import Scope, in_scope
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import among
from pipeline.ledger.patience import patient
from pipeline.ledger.sums import Drift, PeriodSpending, Share, Spending
from pipeline.ledger.tables import (
    exports,
    image_is_gone,
    image_was_moved,
    images,
    job_is_pending,
    jobs,
    profile_versions,
    profiles,
    results,
    runs,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Departures:
    """Images that are not where they were."""

    gone: int
    moved: int
    """Present ones that were found when an equal one was gone: a rename, most likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Images that ended without an answer for the same cause."""

    cause: str
    state: str
    count: int
    examples: tuple[tuple[str, str], ...]
    """Some uris with their messages."""


class LedgerReader:
    """Queries for people, exports and pages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def count_jobs(
        self, scopes: Sequence[Scope] | None = None, *, profile: str | None = None
    ) -> dict[JobState, int]:
        """Jobs by state, of images that are present; every state has a count."""
        asked = _of_profile(profile)
        async with self._database.read() as connection:
            if scopes is None:
                rows = (await connection.execute(_count_all(asked))).all()
                found = _add_up([(kind, state, count) for kind, state, count in rows])
            else:
                query = select(jobs.c.state, func.count()).group_by(jobs.c.state).where(*asked)
                found = dict((await connection.execute(_of_present(query, scopes))).all())
        return {state: found.get(state, 0) for state in JobState}

    async def count_waiting(
        self, scopes: Sequence[Scope] | None = None, *, profile: str | None = None
    ) -> dict[Reason, int]:
        """Pending jobs by why they are to be asked; every reason has a count."""
        asked = (job_is_pending, *_of_profile(profile))
        by_reason = select(jobs.c.reason, func.count()).group_by(jobs.c.reason).where(*asked)
        found: Counter[str] = Counter()
        async with self._database.read() as connection:
            if scopes is None:
                # the index holds nothing but what is pending, and the gone ones are few
                found.update(dict((await connection.execute(by_reason)).all()))
                gone = by_reason.where(jobs.c.image_id.in_(_GONE))
                found.subtract(dict((await connection.execute(gone)).all()))
            else:
                rows = await connection.execute(_of_present(by_reason, scopes))
                found.update(dict(rows.all()))
        return {reason: found[reason] for reason in Reason}

    async def count_departures(self, scopes: Sequence[Scope] | None = None) -> Departures:
        """Images that are gone from where they were, and those that came from elsewhere."""
        where = () if scopes is None else (or_(*(in_scope(scope) for scope in scopes)),)
        count = select(func.count()).select_from(images).where(*where)
        async with self._database.read() as connection:
            return Departures(
                gone=await connection.scalar(count.where(image_is_gone)) or 0,
                moved=await connection.scalar(
                    count.where(image_was_moved, images.c.gone_at.is_(None))
                )
                or 0,
            )

    async def sum_spending(self, run_id: int | None = None) -> Spending:
        """All that was sent and paid, by one run or ever."""
        return await self._read(lambda connection: sums.sum_spending(connection, run_id))

    async def list_shares(self, run_id: int | None = None) -> Sequence[Share]:
        """Answers of one run or ever, by who was asked and answered; the most first."""
        return await self._read(lambda connection: sums.list_shares(connection, run_id))

    async def measure_drift(self) -> Sequence[Drift]:
        """What models count of pictures, against the formula."""
        return await self._read(sums.measure_drift)

    async def sum_period(self, now_ms: int) -> PeriodSpending:
        """What all runs spent and hold since the UTC day and month of a moment began."""
        return await self._read(lambda connection: sums.sum_periods(connection, now_ms))

    async def count_steps(self, run_id: int | None = None) -> dict[str, int]:
        """Requests that followed another one for the same picture, by why; each has a count."""
        return await self._read(lambda connection: sums.count_steps(connection, run_id))

    async def group_failures(
        self, scopes: Sequence[Scope] | None = None, *, examples: int = 3
    ) -> list[FailureGroup]:
        """Failed and skipped images by cause, the most frequent first."""
        ended = jobs.c.state.in_((JobState.FAILED, JobState.SKIPPED))
        counts = select(jobs.c.cause, jobs.c.state, func.count().label("n")).where(ended)
        counts = _of_present(counts, scopes).group_by(jobs.c.cause, jobs.c.state)
        groups = []
        async with self._database.read() as connection:
            for cause, state, count in (await connection.execute(counts)).all():
                some = select(images.c.uri, jobs.c.message).where(
                    ended, jobs.c.cause == cause, jobs.c.state == state
                )
                some = _of_present(some, scopes).limit(examples)
                shown = (await connection.execute(some)).all()
                groups.append(
                    FailureGroup(
                        cause=cause,
                        state=state,
                        count=count,
                        examples=tuple((row.uri, row.message or "") for row in shown),
                    )
                )
        return sorted(groups, key=lambda group: (-group.count, group.cause))

    async def list_runs(self, *, limit: int = 1) -> list[Mapping[str, Any]]:
        """The latest runs, newest first, with their profile and closing summary."""
        query = (
            select(runs, profiles.c.name.label("profile"), profile_versions.c.version,
                   profile_versions.c.model)
            .join(profile_versions, profile_versions.c.id == runs.c.version_id)
            .join(profiles, profiles.c.id == profile_versions.c.profile_id)
            .order_by(runs.c.id.desc())
            .limit(limit)
        )  # fmt: skip
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            {**row, "summary": orjson.loads(row["summary"]) if row["summary"] else None}
            for row in rows
        ]

    async def count_models(self) -> dict[str, int]:
        """Answers by the model that gave them."""
        query = select(results.c.model, func.count()).group_by(results.c.model)
        async with self._database.read() as connection:
            return dict((await connection.execute(query)).all())

    async def list_batches(self, now_ms: int) -> Sequence[BatchView]:
        """Those that are not over, as they stood when they were last heard of."""
        return await view_batches(self._database, now_ms=now_ms)

    async def list_exports(self) -> list[Mapping[str, Any]]:
        """What was written where, and when."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(exports).order_by(exports.c.destination))
            return [dict(row) for row in rows.mappings()]

    async def stream_rows(
        self, states: Sequence[str], scopes: Sequence[Scope] | None, *, profile: str | None = None
    ) -> AsyncIterator[Sequence[Any]]:
        """Rows for records, in order of image and profile, in chunks; memory stays flat."""
        chosen = (
            select(jobs.c.id)
            .join(images, images.c.id == jobs.c.image_id)
            .where(jobs.c.state.in_(states), images.c.gone_at.is_(None), *_of_profile(profile))
            .order_by(jobs.c.image_id, jobs.c.id)
            .limit(_CHUNK_ROWS)
        )
        if scopes is not None:
            chosen = chosen.where(or_(*(in_scope(scope) for scope in scopes)))
        image_id = job_id = 0
        async with self._database.read() as connection:
            while True:
                # the bound that an index can use stands alone: no database finds it in an OR
                after = and_(
                    jobs.c.image_id >= image_id,
                    or_(jobs.c.image_id > image_id, jobs.c.id > job_id),
                )
                # Postgres would join all there is before it takes the first few
                page = chosen.where(after).subquery()
                query = _RECORD_ROWS.join(page, page.c.id == jobs.c.id)
                rows = (await connection.execute(query)).all()
                if not rows:
                    return
                image_id, job_id = rows[-1].image_id, rows[-1].job_id
                yield rows

    async def stream_jobs(self, ids: Sequence[int]) -> AsyncIterator[Sequence[Any]]:
        """Rows for records of these jobs, whatever became of them, in their order, in chunks.

        Each with the size and version of its file beside it, as they were listed.
        """
        ordered = sorted(ids)
        query = _RECORD_ROWS.add_columns(images.c.size, images.c.version)
        query = query.order_by(None).order_by(jobs.c.id)
        for first in range(0, len(ordered), _CHUNK_ROWS):
            chunk = ordered[first : first + _CHUNK_ROWS]
            async with self._database.read() as connection:
                yield (
                    await connection.execute(query.where(among(connection, jobs.c.id, chunk)))
                ).all()

    async def read_definitions(self, profile: str | None = None) -> list[Mapping[str, Any]]:
        """The profiles as they were stored with each version, newest first."""
        query = select(profile_versions.c.definition).order_by(profile_versions.c.id.desc())
        if profile is not None:
            query = query.join(profiles, profiles.c.id == profile_versions.c.profile_id)
            query = query.where(profiles.c.name == profile)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [orjson.loads(definition) for definition in found]

    async def _read(self, work: Callable[[Connection], T]) -> T:
        async with self._database.read() as connection:
            return await connection.run_sync(work)


_RECORD_ROWS: Select[Any] = (
    select(
        jobs.c.id.label("job_id"),
        jobs.c.image_id,
        images.c.uri,
        images.c.sha256,
        images.c.width,
        images.c.height,
        images.c.format,
        profiles.c.name.label("profile"),
        profile_versions.c.version.label("profile_version"),
        results.c.model,
        jobs.c.state,
        results.c.answer,
        results.c.tags,
        results.c.confidence,
        jobs.c.review,
        jobs.c.input_tokens,
        jobs.c.cached_tokens,
        jobs.c.output_tokens,
        jobs.c.cost_nanos,
        jobs.c.is_unpriced,
        jobs.c.settled_at,
        jobs.c.cause,
        jobs.c.message,
    )
    .join(images, images.c.id == jobs.c.image_id)
    .join(profiles, profiles.c.id == jobs.c.profile_id)
    .join(results, results.c.id == jobs.c.result_id, isouter=True)
    # while a new version is being asked, the answer is still the old version's
    .join(
        profile_versions,
        profile_versions.c.id == func.coalesce(results.c.version_id, jobs.c.version_id),
    )
    .order_by(jobs.c.image_id, jobs.c.id)
)
_CHUNK_ROWS: Final = 2_000


def _of_profile(profile: str | None) -> tuple[ColumnElement[bool], ...]:
    if profile is None:
        return ()  # a condition that is always true would make SQLite look at every row
    named = select(profiles.c.id).where(profiles.c.name == profile).scalar_subquery()
    return (jobs.c.profile_id == named,)


_GONE: Select[Any] = select(images.c.id).where(image_is_gone)


def _count_all(asked: Sequence[ColumnElement[bool]]) -> CompoundSelect[Any]:
    """Rows of kind, state and count for ``_add_up``; one statement, so of one moment.

    Reading the state of every job takes several times as long as counting them.
    """
    state, count = jobs.c.state, func.count()
    # a join would look at every job: SQLite does not know how few images are gone
    is_gone = jobs.c.image_id.in_(_GONE)
    return union_all(
        select(literal("all"), literal(JobState.DONE.value), count).select_from(jobs).where(*asked),
        select(literal("not done"), state, count)
        .where(*asked, state != JobState.DONE)
        .group_by(state),
        select(literal("gone"), state, count).where(*asked, is_gone).group_by(state),
    )


def _add_up(rows: Sequence[tuple[str, str, int]]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for kind, state, count in rows:
        found[state] += -count if kind == "gone" else count
        if kind == "not done":
            found[JobState.DONE] -= count
    return found


def _of_present(query: Select[Any], scopes: Sequence[Scope] | None) -> Select[Any]:
    query = query.join_from(jobs, images, images.c.id == jobs.c.image_id)
    query = query.where(images.c.gone_at.is_(None))
    return query if scopes is None else query.where(or_(*(in_scope(s) for s in scopes)))
