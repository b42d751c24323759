"""What must be true of every ledger at any moment, as queries that find what is not."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.domain.batches import BatchState
from pipeline.domain.jobs import JobState, Reason, ReviewState

RESTORE: Final = (
    "restore a backup, docs/operations.md says how; if the disk is sound, this is a bug: "
    "please report it"
)
_TAKES_OVER: Final = "`tagpipe tag` takes them over"


_IN_BATCH: Final = (
    "SELECT 1 FROM attempts WHERE attempts.state = 'open' AND attempts.batch_id IS NOT NULL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule and the rows that break it."""

    text: str
    table: str
    """The table whose rows ``row`` names."""
    row: str
    """The column with the id of a row that breaks the rule."""
    broken: str
    """``FROM … WHERE …`` of those rows, the same on SQLite and Postgres."""
    advice: str = RESTORE
    """What to do about it, as a sentence without its full stop."""


def _of_jobs(text: str, broken: str, *, joins: str = "", advice: str = RESTORE) -> Rule:
    return Rule(
        text=text,
        table="jobs",
        row="jobs.id",
        broken=f"FROM jobs {joins} WHERE {broken}",
        advice=advice,
    )


def _of_attempts(text: str, broken: str, *, joins: str = "", advice: str = RESTORE) -> Rule:
    return Rule(
        text=text,
        table="attempts",
        row="attempts.id",
        broken=f"FROM attempts {joins} WHERE {broken}",
        advice=advice,
    )


def _of_results(text: str, broken: str) -> Rule:
    return Rule(
        text=text,
        table="results",
        row="results.id",
        broken=f"FROM results LEFT JOIN attempts ON attempts.id = results.id WHERE {broken}",
    )


def _quote(words: type[StrEnum]) -> str:
    return ", ".join(f"'{word.value}'" for word in words)


_JOBS: Final = (
    _of_jobs("every job is in one known state", f"state NOT IN ({_quote(JobState)})"),
    _of_jobs("every job's reason is known", f"reason NOT IN ({_quote(Reason)})"),
    _of_jobs("every job's review is known", f"review NOT IN ({_quote(ReviewState)})"),
    _of_jobs("every leased job has an owner", "state = 'leased' AND run_id IS NULL"),
    _of_jobs(
        "the owner of every leased job is a run on record",
        "jobs.state = 'leased' AND jobs.run_id IS NOT NULL AND runs.id IS NULL",
        joins="LEFT JOIN runs ON runs.id = jobs.run_id",
    ),
    _of_jobs(
        "the owner of every leased job that is in no batch is still open",
        "jobs.state = 'leased' AND runs.ended_at IS NOT NULL "
        f"AND NOT EXISTS ({_IN_BATCH} AND attempts.job_id = jobs.id)",
        joins="JOIN runs ON runs.id = jobs.run_id",
        advice=_TAKES_OVER,
    ),
    _of_jobs("no job that is not leased has an owner", "state <> 'leased' AND run_id IS NOT NULL"),
    _of_jobs(
        "every job done has an answer",
        "jobs.state = 'done' AND results.id IS NULL",
        joins="LEFT JOIN results ON results.id = jobs.result_id",
    ),
    _of_jobs(
        "every job that failed or was skipped has a cause",
        "state IN ('failed', 'skipped') AND cause IS NULL",
    ),
    _of_jobs(
        "no job that has ended is still being tried",
        "state IN ('done', 'failed', 'skipped') AND tried_since IS NOT NULL",
    ),
    _of_jobs(
        "every job belongs to an image",
        "images.id IS NULL",
        joins="LEFT JOIN images ON images.id = jobs.image_id",
    ),
    _of_jobs(
        "no pending job is about an image that is gone",
        "jobs.state = 'pending' AND images.gone_at IS NOT NULL",
        joins="JOIN images ON images.id = jobs.image_id",
        advice="`tagpipe tag` finds the file missing and ends them",
    ),
    _of_jobs(
        "every job's version is one of its profile",
        "versions.profile_id IS NULL OR versions.profile_id <> jobs.profile_id",
        joins="LEFT JOIN profile_versions AS versions ON versions.id = jobs.version_id",
    ),
    _of_jobs(
        "every job's answer was given under its profile",
        "versions.profile_id IS NULL OR versions.profile_id <> jobs.profile_id",
        joins=(
            "JOIN results ON results.id = jobs.result_id "
            "LEFT JOIN profile_versions AS versions ON versions.id = results.version_id"
        ),
    ),
    Rule(
        text="what a job cost is the sum of its attempts",
        table="jobs",
        row="differing.id",
        # one sort of both tables: neither has an index that would bring them together
        broken=(
            "FROM (SELECT id FROM ("
            "SELECT id, cost_nanos AS cost, input_tokens AS input, cached_tokens AS cached, "
            "output_tokens AS output FROM jobs UNION ALL "
            "SELECT job_id, -coalesce(cost_nanos, 0), -input_tokens, -cached_tokens, "
            "-output_tokens FROM attempts) AS entries GROUP BY id HAVING sum(cost) <> 0 "
            "OR sum(input) <> 0 OR sum(cached) <> 0 OR sum(output) <> 0) AS differing"
        ),
    ),
)

