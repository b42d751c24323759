"""Paid answers outlive a ledger that stays away: they wait in the spool and are settled once."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from databases import KINDS, open_database
from ledgers import NOW, Desk, make_ref, make_tagged, make_version, open_desk
from sqlalchemy import func, select, update

from pipeline.domain.errors import EnvironmentFault, LedgerAway
from pipeline.domain.jobs import ClaimedJob, ReviewState, RunId
from pipeline.domain.outcomes import Cause, Deferred, Failed, Outcome
from pipeline.ledger.database import Database
from pipeline.ledger.runs import RunState
from pipeline.ledger.spool import Spool, replay
from pipeline.ledger.tables import attempts, jobs, results, runs
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    async with open_database(request.param, tmp_path) as opened:
        yield opened
        assert await check_ledger(opened) == []


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Writes fail, as if the server were gone."""
    transact = database.transact

    async def refuse(_work: object) -> Any:
        raise LedgerAway("the ledger failed: gone")

    database.transact = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        database.transact = transact  # type: ignore[method-assign]


async def strand(
    database: Database, spool: Path, *outcomes: Outcome, **given: object
) -> list[Path]:
    """A run whose answers could not be settled; it is over. Returns its spool."""
    async with open_desk(database, spool=spool) as desk:
        await desk.record(*(make_ref(str(number)) for number in range(len(outcomes))))
        claimed = await desk.claim()
        opened = [await desk.open(job, f"key {job.id}".encode()) for job in claimed]
        with away(database):
            for job, admission, outcome in zip(claimed, opened, outcomes, strict=True):
                with pytest.raises(LedgerAway):
                    await settle(desk, job, admission, outcome, **given)
        await desk.queue.release(now_ms=NOW)
        await desk.runs.close(desk.run, RunState.FAULT, {}, now_ms=NOW)
    return find_files(spool)


def find_files(spool: Path) -> list[Path]:
    return sorted(spool.iterdir())


async def settle(
    desk: Desk, job: ClaimedJob, admission: Any, outcome: Outcome, **given: object
) -> bool:
    key = f"key {job.id}".encode()
    values: dict[str, object] = {"outcome": outcome, "attempt_id": admission.attempt_id}
    return await desk.settle(job, **values, request_key=key, **given)


async def read_cost(database: Database) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(select(func.sum(jobs.c.cost_nanos))) or 0)


async def test_an_answer_that_could_not_be_settled_is_settled_at_the_next_start(
    database: Database, spool: Path
) -> None:
    given = {"tags": ("mug",), "review": ReviewState.NEEDS_REVIEW}
    await strand(database, spool, make_tagged(), make_tagged("a hat"), **given)
    async with open_desk(database, spool=spool) as desk:
        assert await desk.states() == {"done": 2}
        [rows] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
        assert [row.answer for row in rows] == ['{"title":"a mug"}', '{"title":"a hat"}']
        assert {(row.tags, row.review, row.cost_nanos, row.input_tokens) for row in rows} == {
            ('["mug"]', "needs_review", 1_000, 100)
        }
        spending = await desk.reader.sum_spending()
        assert (spending.requests, spending.lost, spending.cost_nanos) == (2, 0, 2_000)
        await desk.queue.release(now_ms=NOW)


async def test_a_useless_answer_that_was_billed_is_not_forgotten(
    database: Database, spool: Path
) -> None:
    spend = make_tagged().spend
    later = datetime.fromtimestamp(NOW / 1000 + 60, UTC)
    await strand(
        database,
        spool,
        Failed(cause=Cause.REFUSED, message="no", spend=spend),
        Deferred(cause=Cause.INVALID_ANSWER, message="?", not_before=later, spend=spend),
    )
    assert await replay(spool, database) == 2
    async with database.read() as connection:
        rows = (await connection.execute(select(jobs).order_by(jobs.c.id))).all()
    assert [(row.state, row.cause, row.cost_nanos) for row in rows] == [
        ("failed", "refused", 1_000), ("pending", "invalid_answer", 1_000),
    ]  # fmt: skip
    assert rows[1].not_before == NOW + 60_000


async def test_a_spool_that_is_replayed_twice_settles_once(database: Database, spool: Path) -> None:
    [path] = await strand(database, spool, make_tagged())
    shutil.copy(path, spool / "copy")
    assert await replay(spool, database) == 1
    assert not path.exists()
    (spool / "copy").rename(path)
    assert await replay(spool, database) == 0
    assert await read_cost(database) == 1_000


async def test_a_picture_that_changed_meanwhile_is_asked_about_again(
    database: Database, spool: Path
) -> None:
    await strand(database, spool, make_tagged())
    async with open_desk(database) as desk:
        await desk.record(make_ref("0", version="2"))
        assert await replay(spool, database) == 1
        assert await desk.states() == {"pending": 1}
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(results)) == 1
    assert await read_cost(database) == 1_000


