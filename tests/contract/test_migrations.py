"""Migrations lead to the very tables the program uses, and back, on every database."""

import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import KINDS, make_url
from ledgers import NOW, make_ref, make_tagged, open_desk
from sqlalchemy import Connection, inspect, text

from pipeline.config.paths import migrations_folder
from pipeline.domain.errors import EnvironmentFault
from pipeline.domain.outcomes import AT_ONCE, Cause, Deferred, Failed
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.schema import HEAD, ensure_schema, read_revision, upgrade
from pipeline.ledger.tables import metadata
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def empty(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database without tables."""
    async with Database(parse_ledger_url(make_url(request.param, tmp_path))) as database:
        yield database


@pytest.fixture
async def made(empty: Database) -> Database:
    """A ledger as the program makes it."""
    await ensure_schema(empty)
    return empty


def test_the_head_known_to_the_program_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_migrated_tables_equal_the_programs(empty: Database) -> None:
    await upgrade(empty)
    async with empty.read() as connection:
        assert await connection.run_sync(_compare) == []


async def test_migrated_definitions_equal_the_programs_letter_by_letter(tmp_path: Path) -> None:
    found = []
    for name, make in (("migrated", upgrade), ("made", ensure_schema)):
        async with Database(parse_ledger_url(f"{tmp_path}/{name}.db")) as database:
            await make(database)
            async with database.read() as connection:
                found.append(await connection.run_sync(_read_definitions))
    assert len(found[0]) > len(metadata.tables)
    assert found[0] == found[1]


async def test_an_upgrade_keeps_the_data_and_a_downgrade_leaves_nothing(made: Database) -> None:
    async with open_desk(made) as desk:
        await desk.record(make_ref("a"))
    await upgrade(made)
    assert await read_revision(made) == HEAD
    async with made.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM images")) == 1
    await upgrade(made, "base")
    async with made.read() as connection:
        assert await connection.run_sync(_list_tables) == ["alembic_version"]


async def test_a_ledger_that_was_taken_down_can_be_made_again(made: Database) -> None:
    await upgrade(made, "base")
    assert await read_revision(made) is None
    await ensure_schema(made)
    await upgrade(made)
    assert await read_revision(made) == HEAD


@pytest.mark.parametrize("make", [ensure_schema, upgrade])
async def test_programs_that_start_at_once_make_one_ledger(
    empty: Database, make: Callable[[Database], Awaitable[None]]
) -> None:
    async with Database(empty.url) as other, anyio.create_task_group() as group:
        for database in (empty, other, empty):
            group.start_soon(make, database)
    async with empty.read() as connection:
        found = await connection.execute(text("SELECT version_num FROM alembic_version"))
        assert found.scalars().all() == [HEAD]


async def test_a_file_that_another_program_is_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("CREATE TABLE other (id)")
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, other.execute, ["COMMIT"]).start()
        async with Database(parse_ledger_url(str(path))) as database:
            await ensure_schema(database)
            assert await read_revision(database) == HEAD


async def test_an_older_ledger_is_refused_until_it_is_upgraded(made: Database) -> None:
    await upgrade(made, "0001")
    with pytest.raises(EnvironmentFault, match=r"revision 0001.*tagpipe db upgrade"):
        await ensure_schema(made)
    await upgrade(made)
    await ensure_schema(made)


async def test_rows_survive_the_way_down_and_up_and_answers_to_be_renewed_are_stale(
    made: Database,
) -> None:
    async with open_desk(made) as desk:
        await desk.record(*map(make_ref, "abcd"))
        answered, renewed, failed = await desk.claim(3)
        await desk.answer(answered)
        await desk.answer(renewed)
        await desk.settle(failed, outcome=Failed(cause=Cause.LENGTH, message="cut"))
        await desk.record(make_ref("b", version="2"))
    rows = "SELECT id, image_id, version_id, state, result_id, cause, cost_nanos FROM jobs"
    before = await _read(made, f"{rows} ORDER BY id")
    await upgrade(made, "0001")
    assert "reason" not in await _list_columns(made, "jobs")
    assert await _read(made, f"{rows} ORDER BY id ") == before
    await upgrade(made)
    assert await _read(made, f"{rows} ORDER BY  id") == before
    reasons = await _read(made, "SELECT state, reason FROM jobs ORDER BY id")
    assert reasons == [("done", "new"), ("pending", "stale"), ("failed", "new"), ("pending", "new")]


async def test_what_was_spent_is_summed_up_when_an_older_ledger_is_upgraded(
    made: Database,
) -> None:
    async with open_desk(made) as desk:
        await desk.record(*map(make_ref, "abcde"))
        priced, unpriced, vain, lost, late = await desk.claim()
        await desk.answer(priced)
        await desk.answer(unpriced, outcome=make_tagged(cost=None))
        await desk.answer(vain, outcome=Failed(cause=Cause.SERVER_ERROR, message="500"))
        await desk.open(lost, b"lost")
        await desk.settle(late, outcome=_put_off())
        await desk.queue.release(now_ms=NOW)
    sums = (
        "SELECT day, run_id, requests, answers, unpriced, input_tokens, cached_tokens, "
        "output_tokens, cost_nanos FROM spends ORDER BY model_answered"
    )
    before = await _read(made, sums)
    assert len(before) == 2
    await upgrade(made, "0002")
    assert "tried_since" not in await _list_columns(made, "jobs")
    assert not {"reserved_nanos", "step"} & await _list_columns(made, "attempts")
    await upgrade(made)
    assert await _read(made, f"{sums} ") == before
    assert await _read(made, "SELECT DISTINCT step, reserved_nanos FROM attempts") == [("ask", 0)]
    assert await check_ledger(made) == []


def _put_off() -> Deferred:
    return Deferred(cause=Cause.TIMEOUT, message="late", not_before=AT_ONCE)


async def test_a_ledger_of_another_program_version_is_refused(made: Database) -> None:
    async with made.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    secret = "hunter2"
    url = made.url if made.is_sqlite else made.url.set(password=secret)
    async with Database(url) as database:
        with pytest.raises(EnvironmentFault, match=r"9999.*tagpipe db upgrade") as refused:
            await ensure_schema(database)
        with pytest.raises(EnvironmentFault, match=r"9999.*install the newer tagpipe") as stuck:
            await upgrade(database)
    for told in (str(refused.value), str(stuck.value)):
        assert str(made.url.database) in told
        assert secret not in told


def _compare(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def _list_tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


async def _read(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def _list_columns(database: Database, table: str) -> set[str]:
    async with database.read() as connection:
        columns = await connection.run_sync(lambda c: inspect(c).get_columns(table))
    return {column["name"] for column in columns}


def _read_definitions(connection: Connection) -> set[tuple[str, tuple[str, ...]]]:
    """Names and normalised SQL of tables and indexes; the order of constraints does not count."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {
        (name, tuple(sorted(re.sub(r'[()"\s]', "", sql).split(","))))
        for name, sql in connection.execute(query)
        if not name.startswith("alembic")
    }
