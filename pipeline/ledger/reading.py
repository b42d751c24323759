"""What the ledger can tell: counts, spend, failures, records. Reads only."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Select, and_, case, func, or_, select

from pipeline.domain.jobs import JobState
from pipeline.ledger.catalogue import Scope, in_scope
from pipeline.ledger.database import Database
from pipeline.ledger.tables import (
    attempts,
    exports,
    images,
    jobs,
    profile_versions,
    profiles,
    results,
    runs,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Requests, tokens and money over all attempts of a run or of the ledger."""

    requests: int
    answered: int
    lost: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanos: int


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

    async def count_jobs(
        self, scopes: Sequence[Scope] | None = None, *, profile: str | None = None
    ) -> dict[JobState, int]:
        """Jobs by state, of images that are present; every state has a count."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        query = _of_present(query, scopes)
        if profile is not None:
            named = select(profiles.c.id).where(profiles.c.name == profile).scalar_subquery()
            query = query.where(jobs.c.profile_id == named)
        async with self._database.read() as connection:
            found: dict[str, int] = dict((await connection.execute(query)).all())
        return {state: found.get(state, 0) for state in JobState}

    async def sum_spending(self, run_id: int | None = None) -> Spending:
        """All that was sent and paid, by one run or ever."""
        columns = attempts.c
        query = select(
            func.count(),
            func.count(columns.model_answered),
            _count_where(columns.state == "lost"),
            _count_where(and_(columns.state == "settled", columns.cost_nanos.is_(None))),
            func.coalesce(func.sum(columns.input_tokens), 0),
            func.coalesce(func.sum(columns.cached_tokens), 0),
            func.coalesce(func.sum(columns.output_tokens), 0),
            func.coalesce(func.sum(columns.reasoning_tokens), 0),
            func.coalesce(func.sum(columns.cost_nanos), 0),
        )
        if run_id is not None:
            query = query.where(columns.run_id == run_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one()
        return Spending(
            requests=row[0], answered=row[1], lost=row[2] or 0, unpriced=row[3] or 0,
            input_tokens=row[4], cached_tokens=row[5], output_tokens=row[6],
            reasoning_tokens=row[7], cost_nanos=int(row[8]),
        )  # fmt: skip

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

    async def list_exports(self) -> list[Mapping[str, Any]]:
        """What was written where, and when."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(exports).order_by(exports.c.destination))
            return [dict(row) for row in rows.mappings()]

    async def stream_rows(
        self, states: Sequence[str], scopes: Sequence[Scope] | None, *, profile: str | None = None
    ) -> AsyncIterator[Sequence[Any]]:
        """Rows for records, in order of image and profile, in chunks; memory stays flat."""
        query = _RECORD_ROWS.where(jobs.c.state.in_(states), images.c.gone_at.is_(None))
        if scopes is not None:
            query = query.where(or_(*(in_scope(scope) for scope in scopes)))
        if profile is not None:
            query = query.where(profiles.c.name == profile)
        image_id = job_id = 0
        async with self._database.read() as connection:
            while True:
                after = or_(
                    jobs.c.image_id > image_id,
                    and_(jobs.c.image_id == image_id, jobs.c.id > job_id),
                )
                rows = (await connection.execute(query.where(after))).all()
                if not rows:
                    return
                image_id, job_id = rows[-1].image_id, rows[-1].job_id
                yield rows

    async def read_definitions(self, profile: str | None = None) -> list[Mapping[str, Any]]:
        """The profiles as they were stored with each version, newest first."""
        query = select(profile_versions.c.definition).order_by(profile_versions.c.id.desc())
        if profile is not None:
            query = query.join(profiles, profiles.c.id == profile_versions.c.profile_id)
            query = query.where(profiles.c.name == profile)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [orjson.loads(definition) for definition in found]


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
    .limit(2_000)
)


def _count_where(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def _of_present(query: Select[Any], scopes: Sequence[Scope] | None) -> Select[Any]:
    query = query.join_from(jobs, images, images.c.id == jobs.c.image_id)
    query = query.where(images.c.gone_at.is_(None))
    return query if scopes is None else query.where(or_(*(in_scope(s) for s in scopes)))
