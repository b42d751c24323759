"""Starts the program with another host name or a wall clock that jumps."""

from pathlib import Path

import anyio
from sqlalchemy import select

from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.tables import runs

_LAUNCHER = Path(__file__).parent / "launcher"


def bend(jumps: str | None, looked: Path, host: str | None) -> dict[str, str]:
    """Variables for ``start``; see ``launcher/sitecustomize.py``."""
    bent = {"PYTHONPATH": str(_LAUNCHER), "DRILL_LOOKED": str(looked)}
    if jumps is not None:
        bent["DRILL_JUMPS"] = jumps
    if host is not None:
        bent["DRILL_HOST"] = host
    return bent


def read_hosts(ledger: str) -> set[str]:
    """The hosts that runs were made on, as the ledger saw them."""

    async def read() -> set[str]:
        async with Database(parse_ledger_url(ledger)) as database, database.read() as connection:
            return set((await connection.execute(select(runs.c.host))).scalars())

    return anyio.run(read)