async def test_what_somebody_else_has_settled_since_stays(database: Database, spool: Path) -> None:
    await strand(database, spool, make_tagged())
    async with open_desk(database) as desk:
        [job] = await desk.claim()
        admission = await desk.open(job, b"key 1")
        assert await settle(desk, job, admission, make_tagged("asked again"))
        assert await replay(spool, database) == 1
        [rows] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert [(row.answer, row.cost_nanos) for row in rows] == [('{"title":"asked again"}', 2_000)]


async def test_a_profile_that_changed_meanwhile_is_not_answered_with_the_old_one(
    database: Database, spool: Path
) -> None:
    await strand(database, spool, make_tagged())
    async with open_desk(database, version=make_version("f2")) as desk:
        await desk.queue.mark_stale(desk.scopes[0], desk.assignment)
        assert await replay(spool, database) == 1
        assert await desk.states() == {"pending": 1}


async def test_the_spool_of_a_run_at_work_is_left_to_it(database: Database, spool: Path) -> None:
    async with open_desk(database, spool=spool) as busy:
        assert await replay(spool, database) == 0
        assert (spool / f"run-{busy.run}.spool").exists()


async def test_a_spool_of_another_ledger_is_set_aside(
    database: Database, spool: Path, tmp_path: Path
) -> None:
    [path] = await strand(database, spool, make_tagged())
    other = tmp_path / "other"
    other.mkdir()
    async with open_database("sqlite", other) as anew:
        async with open_desk(anew) as desk:
            await desk.runs.close(desk.run, RunState.FINISHED, {}, now_ms=NOW)
        assert await replay(spool, anew) == 0
    assert path.with_suffix(".foreign").exists()
    path.with_suffix(".foreign").rename(path)
    assert await replay(spool, database) == 1


async def test_a_run_without_trouble_leaves_no_spool(database: Database, spool: Path) -> None:
    async with open_desk(database, spool=spool):
        [path] = find_files(spool)
        assert path.stat().st_size == 4_096  # taken beforehand: the disk may be full by then
    assert find_files(spool) == []


async def test_a_line_that_a_kill_cut_is_ignored(database: Database, spool: Path) -> None:
    [path] = await strand(database, spool, make_tagged(), make_tagged("a hat"))
    whole = path.read_bytes().partition(b"\0")[0]
    path.write_bytes(whole[:-20] + bytes(500))
    assert await replay(spool, database) == 1


def test_a_spool_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    spool = Spool(tmp_path / "file", RunId(1), reserved_bytes=10)
    with pytest.raises(EnvironmentFault, match=r"ledger\.spool names another folder"):
        spool.open()


async def test_a_settle_whose_confirmation_was_lost_counts_once(database: Database) -> None:
    """The commit went through and the connection broke before it was confirmed."""
    async with open_desk(database) as desk:
        await desk.record(make_ref("a"))
        [job] = await desk.claim()
        admission = await desk.open(job, b"key 1")
        assert await settle(desk, job, admission, make_tagged())
        assert await settle(desk, job, admission, make_tagged())
        assert await read_cost(database) == 1_000


async def test_an_attempt_whose_confirmation_was_lost_is_still_open(database: Database) -> None:
    async with open_desk(database) as desk:
        await desk.record(make_ref("a"))
        [job] = await desk.claim()
        write = desk.settler._write

        async def write_twice(group: Any) -> Any:
            await write(group)
            return await write(group)

        desk.settler._clerk._write_group = write_twice
        admission = await desk.open(job, b"key 1")
        assert await settle(desk, job, admission, make_tagged())
        async with database.read() as connection:
            assert (await connection.execute(select(attempts.c.state))).scalars().all() == [
                "settled"
            ]
        assert await read_cost(database) == 1_000


async def test_a_late_answer_is_paid_for_by_its_image(database: Database) -> None:
    async with open_desk(database) as slow, open_desk(database) as other:
        await slow.record(make_ref("a"))
        [job] = await slow.claim()
        admission = await slow.open(job, b"key 1")
        await _declare_dead(other, slow)
        [again] = await other.claim()
        second = await other.open(again, b"key 1")
        assert await settle(other, again, second, make_tagged())
        assert not await settle(slow, job, admission, make_tagged("too late"))
        [rows] = [rows async for rows in slow.reader.stream_rows(["done"], None)]
        assert [(row.answer, row.cost_nanos) for row in rows] == [('{"title":"a mug"}', 2_000)]


async def _declare_dead(judge: Desk, dead: Desk) -> None:
    async with judge.database.write() as connection:
        await connection.execute(
            update(runs).where(runs.c.id == dead.run).values(host="elsewhere", lease_until=0)
        )
    assert await judge.queue.reclaim_dead(now_ms=NOW) == 1
