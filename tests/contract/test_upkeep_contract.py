"""``db check`` names every rule that is broken, ``db stats`` what there is, on every database."""
# ruff: noqa: S608 - the statements are made of words of ours, to break rules with

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from databases import KINDS, open_database
from ledgers import NOW, make_ref, make_refs, make_version, open_desk, open_sqlite

from pipeline.domain.jobs import JobState
from pipeline.domain.outcomes import Cause, Failed
from pipeline.ledger.catalogue import SeenImages
from pipeline.ledger.database import Database
from pipeline.ledger.invariants import RULES
from pipeline.ledger.runs import RunState
from pipeline.ledger.tables import metadata
from pipeline.ledger.upkeep import check_ledger, measure_ledger

pytestmark = pytest.mark.anyio

ENDED = "(SELECT id FROM runs WHERE ended_at IS NOT NULL)"
OTHER = "(SELECT max(id) FROM profile_versions)"
# What breaks each rule, and no other; some rules in several ways.
BATCH = (
    "INSERT INTO batches (id, token, run_id, version_id, account, endpoint, path, model, file, "
    "opened_at, state, remote_id, ended_at) VALUES (1, 't', 1, 1, 'a', 'e', 'p', 'm', 'f', 1,"
)
BREAKS = (
    ("every job is in one known state", "UPDATE jobs SET state = 'asleep' WHERE state = 'pending'"),
    ("every job's reason is known", "UPDATE jobs SET reason = 'whim' WHERE state = 'pending'"),
    ("every job's review is known", "UPDATE jobs SET review = 'liked' WHERE state = 'done'"),
    ("every leased job has an owner", "UPDATE jobs SET run_id = NULL WHERE state = 'leased'"),
    (
        "the owner of every leased job is a run on record",
        "UPDATE jobs SET run_id = 999 WHERE state = 'leased'",
    ),
    (
        "the owner of every leased job that is in no batch is still open",
        f"UPDATE jobs SET run_id = {ENDED} WHERE state = 'leased'",
    ),
    (
        "no job that is not leased has an owner",
        f"UPDATE jobs SET run_id = {ENDED} WHERE state = 'pending'",
    ),
    ("every job done has an answer", "UPDATE jobs SET result_id = NULL WHERE state = 'done'"),
    ("every job done has an answer", "UPDATE jobs SET result_id = 999 WHERE state = 'done'"),
    (
        "every job that failed or was skipped has a cause",
        "UPDATE jobs SET cause = NULL WHERE state = 'failed'",
    ),
    (
        "no job that has ended is still being tried",
        "UPDATE jobs SET tried_since = 1 WHERE state = 'done'",
    ),
    ("every job belongs to an image", "UPDATE jobs SET image_id = 999 WHERE state = 'pending'"),
    (
        "no pending job is about an image that is gone",
        (
            "UPDATE images SET gone_at = 1 WHERE id IN "
            "(SELECT image_id FROM jobs WHERE state = 'pending')"
        ),
    ),
    (
        "every job's version is one of its profile",
        f"UPDATE jobs SET version_id = {OTHER} WHERE state = 'pending'",
    ),
    (
        "every job's version is one of its profile",
        "UPDATE jobs SET version_id = 999 WHERE state = 'pending'",
    ),
    ("every job's answer was given under its profile", f"UPDATE results SET version_id = {OTHER}"),
    *(
        (
            "what a job cost is the sum of its attempts",
            f"UPDATE jobs SET {amount} = {amount} + 1 WHERE state = 'done'",
        )
        for amount in ("cost_nanos", "input_tokens", "cached_tokens", "output_tokens")
    ),
    (
        "every attempt is in one known state",
        "UPDATE attempts SET state = 'maybe' WHERE state = 'lost'",
    ),
    ("every attempt is a known step", "UPDATE attempts SET step = 'whim' WHERE state = 'lost'"),
    ("every lost attempt has a cause", "UPDATE attempts SET cause = NULL WHERE state = 'lost'"),
    ("no amount is negative", "UPDATE attempts SET reserved_nanos = -1 WHERE state = 'lost'"),
    *(
        (
            "what a run spent in a day is the sum of its settled attempts",
            f"UPDATE spends SET {amount} = {amount} + 1 WHERE answers > 0",
        )
        for amount in (
            "requests",
            "answers",
            "unpriced",
            "cost_nanos",
            "assumed_nanos",
            "saved_nanos",
            "input_tokens",
            "reasoning_tokens",
            "quoted_nanos",
            "sent_bytes",
            "original_bytes",
            "original_tokens",
            "pictures",
            "picture_tokens",
            "picture_squares",
            "picture_inputs",
            "picture_products",
        )
    ),
    (
        "what a run spent in a day is the sum of its settled attempts",
        "DELETE FROM spends WHERE answers = 0",
    ),
    ("every attempt belongs to a job", "UPDATE attempts SET job_id = 999 WHERE state = 'lost'"),
    ("every attempt belongs to a run", "UPDATE attempts SET run_id = 999 WHERE state = 'lost'"),
    (
        "the run of every open attempt that is in no batch is still open",
        f"UPDATE attempts SET run_id = {ENDED} WHERE state = 'open'",
    ),
    (
        "every open attempt of a batch belongs to one that is not over",
        "UPDATE attempts SET batch_id = 999 WHERE state = 'open'",
    ),
    (
        "every batch is in one known state",
        f"{BATCH} 'lost', NULL, NULL)",
    ),
    (
        "a batch is over when it is harvested, discarded or forgotten",
        f"{BATCH} 'packed', NULL, 5)",
    ),
    (
        "every batch that was submitted has its name at the server",
        f"{BATCH} 'submitted', NULL, NULL)",
    ),
    (
        "no open attempt has ended or has a price",
        "UPDATE attempts SET settled_at = 1 WHERE state = 'open'",
    ),
    (
        "no open attempt has ended or has a price",
        "UPDATE attempts SET cost_nanos = 0 WHERE state = 'open'",
    ),
    (
        "every settled or lost attempt has ended",
        "UPDATE attempts SET settled_at = NULL WHERE state = 'lost'",
    ),
    (
        "every settled attempt has a price or names the model that has none",
        "UPDATE attempts SET cost_nanos = NULL WHERE state = 'settled' AND model_answered IS NULL",
    ),
    (
        "no amount is negative",
        (
            "UPDATE attempts SET input_tokens = -1 WHERE state = 'lost'; UPDATE jobs SET "
            "input_tokens = input_tokens - 1 WHERE id = "
            "(SELECT job_id FROM attempts WHERE state = 'lost')"
        ),
    ),
    (
        "every answer comes from a settled attempt",
        (
            "UPDATE attempts SET state = 'lost', cause = 'lost' WHERE model_answered IS NOT NULL; "
            "DELETE FROM spends WHERE answers > 0"
        ),
    ),
    (
        "every answer is to the question its attempt asked",
        "UPDATE results SET request_key = (SELECT request_key FROM attempts WHERE state = 'lost')",
    ),
)


