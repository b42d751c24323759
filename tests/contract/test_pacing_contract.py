"""Processes that share a key find each other in the ledger, on every database."""

from typing import Any

import anyio
import pytest
from ledgers import NOW
from sqlalchemy import func, select

from pipeline.domain.errors import LedgerAway
from pipeline.domain.jobs import RunId
from pipeline.ledger.database import Database
from pipeline.ledger.pacing import Pacers
from pipeline.ledger.tables import pacers

pytestmark = pytest.mark.anyio


async def test_each_sees_what_the_others_use_of_the_same_account(database: Database) -> None:
    one, two = Pacers(database, RunId(1)), Pacers(database, RunId(2))
    assert await one.announce({"a": (4.0, True)}, now_ms=NOW) == {"a": []}
    seen = await two.announce({"a": (1.5, False), "b": (9.0, True)}, now_ms=NOW)
    assert seen == {"a": [(4.0, True)], "b": []}
    assert await one.announce({"a": (3.0, False)}, now_ms=NOW) == {"a": [(1.5, False)]}
    assert (await two.announce({"a": (1.5, False)}, now_ms=NOW))["a"] == [(3.0, False)]


async def test_who_is_silent_for_three_seconds_takes_no_share(database: Database) -> None:
    one, two = Pacers(database, RunId(1)), Pacers(database, RunId(2))
    await one.announce({"a": (4.0, True)}, now_ms=NOW)
    assert (await two.announce({"a": (1.0, True)}, now_ms=NOW + 3_000))["a"] == [(4.0, True)]
    assert (await two.announce({"a": (1.0, True)}, now_ms=NOW + 3_001))["a"] == []


async def test_who_leaves_is_gone_at_once(database: Database) -> None:
    one, two = Pacers(database, RunId(1)), Pacers(database, RunId(2))
    await one.announce({"a": (4.0, True)}, now_ms=NOW)
    await one.leave()
    assert (await two.announce({"a": (1.0, True)}, now_ms=NOW))["a"] == []


async def test_those_that_died_are_forgotten_after_a_minute(database: Database) -> None:
    await Pacers(database, RunId(1)).announce({"a": (4.0, True)}, now_ms=NOW)
    two = Pacers(database, RunId(2))
    for after_ms, left in ((60_000, 2), (60_001, 1)):
        await two.announce({"a": (1.0, True)}, now_ms=NOW + after_ms)
        async with database.read() as connection:
            assert await connection.scalar(select(func.count()).select_from(pacers)) == left


async def test_all_may_come_back_at_once_after_a_long_absence(database: Database) -> None:
    runs = [Pacers(database, RunId(number)) for number in range(1, 4)]
    for now_ms in (NOW, NOW + 600_000):
        async with anyio.create_task_group() as group:
            for run in runs:
                group.start_soon(_announce, run, now_ms)
    assert len((await runs[0].announce({"a": (1.0, True)}, now_ms=NOW + 600_000))["a"]) == 2


async def _announce(run: Pacers, now_ms: int) -> None:
    await run.announce({"a": (1.0, True), "b": (1.0, False)}, now_ms=now_ms)


async def test_an_absent_ledger_is_not_waited_for(database: Database) -> None:
    async def refuse(_work: object) -> Any:
        raise LedgerAway("the ledger failed: gone")

    database.transact = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(LedgerAway):
        await Pacers(database, RunId(1)).announce({"a": (1.0, True)}, now_ms=NOW)
