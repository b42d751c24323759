"""The tables, the same on SQLite and Postgres; ``migrations/`` is held equal by a test.

Times are integer milliseconds since 1970 UTC, money is integer nano-dollars, keys are sha256.
No image bytes and no secrets, ever.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from pipeline.domain.jobs import ReviewState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes a rowid alias only of INTEGER; Postgres needs 64 bits.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Instant = BigInteger


def _id() -> Column[int]:
    return Column("id", _Id, primary_key=True)


libraries = Table(
    "libraries",
    metadata,
    _id(),
    Column("root", Text, nullable=False, unique=True),
)

images = Table(
    "images",
    metadata,
    _id(),
    Column("library_id", _Id, ForeignKey("libraries.id"), nullable=False),
    Column("uri", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", LargeBinary),
    Column("format", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("found_in_run", _Id, nullable=False),
    Column("moved_from", _Id),
    Column("gone_at", _Instant),
)
Index("ix_images_sha256", images.c.sha256)
image_is_gone = images.c.gone_at.is_not(None)
# The few that are gone are subtracted from all: counting need not look at every image.
Index(
    "ix_images_gone_at",
    images.c.gone_at,
    sqlite_where=image_is_gone,
    postgresql_where=image_is_gone,
)
image_was_moved = images.c.moved_from.is_not(None)
Index(
    "ix_images_moved_from",
    images.c.moved_from,
    sqlite_where=image_was_moved,
    postgresql_where=image_was_moved,
)

profiles = Table(
    "profiles",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
)

profile_versions = Table(
    "profile_versions",
    metadata,
    _id(),
    Column("profile_id", _Id, ForeignKey("profiles.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("created_at", _Instant, nullable=False),
    UniqueConstraint("profile_id", "fingerprint"),
    UniqueConstraint("profile_id", "version"),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    Column("verb", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version_id", _Id, ForeignKey("profile_versions.id"), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text, nullable=False),
    Column("started_at", _Instant, nullable=False),
    Column("lease_until", _Instant, nullable=False),
    Column("ended_at", _Instant),
    Column("summary", Text),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("image_id", _Id, ForeignKey("images.id"), nullable=False),
    Column("profile_id", _Id, ForeignKey("profiles.id"), nullable=False),
    Column("library_id", _Id, ForeignKey("libraries.id"), nullable=False),
    Column("version_id", _Id, ForeignKey("profile_versions.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default="new"),
    Column("review", Text, nullable=False, server_default="none"),
    Column("run_id", _Id),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", _Instant, nullable=False, server_default="0"),
    Column("cause", Text),
    Column("message", Text),
    Column("result_id", _Id),
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost_nanos", BigInteger, nullable=False, server_default="0"),
    # an answer by a model without a known price: cost_nanos is then a lower bound
    Column("is_unpriced", Boolean, nullable=False, server_default=text("false")),
    Column("settled_at", _Instant),
    # when the first try since it last became pending was made
    Column("tried_since", _Instant),
    # what the next request for it is to be, where not just another try: more_room
    Column("next_step", Text),
    UniqueConstraint("image_id", "profile_id"),
)
# Literals, not bound parameters: SQLite matches a partial index only against a literal.
job_is_pending = jobs.c.state == literal_column("'pending'")
job_is_leased = jobs.c.state == literal_column("'leased'")


def is_decided(decisions: Sequence[ReviewState]) -> ColumnElement[bool]:
    """The condition that a person has decided on a job's answer, in one of these ways."""
    return jobs.c.review.in_([literal_column(f"'{decision}'") for decision in decisions])


# Claims read only this index: it holds nothing that is done, so it stays small as 'done' grows.
Index(
    "ix_jobs_ready",
    jobs.c.version_id,
    jobs.c.library_id,
    jobs.c.not_before,
    jobs.c.id,
    # last: a run that asks only for some reasons passes over the others without reading them
    jobs.c.reason,
    sqlite_where=job_is_pending,
    postgresql_where=job_is_pending,
)
Index(
    "ix_jobs_leased",
    jobs.c.run_id,
    sqlite_where=job_is_leased,
    postgresql_where=job_is_leased,
)

