"""A ledger of each kind, and somebody at work on it: what nearly every contract needs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from databases import KINDS, open_database
from ledgers import NOW, Desk, open_desk

from pipeline.ledger.database import Database
from pipeline.ledger.upkeep import check_ledger


@pytest.fixture(params=KINDS)
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """An empty ledger; whatever is done to it must leave it sound."""
    async with open_database(request.param, tmp_path) as opened:
        yield opened
        assert await check_ledger(opened) == []


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with open_desk(database) as opened:
        yield opened
        await opened.queue.release(now_ms=NOW)
