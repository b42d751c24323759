"""Opens the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.config.settings import Settings
from pipeline.ledger.catalogue import Catalogue
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.reading import LedgerReader
from pipeline.ledger.runs import RunBook
from pipeline.ledger.schema import ensure_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The open ledger, by what one wants of it."""

    database: Database
    catalogue: Catalogue
    reader: LedgerReader
    runs: RunBook


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """Open the ledger; a new one gets its tables.

    Raises:
        ConfigurationError: the address is no ledger's.
        EnvironmentFault: it cannot be opened, or is of another program version.
    """
    url = parse_ledger_url(settings.ledger.url)
    async with Database(url, patience_seconds=settings.ledger.patience_s) as database:
        await ensure_schema(database)
        yield Ledger(
            database=database,
            catalogue=Catalogue(database),
            reader=LedgerReader(database),
            runs=RunBook(database, lease_seconds=settings.ledger.lease_s),
        )
