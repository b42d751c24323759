"""Statements that are compiled once find and change the same rows on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from databases import KINDS, open_database
from sqlalchemy import Connection, bindparam, select, update

from pipeline.domain.errors import EnvironmentFault
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import insert_new
from pipeline.ledger.prepared import Change, Lookup
from pipeline.ledger.tables import libraries

pytestmark = pytest.mark.anyio

FIND = Lookup(lambda among: select(libraries.c.id, libraries.c.root).where(among(libraries.c.root)))
FIND_AFTER = Lookup(
    lambda among: select(libraries.c.root).where(
        among(libraries.c.root), libraries.c.root > bindparam("after")
    )
)
ADD = Change(lambda connection: insert_new(connection, libraries).values(root=bindparam("root")))
RENAME = Change(
    lambda _: (
        update(libraries).where(libraries.c.root == bindparam("old")).values(root=bindparam("new"))
    )
)


@pytest.fixture(params=KINDS)
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    async with open_database(request.param, tmp_path) as opened:
        await opened.transact(lambda c: ADD.run(c, [{"root": f"/{n}/"} for n in range(9)]))
        yield opened


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 9])
async def test_a_lookup_finds_the_rows_of_all_its_values(database: Database, count: int) -> None:
    wanted = [f"/{n}/" for n in range(count)]
    found = await database.look_up(lambda c: FIND.run(c, wanted))
    assert sorted(row.root for row in found) == wanted


async def test_a_value_that_is_asked_for_twice_is_found_once(database: Database) -> None:
    found = await database.look_up(lambda c: FIND.run(c, ["/1/", "/1/", "/1/", "/none/"]))
    assert [row.root for row in found] == ["/1/"]


async def test_a_lookup_takes_parameters_of_its_own(database: Database) -> None:
    found = await database.look_up(lambda c: FIND_AFTER.run(c, ["/1/", "/2/", "/3/"], after="/2/"))
    assert [row.root for row in found] == ["/3/"]


async def test_a_change_is_made_for_each_row(database: Database) -> None:
    rows = [{"old": "/1/", "new": "/one/"}, {"old": "/2/", "new": "/two/"}]

    def change(connection: Connection) -> None:
        RENAME.run(connection, rows)
        RENAME.run(connection, [])

    await database.transact(change)
    found = await database.look_up(lambda c: FIND.run(c, ["/1/", "/2/", "/one/", "/two/"]))
    assert sorted(row.root for row in found) == ["/one/", "/two/"]


async def test_a_transaction_that_fails_changes_nothing(database: Database) -> None:
    def change(connection: Connection) -> None:
        ADD.run(connection, [{"root": "/half/"}])
        RENAME.run(connection, [{"old": "/1/", "new": "/2/"}])  # which is taken

    with pytest.raises(EnvironmentFault, match=r"the ledger .* failed"):
        await database.transact(change)
    assert await database.look_up(lambda c: FIND.run(c, ["/half/"])) == []
