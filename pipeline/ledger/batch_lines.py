"""Lines of batches whose answers are not settled yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, func, select

from pipeline.domain.batches import BatchId
from pipeline.domain.images import ImageId, ImageRef
from pipeline.domain.jobs import AttemptId, ClaimedJob, JobId
from pipeline.domain.usage import NanoDollars, Quote
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import among
from pipeline.ledger.patience import patient
from pipeline.ledger.tables import (
    attempt_is_open,
    attempts,
    images,
    jobs,
    profile_versions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLine:
    """A line whose answer is not settled yet."""

    attempt_id: AttemptId
    job: ClaimedJob
    request_key: bytes
    step: str
    reserved_nanos: int
    quote: Quote


def read_open_line(row: Any) -> OpenLine:
    """A row of ``OPEN_LINES``."""
    return OpenLine(
        attempt_id=AttemptId(row.attempt_id),
        job=ClaimedJob(
            id=JobId(row.job_id),
            image_id=ImageId(row.image_id),
            image=ImageRef(uri=row.uri, size=row.size, version=row.version),
            attempts=row.attempts,
            tried_since_ms=row.tried_since,
            next_step=row.next_step,
        ),
        request_key=bytes(row.request_key),
        step=row.step,
        reserved_nanos=row.reserved_nanos,
        quote=Quote(
            picture_tokens=row.picture_tokens,
            input=row.quoted_input,
            cached=row.quoted_cached,
            output=row.quoted_output,
            cost=None if row.quoted_nanos is None else NanoDollars(row.quoted_nanos),
            sent_bytes=row.sent_bytes,
            original_bytes=row.original_bytes,
            original_tokens=row.original_tokens,
        ),
    )


OPEN_LINES: Final[Select[Any]] = (
    select(
        attempts.c.id.label("attempt_id"),
        attempts.c.request_key,
        attempts.c.step,
        attempts.c.reserved_nanos,
        attempts.c.quoted_input,
        attempts.c.quoted_cached,
        attempts.c.quoted_output,
        attempts.c.quoted_nanos,
        attempts.c.picture_tokens,
        attempts.c.sent_bytes,
        attempts.c.original_bytes,
        attempts.c.original_tokens,
        jobs.c.id.label("job_id"),
        jobs.c.image_id,
        jobs.c.attempts,
        jobs.c.tried_since,
        jobs.c.next_step,
        images.c.uri,
        images.c.size,
        images.c.version,
    )
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .join(images, images.c.id == jobs.c.image_id)
    .where(attempt_is_open)
)


class LineBook:
    """Reads the lines of batches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def sum_reserved(self, batch: BatchId) -> int:
        """The most that the open lines of one batch can cost, nano-dollars."""
        query = select(func.coalesce(func.sum(attempts.c.reserved_nanos), 0)).where(
            attempt_is_open, attempts.c.batch_id == batch
        )
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    @patient
    async def count_lines(self, batch: BatchId) -> int:
        """How many lines of a batch are still open."""
        query = (
            select(func.count())
            .select_from(attempts)
            .where(attempts.c.batch_id == batch, attempt_is_open)
        )
        async with self._database.read() as connection:
            return await connection.scalar(query) or 0

    @patient
    async def find_lines(
        self, batch: BatchId, ids: Sequence[AttemptId]
    ) -> Mapping[AttemptId, OpenLine]:
        """Of the lines of a batch with these ids, those that are still open."""
        async with self._database.read() as connection:
            wanted = among(connection, attempts.c.id, list(ids))
            is_meant = (attempts.c.batch_id == batch, wanted)
            rows = (await connection.execute(OPEN_LINES.where(*is_meant))).all()
        return {AttemptId(row.attempt_id): read_open_line(row) for row in rows}

    @patient
    async def list_lines(self, batch: BatchId, *, limit: int) -> list[OpenLine]:
        """The first open lines of a batch."""
        query = OPEN_LINES.where(attempts.c.batch_id == batch).order_by(attempts.c.id).limit(limit)
        async with self._database.read() as connection:
            return [read_open_line(row) for row in (await connection.execute(query)).all()]

    @patient
    async def read_profile(self, version_id: int) -> str:
        """The definition, as JSON, of the profile that a batch asked under."""
        query = select(profile_versions.c.definition).where(profile_versions.c.id == version_id)
        async with self._database.read() as connection:
            return str((await connection.execute(query)).scalar_one())
