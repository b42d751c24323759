"""Lines of batches whose answers are not settled yet."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, select

from pipeline.domain.images import ImageId, ImageRef
from pipeline.domain.jobs import AttemptId, ClaimedJob, JobId
from pipeline.domain.usage import NanoDollars, Quote
from pipeline.ledger.tables import attempt_is_open, attempts, images, jobs


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