@pytest.fixture(params=KINDS)
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    async with open_database(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
async def worked(database: Database) -> Database:
    """A job done, failed, leased and pending; an attempt settled, lost and open; a run ended."""
    async with open_desk(database) as first:
        await first.record(*make_refs(4))
        (job, *_) = await first.claim(4)
        await first.open(job, b"lost")
        await first.queue.release(now_ms=NOW)
        await first.runs.close(first.run, RunState.FINISHED, {}, now_ms=NOW)
    async with open_desk(database) as second:
        done, failed, leased = await second.claim(3)
        await second.answer(done)
        await second.answer(failed, outcome=Failed(cause=Cause.TIMEOUT, message="late"))
        await second.open(leased, b"open")
    async with open_desk(database, version=make_version(name="other")):
        pass
    return database


async def damage(database: Database, statements: str) -> None:
    """Change rows by hand, past whatever would forbid it."""
    async with database.exclusive() as connection:
        if not database.is_sqlite:
            await connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in statements.split("; "):
            await connection.exec_driver_sql(statement)


@pytest.mark.parametrize(("rule", "statements"), BREAKS)
async def test_a_broken_rule_is_named_with_its_rows(
    worked: Database, rule: str, statements: str
) -> None:
    assert await check_ledger(worked) == []
    await damage(worked, statements)
    (broken,) = await check_ledger(worked)
    assert (broken.rule, broken.count) == (rule, 1)
    async with worked.exclusive() as connection:
        ids = (await connection.exec_driver_sql(f"SELECT id FROM {broken.table}")).scalars()
        assert set(broken.examples) <= set(ids)
    assert len(broken.examples) == 1


def test_every_rule_is_broken_by_a_test() -> None:
    assert {rule.text for rule in RULES} == {rule for rule, _ in BREAKS}


async def test_of_many_rows_that_break_a_rule_the_first_three_are_shown(
    database: Database,
) -> None:
    async with open_desk(database) as desk:
        await desk.record(*make_refs(5))
    await damage(database, "UPDATE jobs SET state = 'asleep'")
    (broken,) = await check_ledger(database)
    assert (broken.count, len(broken.examples)) == (5, 3)
    assert list(broken.examples) == sorted(broken.examples)


async def test_what_tag_mends_is_told_from_what_only_a_backup_does(worked: Database) -> None:
    await damage(worked, f"UPDATE jobs SET run_id = {ENDED} WHERE state = 'leased'")
    await damage(worked, "UPDATE jobs SET result_id = NULL WHERE state = 'done'")
    advice = {broken.rule: broken.advice for broken in await check_ledger(worked)}
    assert (
        "tagpipe tag" in advice["the owner of every leased job that is in no batch is still open"]
    )
    assert "restore a backup" in advice["every job done has an answer"]


async def test_what_check_says_that_tag_mends_is_mended_by_the_next_run(worked: Database) -> None:
    await damage(worked, f"UPDATE jobs SET run_id = {ENDED} WHERE state = 'leased'")
    await damage(worked, f"UPDATE attempts SET run_id = {ENDED} WHERE state = 'open'")
    assert len(await check_ledger(worked)) == 2
    async with open_desk(worked) as desk:
        await desk.queue.reclaim_dead(now_ms=NOW)
    assert await check_ledger(worked) == []


async def test_a_damaged_file_is_told_before_anything_that_is_read_from_it(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as database:
        async with database.exclusive() as connection:
            found = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_images_sha256'"
            page = (await connection.exec_driver_sql(found)).scalar_one()
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        with database.path.open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(bytes(4096))
        (broken,) = await check_ledger(database)
        assert broken.rule.startswith("the database file is undamaged (")
        assert "restore a backup" in broken.advice


async def test_the_size_counts_rows_states_and_bytes(worked: Database) -> None:
    size = await measure_ledger(worked)
    assert (size.rows["images"], size.rows["attempts"], size.rows["results"]) == (4, 4, 1)
    assert size.jobs == {"done": 1, "failed": 1, "leased": 1, "pending": 1}
    assert size.bytes_per_image == size.bytes // 4
    if size.bytes_of_tables is not None:  # some builds of SQLite cannot tell
        assert set(size.bytes_of_tables) == set(metadata.tables)
        assert 0 < sum(size.bytes_of_tables.values()) <= size.bytes


async def test_an_empty_ledger_has_no_average(database: Database) -> None:
    assert (await measure_ledger(database)).bytes_per_image is None


async def test_counting_all_agrees_with_counting_the_whole_library(worked: Database) -> None:
    async with open_desk(worked) as desk:
        await desk.record(*make_refs(4), make_ref("new"))
        before = await desk.reader.count_jobs()
        assert before == await desk.reader.count_jobs(desk.scopes)
        assert sum(before.values()) == 5
        await desk.catalogue.mark_gone(desk.scopes[0], SeenImages(), unlistable=(), now_ms=NOW)
        await desk.record(make_ref("new"))
        after = await desk.reader.count_jobs()
        assert after == await desk.reader.count_jobs(desk.scopes)
        assert after == await desk.reader.count_jobs(profile="general")
        assert {state: count for state, count in after.items() if count} == {JobState.PENDING: 1}
        assert not any((await desk.reader.count_jobs(profile="other")).values())


async def test_sums_are_whole_numbers_on_every_database(worked: Database) -> None:
    async with open_desk(worked) as desk:
        spending = await desk.reader.sum_spending()
    assert {type(spending.input_tokens), type(spending.cost_nanos)} == {int}
    assert (spending.requests, spending.answered, spending.lost) == (4, 1, 1)