_ATTEMPTS: Final = (
    _of_attempts("every attempt is in one known state", "state NOT IN ('open', 'settled', 'lost')"),
    _of_attempts(
        "every attempt is a known step",
        "step NOT IN ('ask', 'repair', 'more_room', 'fallback')",
    ),
    _of_attempts(
        "every attempt belongs to a job",
        "jobs.id IS NULL",
        joins="LEFT JOIN jobs ON jobs.id = attempts.job_id",
    ),
    _of_attempts(
        "every attempt belongs to a run",
        "runs.id IS NULL",
        joins="LEFT JOIN runs ON runs.id = attempts.run_id",
    ),
    _of_attempts(
        "the run of every open attempt that is in no batch is still open",
        "attempts.state = 'open' AND attempts.batch_id IS NULL AND runs.ended_at IS NOT NULL",
        joins="JOIN runs ON runs.id = attempts.run_id",
        advice="`tagpipe tag` counts them as lost and asks again",
    ),
    _of_attempts(
        "every open attempt of a batch belongs to one that is not over",
        "attempts.state = 'open' AND attempts.batch_id IS NOT NULL "
        "AND (batches.id IS NULL OR batches.ended_at IS NOT NULL)",
        joins="LEFT JOIN batches ON batches.id = attempts.batch_id",
    ),
    _of_attempts(
        "no open attempt has ended or has a price",
        "state = 'open' AND (settled_at IS NOT NULL OR cost_nanos IS NOT NULL)",
    ),
    _of_attempts(
        "every settled or lost attempt has ended", "state <> 'open' AND settled_at IS NULL"
    ),
    _of_attempts("every lost attempt has a cause", "state = 'lost' AND cause IS NULL"),
    _of_attempts(
        "every settled attempt has a price or names the model that has none",
        "state = 'settled' AND cost_nanos IS NULL AND model_answered IS NULL",
    ),
    _of_attempts(
        "no amount is negative",
        "cost_nanos < 0 OR reserved_nanos < 0 OR input_tokens < 0 OR cached_tokens < 0 "
        "OR output_tokens < 0",
    ),
)

_BATCHES: Final = (
    Rule(
        text="every batch is in one known state",
        table="batches",
        row="batches.id",
        broken=f"FROM batches WHERE state NOT IN ({_quote(BatchState)})",
    ),
    Rule(
        text="a batch is over when it is harvested, discarded or forgotten",
        table="batches",
        row="batches.id",
        broken=(
            "FROM batches WHERE (state IN ('harvested', 'discarded', 'forgotten')) "
            "<> (ended_at IS NOT NULL)"
        ),
    ),
    Rule(
        text="every batch that was submitted has its name at the server",
        table="batches",
        row="batches.id",
        broken="FROM batches WHERE state IN ('submitted', 'harvested') AND remote_id IS NULL",
    ),
)

_RESULTS: Final = (
    _of_results(
        "every answer comes from a settled attempt",
        "attempts.id IS NULL OR attempts.state <> 'settled'",
    ),
    _of_results(
        "every answer is to the question its attempt asked",
        "attempts.request_key <> results.request_key",
    ),
)

_SUMMED: Final = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "saved_nanos",
)  # fmt: skip
_NO_PRICE: Final = "cost_nanos IS NULL AND model_answered IS NOT NULL"
_IS_GUESS: Final = f"(({_NO_PRICE}) OR usage_is_estimated)"
_SENT: Final = ("sent_bytes", "original_bytes")
_COUNTED: Final = "picture_tokens > 0 AND model_answered IS NOT NULL AND NOT usage_is_estimated"
_MOMENTS: Final = {
    "original_tokens": "original_tokens",
    "pictures": "1",
    "picture_tokens": "picture_tokens",
    "picture_squares": "picture_tokens * picture_tokens",
    "picture_inputs": "input_tokens",
    "picture_products": "picture_tokens * input_tokens",
}
# What is summed in spends, with what it is in a settled attempt.
_SPENT: Final = {
    "requests": "1",
    "answers": "CASE WHEN model_answered IS NULL THEN 0 ELSE 1 END",
    "unpriced": f"CASE WHEN {_NO_PRICE} THEN 1 ELSE 0 END",
    "cost_nanos": "coalesce(cost_nanos, 0)",
    "assumed_nanos": f"CASE WHEN {_IS_GUESS} AND reserved_nanos > coalesce(cost_nanos, 0) "
    "THEN reserved_nanos - coalesce(cost_nanos, 0) ELSE 0 END",
    **{name: name for name in _SUMMED},
    "quoted_nanos": "coalesce(quoted_nanos, 0)",
    **{name: f"CASE WHEN model_answered IS NULL THEN 0 ELSE {name} END" for name in _SENT},
    **{name: f"CASE WHEN {_COUNTED} THEN {what} ELSE 0 END" for name, what in _MOMENTS.items()},
}

_SPENDS: Final = (
    Rule(
        text="what a run spent in a day is the sum of its settled attempts",
        table="runs",
        row="differing.run_id",
        broken=(
            "FROM (SELECT run_id, day FROM ("  # noqa: S608  names of ours
            f"SELECT run_id, day, {', '.join(_SPENT)} FROM spends UNION ALL "
            "SELECT run_id, opened_at / 86400000, "
            f"{', '.join(f'-({amount})' for amount in _SPENT.values())} "
            "FROM attempts WHERE state = 'settled') AS entries GROUP BY run_id, day "
            f"HAVING {' OR '.join(f'sum({name}) <> 0' for name in _SPENT)}) AS differing"
        ),
    ),
)

RULES: Final = (*_JOBS, *_ATTEMPTS, *_BATCHES, *_RESULTS, *_SPENDS)
