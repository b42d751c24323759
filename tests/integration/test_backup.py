"""A backup of a SQLite ledger is one moment of it, whole or absent, whoever writes meanwhile."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from ledgers import make_ref, make_refs, open_desk, open_sqlite

from pipeline.domain.errors import EnvironmentFault, UsageError
from pipeline.ledger import backup
from pipeline.ledger.backup import back_up
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.schema import read_revision, upgrade
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_sqlite(tmp_path) as opened:
        async with open_desk(opened) as desk:
            await desk.record(*make_refs(3))
        yield opened


async def count_images(path: Path) -> int:
    async with Database(parse_ledger_url(str(path))) as copy, open_desk(copy) as desk:
        assert await check_ledger(copy) == []
        return sum((await desk.reader.count_jobs()).values())


def find_copies(folder: Path) -> list[Path]:
    return list(folder.glob("copy.db*"))


async def test_a_backup_is_a_ledger(database: Database, tmp_path: Path) -> None:
    made = await back_up(database, tmp_path / "new" / "copy.db", replace=False)
    assert made.bytes == made.path.stat().st_size
    assert made.revision == await read_revision(database)
    assert [file.name for file in made.path.parent.iterdir()] == ["copy.db"]
    assert await count_images(made.path) == 3


async def test_a_backup_ends_and_is_of_one_moment_though_somebody_writes_at_every_step(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def write(_status: int, _remaining: int, total: int) -> None:
        nonlocal steps
        steps += 1
        assert steps <= total + 1, "the backup began anew"
        with closing(sqlite3.connect(database.path, timeout=0)) as other, other:
            other.execute(
                "INSERT INTO images (library_id, uri, size, version, found_in_run) "
                "VALUES (1, ?, 1, '1', 1)",
                (f"/photos/meanwhile-{steps}",),
            )

    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    monkeypatch.setattr(backup, "_stop_when_cancelled", write)
    made = await back_up(database, tmp_path / "copy.db", replace=False)
    assert steps > 10
    with closing(sqlite3.connect(made.path)) as copy:
        assert copy.execute("SELECT count(*) FROM images").fetchone() == (3,)


async def test_a_backup_that_is_broken_off_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    look = backup._stop_when_cancelled
    with anyio.CancelScope() as scope:

        def give_up(*facts: int) -> None:
            anyio.from_thread.run_sync(scope.cancel)
            look(*facts)

        monkeypatch.setattr(backup, "_stop_when_cancelled", give_up)
        await back_up(database, tmp_path / "copy.db", replace=False)
    assert scope.cancelled_caught
    assert not find_copies(tmp_path)


async def test_an_older_backup_is_replaced_only_on_request(
    database: Database, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await back_up(database, copy, replace=False)
    async with open_desk(database) as desk:
        await desk.record(make_ref("later"))
    with pytest.raises(UsageError, match="--force"):
        await back_up(database, copy, replace=False)
    assert await count_images(copy) == 3
    await back_up(database, copy, replace=True)
    assert await count_images(copy) == 4


async def test_the_ledger_is_never_its_own_backup(database: Database, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(database.path)
    for name in (database.path, link):
        with pytest.raises(UsageError, match="the ledger itself"):
            await back_up(database, name, replace=True)


async def test_a_file_in_use_is_not_replaced(database: Database, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await back_up(database, copy, replace=False)
    async with Database(parse_ledger_url(str(copy))) as other, open_desk(other):
        with pytest.raises(UsageError, match="in use"):
            await back_up(database, copy, replace=True)


async def test_a_backup_is_as_private_as_the_ledger(database: Database, tmp_path: Path) -> None:
    database.path.chmod(0o640)
    made = await back_up(database, tmp_path / "copy.db", replace=False)
    assert made.path.stat().st_mode & 0o777 == 0o640


async def test_a_ledger_of_an_older_program_is_backed_up_as_it_is(
    database: Database, tmp_path: Path
) -> None:
    await upgrade(database, "0001")
    made = await back_up(database, tmp_path / "copy.db", replace=False)
    assert made.revision == "0001"


async def test_a_damaged_ledger_makes_no_backup(database: Database, tmp_path: Path) -> None:
    async with database.exclusive() as connection:
        found = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_images_sha256'"
        page = (await connection.exec_driver_sql(found)).scalar_one()
        await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    with pytest.raises(EnvironmentFault, match="damaged"):
        await back_up(database, tmp_path / "copy.db", replace=False)
    assert not find_copies(tmp_path)
