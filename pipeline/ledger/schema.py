"""Bringing the database to the tables we know: new ledgers at once, old ones on request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.config.paths import migrations_folder
from pipeline.domain.errors import EnvironmentFault
from pipeline.ledger.database import Database
from pipeline.ledger.tables import metadata

HEAD: Final = "0004"
"""The newest migration; a test holds it equal to Alembic's. Known here so that Alembic,
which is slow to import, is loaded only when there is something to migrate."""

_LOCK: Final = int.from_bytes(b"tagpipe", "big")
"""Postgres keeps its advisory locks by number: one that no other program is likely to take."""


async def ensure_schema(database: Database) -> None:
    """Make the tables of a new ledger; refuse one that is older or newer than this program.

    Raises:
        EnvironmentFault: naming the ledger, its revision and the command that mends it.
    """
    revision = await read_revision(database) or await _create(database)
    if revision == HEAD:
        return
    raise EnvironmentFault(
        f"the ledger {database.name} has revision {revision}, this program needs {HEAD}: "
        "run `tagpipe db backup -o FILE`, then `tagpipe db upgrade` (or install the newer tagpipe)"
    )


async def _create(database: Database) -> str:
    """All tables at once: a test proves that the migrations lead to the same.

    Returns the revision that is there then: another process may have been faster.
    """
    async with _alone(database) as connection:
        if revision := await _find_revision(connection):
            return revision
        await connection.run_sync(metadata.create_all)
        # a downgrade to nothing leaves this one table, empty
        await connection.execute(
            text("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT NOT NULL)")
        )
        await connection.execute(
            text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD}
        )
    return HEAD


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction in which no other process makes or moves tables."""
    async with database.overhaul() as connection:
        if not database.is_sqlite:  # where every writer is alone
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        yield connection


async def read_revision(database: Database) -> str | None:
    """The ledger's migration revision; None when it has no tables yet."""
    async with database.read() as connection:
        return await _find_revision(connection)


async def _find_revision(connection: AsyncConnection) -> str | None:
    if not await connection.run_sync(lambda c: inspect(c).has_table("alembic_version")):
        return None
    found: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


async def upgrade(database: Database, revision: str = "head") -> None:
    """Move the ledger to a revision, up or down, in one transaction.

    Raises:
        EnvironmentFault: it has a revision that this program does not know.
    """
    from alembic.util import CommandError

    try:
        async with _alone(database) as connection:
            await connection.run_sync(_migrate, revision)
    except CommandError as error:
        raise EnvironmentFault(
            f"the ledger {database.name} cannot be moved to {revision}: {error}; "
            "install the newer tagpipe"
        ) from error


def _migrate(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    is_down = revision == "base" or (revision != "head" and revision < HEAD)
    (command.downgrade if is_down else command.upgrade)(config, revision)
