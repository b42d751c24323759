"""Paid answers outlive a ledger that stays away: they wait in the spool and are settled once."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from databases import KINDS, open_database
from ledgers import NOW, Desk, make_ref, make_tagged, make_version, open_desk
from sqlalchemy import func, select, text, update

from pipeline.domain.errors import EnvironmentFault, LedgerAway, LedgerStaysAway
from pipeline.domain.jobs import ClaimedJob, ReviewState, RunId
from pipeline.domain.outcomes import Cause, Deferred, Failed, Outcome, Passed
from pipeline.ledger.database import Database
from pipeline.ledger.patience import Patience
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
        database.patience = Patience(0)  # the old one has given up


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


def is_there(spool: Path) -> bool:
    return spool.exists()


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
    assert path.with_suffix(".aside").exists()
    path.with_suffix(".aside").rename(path)
    assert await replay(spool, database) == 1


async def test_a_run_without_trouble_leaves_no_spool(database: Database, spool: Path) -> None:
    async with open_desk(database, spool=spool):
        [path] = find_files(spool)
        assert path.stat().st_size == 4_096  # taken beforehand: the disk may be full by then
    assert not is_there(spool)


async def test_a_line_that_a_kill_cut_is_ignored(database: Database, spool: Path) -> None:
    [path] = await strand(database, spool, make_tagged(), make_tagged("a hat"))
    whole = path.read_bytes().partition(b"\0")[0]
    path.write_bytes(whole[:-20] + bytes(500))
    assert await replay(spool, database) == 1


async def test_a_damaged_spool_is_set_aside_and_no_start_fails_for_it(
    database: Database, spool: Path
) -> None:
    [path] = await strand(database, spool, make_tagged())
    path.write_bytes(b'{"kind": "Tag\n' + path.read_bytes())
    assert await replay(spool, database) == 0
    assert find_files(spool) == [path.with_suffix(".aside")]


async def test_a_spool_that_cannot_be_read_stops_no_start(
    database: Database, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [path] = await strand(database, spool, make_tagged())
    path.rename(spool / "kept")
    path.mkdir()
    assert await replay(spool, database) == 0
    assert caplog.records[-1].message == "spool.unreadable"
    path.rmdir()
    (spool / "kept").rename(path)
    assert await replay(spool, database) == 1


async def test_a_spool_that_a_frozen_process_still_has_open_is_left_to_it(
    database: Database, spool: Path
) -> None:
    async with open_desk(database, spool=spool) as frozen:
        async with open_desk(database) as other:
            await _declare_dead(other, frozen, 0)
        assert await replay(spool, database) == 0
        assert [path.name for path in find_files(spool)] == [f"run-{frozen.run}.spool"]


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


async def test_a_put_off_job_that_is_claimed_again_before_the_repeat_is_left_alone(
    database: Database,
) -> None:
    async with open_desk(database) as desk:
        await desk.record(make_ref("a"))
        [job] = await desk.claim()
        admission = await desk.open(job, b"key 1")
        write = desk.settler._write

        async def claim_between(group: Any) -> Any:
            await write(group)
            assert len(await desk.claim()) == 1
            return await write(group)

        desk.settler._clerk._write_group = claim_between
        at_once = datetime.fromtimestamp(0, UTC)
        spend = make_tagged().spend
        outcome = Deferred(cause=Cause.TIMEOUT, message="?", not_before=at_once, spend=spend)
        await settle(desk, job, admission, outcome)
        assert await desk.states() == {"leased": 1}
        assert await read_cost(database) == 1_000
        await desk.queue.release(now_ms=NOW)


async def test_an_answer_about_the_old_picture_does_not_settle_the_new_one(
    database: Database,
) -> None:
    async with open_desk(database) as desk:
        await desk.record(make_ref("a"))
        [old] = await desk.claim()
        about_old = await desk.open(old, b"key 1")
        await desk.record(make_ref("a", version="2"))
        [new] = await desk.claim()
        about_new = await desk.open(new, b"key 2")
        assert not await settle(desk, old, about_old, make_tagged("the old one"))
        given = {"outcome": make_tagged("the new one"), "attempt_id": about_new.attempt_id}
        assert await desk.settle(new, **given, request_key=b"key 2")
        [rows] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert [row.answer for row in rows] == ['{"title":"the new one"}']
    assert await read_cost(database) == 2_000


async def test_a_message_that_no_database_takes_is_settled(database: Database) -> None:
    async with open_desk(database) as desk:
        await desk.record(make_ref("a"))
        [job] = await desk.claim()
        admission = await desk.open(job, b"key 1")
        assert await settle(desk, job, admission, Failed(cause=Cause.REFUSED, message="n\0o"))


async def test_a_request_that_was_passed_on_is_paid_for_and_its_image_asked_about_anew(
    database: Database, spool: Path
) -> None:
    spend = make_tagged().spend
    passed = Passed(cause=Cause.LENGTH, message="cut", spend=spend)
    await strand(database, spool, passed)
    assert await replay(spool, database) == 1
    async with open_desk(database) as desk:
        assert await desk.states() == {"pending": 1}
        assert await read_cost(database) == 1_000
        spending = await desk.reader.sum_spending()
        assert (spending.answered, spending.cost_nanos) == (1, 1_000)


async def test_an_answer_that_was_lost_with_the_ledger_away_still_puts_its_image_off(
    database: Database, spool: Path
) -> None:
    later = datetime.fromtimestamp(NOW / 1000 + 60, UTC)
    outcome = Deferred(cause=Cause.TIMEOUT, message="?", not_before=later, may_be_billed=True)
    await strand(database, spool, outcome)
    assert await replay(spool, database) == 1
    async with open_desk(database) as desk:
        assert await desk.claim() == []
        assert await desk.find_next_due() == NOW + 60_000
        assert (await desk.reader.sum_spending()).lost == 1


async def test_a_late_answer_is_paid_for_by_its_image(database: Database) -> None:
    async with open_desk(database) as slow, open_desk(database) as other:
        await slow.record(make_ref("a"))
        [job] = await slow.claim()
        admission = await slow.open(job, b"key 1")
        await _declare_dead(other, slow, 1)
        [again] = await other.claim()
        second = await other.open(again, b"key 1")
        assert await settle(other, again, second, make_tagged())
        assert not await settle(slow, job, admission, make_tagged("too late"))
        [rows] = [rows async for rows in slow.reader.stream_rows(["done"], None)]
        assert [(row.answer, row.cost_nanos) for row in rows] == [('{"title":"a mug"}', 2_000)]


async def _declare_dead(judge: Desk, dead: Desk, jobs_held: int) -> None:
    async with judge.database.write() as connection:
        await connection.execute(
            update(runs).where(runs.c.id == dead.run).values(host="elsewhere", lease_until=0)
        )
    assert await judge.queue.reclaim_dead(now_ms=NOW) == jobs_held


async def test_a_server_that_is_frozen_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing on the way tells that it is gone, as when its host was lost."""
    monkeypatch.setattr("pipeline.ledger.database._COMMAND_TIMEOUT_SECONDS", 1.0)
    spool = tmp_path / "spool"
    async with open_database("postgres", tmp_path) as database:
        async with open_desk(database, spool=spool) as desk:
            await desk.record(make_ref("a"))
            [job] = await desk.claim()
            admission = await desk.open(job, b"key 1")
            async with frozen_server(database):
                with anyio.fail_after(30), pytest.raises(LedgerStaysAway):
                    await settle(desk, job, admission, make_tagged())
            assert desk.settler.describe_spool().startswith("; 1 answer")
        database.patience = Patience(0)
        async with database.write() as connection:
            await connection.execute(update(runs).values(ended_at=NOW))
            await connection.execute(update(jobs).values(state="pending", run_id=None))
        assert await replay(spool, database) == 1


@asynccontextmanager
async def frozen_server(database: Database) -> AsyncIterator[None]:
    """The server's processes that serve us stand still."""
    others = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    async with database.read() as connection:
        backends = list((await connection.execute(others)).scalars())
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)