batches = Table(
    "batches",
    metadata,
    _id(),
    # in the name of its file and in its metadata at the server: how it is found again
    Column("token", Text, nullable=False, unique=True),
    # who looks after it; a run that ends or dies leaves it to the next
    Column("run_id", _Id, ForeignKey("runs.id"), nullable=False),
    Column("version_id", _Id, ForeignKey("profile_versions.id"), nullable=False),
    Column("account", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("sha256", LargeBinary),
    Column("lines", BigInteger, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    Column("input_file", Text),
    Column("remote_id", Text),
    Column("remote_state", Text),
    # of its lines, as the server counts while it works
    Column("completed", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    Column("not_before", _Instant, nullable=False, server_default="0"),
    Column("opened_at", _Instant, nullable=False),
    Column("submitted_at", _Instant),
    Column("ended_at", _Instant),
    Column("message", Text),
)
batch_is_live = batches.c.ended_at.is_(None)
Index(
    "ix_batches_live",
    batches.c.account,
    sqlite_where=batch_is_live,
    postgresql_where=batch_is_live,
)

attempts = Table(
    "attempts",
    metadata,
    # run id in the high bits, a counter below: known before the row is written
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("run_id", _Id, ForeignKey("runs.id"), nullable=False),
    Column("request_key", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("endpoint", Text),
    Column("model_asked", Text, nullable=False),
    Column("tier_asked", Text),
    # what it is among the requests for one picture: ask, repair, more_room, fallback
    Column("step", Text, nullable=False, server_default="ask"),
    # the most it can cost; what is lost may have been billed at up to that
    Column("reserved_nanos", BigInteger, nullable=False, server_default="0"),
    # the batch it goes in; None for a request of its own
    Column("batch_id", _Id),
    # what was expected (``domain.usage.Quote``)
    Column("picture_tokens", BigInteger, nullable=False, server_default="0"),
    Column("quoted_input", BigInteger, nullable=False, server_default="0"),
    Column("quoted_cached", BigInteger, nullable=False, server_default="0"),
    Column("quoted_output", BigInteger, nullable=False, server_default="0"),
    Column("quoted_nanos", BigInteger),
    Column("sent_bytes", BigInteger, nullable=False, server_default="0"),
    Column("original_bytes", BigInteger, nullable=False, server_default="0"),
    Column("original_tokens", BigInteger, nullable=False, server_default="0"),
    Column("model_answered", Text),
    Column("service_tier", Text),
    Column("cause", Text),
    Column("request_id", Text),
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("usage_is_estimated", Boolean, nullable=False, server_default=text("false")),
    Column("cost_nanos", BigInteger),
    Column("saved_nanos", BigInteger, nullable=False, server_default="0"),
    Column("opened_at", _Instant, nullable=False),
    Column("settled_at", _Instant),
)
attempt_is_open = attempts.c.state == literal_column("'open'")
attempt_is_unsettled = attempts.c.state != literal_column("'settled'")
attempt_is_follow_up = attempts.c.step != literal_column("'ask'")
attempt_is_in_batch = attempts.c.batch_id.is_not(None)

# One open request per question and picture, over all processes that share the ledger.
Index(
    "ix_attempts_open_request",
    attempts.c.request_key,
    unique=True,
    sqlite_where=attempt_is_open,
    postgresql_where=attempt_is_open,
)
Index(
    "ix_attempts_open_run",
    attempts.c.run_id,
    sqlite_where=attempt_is_open,
    postgresql_where=attempt_is_open,
)
Index(
    "ix_attempts_open_batch",
    attempts.c.batch_id,
    sqlite_where=attempt_is_open,
    postgresql_where=attempt_is_open,
)

# What is under way or was lost: all that is held against a cap beside what was spent.
Index(
    "ix_attempts_unsettled",
    attempts.c.opened_at,
    sqlite_where=attempt_is_unsettled,
    postgresql_where=attempt_is_unsettled,
)
Index(
    "ix_attempts_follow_up",
    attempts.c.run_id,
    attempts.c.step,
    sqlite_where=attempt_is_follow_up,
    postgresql_where=attempt_is_follow_up,
)

# What settled attempts add up to, kept with each of them: nobody has to read a million rows to
# know what was spent. A word that is not known is empty, for a key has no nulls.
spends = Table(
    "spends",
    metadata,
    # of the attempts' opening, since 1970 UTC
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("run_id", _Id, ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    Column("endpoint", Text, primary_key=True),
    Column("model_asked", Text, primary_key=True),
    Column("tier_asked", Text, primary_key=True),
    Column("model_answered", Text, primary_key=True),
    Column("tier_answered", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("answers", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nanos", BigInteger, nullable=False),
    Column("saved_nanos", BigInteger, nullable=False),
    # the most that answers without a price can have cost: for the caps
    Column("assumed_nanos", BigInteger, nullable=False),
    # what the requests were expected to cost; 0 for those without a price
    Column("quoted_nanos", BigInteger, nullable=False, server_default="0"),
    # of answered requests
    Column("sent_bytes", BigInteger, nullable=False, server_default="0"),
    Column("original_bytes", BigInteger, nullable=False, server_default="0"),
    # of answers about a picture whose tokens the server counted: what the original would have
    # taken, and enough for a regression of the input that was billed on what the formula said
    # of the picture
    Column("original_tokens", BigInteger, nullable=False, server_default="0"),
    Column("pictures", BigInteger, nullable=False, server_default="0"),
    Column("picture_tokens", BigInteger, nullable=False, server_default="0"),
    Column("picture_squares", BigInteger, nullable=False, server_default="0"),
    Column("picture_inputs", BigInteger, nullable=False, server_default="0"),
    Column("picture_products", BigInteger, nullable=False, server_default="0"),
)

# Processes at work and what they use of each key's rate, so that they share it.
pacers = Table(
    "pacers",
    metadata,
    Column("run_id", _Id, primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("use_per_second", Float, nullable=False),
    Column("is_hungry", Boolean, nullable=False),
    Column("seen_at", _Instant, nullable=False),
)

results = Table(
    "results",
    metadata,
    # the id of the attempt that brought the answer
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("request_key", LargeBinary, nullable=False, unique=True),
    Column("version_id", _Id, ForeignKey("profile_versions.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("confidence", Float),
    Column("created_at", _Instant, nullable=False),
)
# Counting answers by model would sort all of them without it.
Index("ix_results_model", results.c.model)

exports = Table(
    "exports",
    metadata,
    _id(),
    Column("destination", Text, nullable=False, unique=True),
    Column("format", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("finished_at", _Instant, nullable=False),
)
