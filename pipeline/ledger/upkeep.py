"""Looking after the ledger: is it consistent, how large is it, give space back."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.ledger.database import Database
from pipeline.ledger.tables import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule of the ledger that does not hold."""

    rule: str
    count: int


# Each query counts the rows that break the rule: zero is health.
_RULES = {
    "every job is in a known state": (
        "SELECT count(*) FROM jobs WHERE state NOT IN "
        "('pending', 'leased', 'done', 'failed', 'skipped')"
    ),
    "every leased job has a run that is open": (
        "SELECT count(*) FROM jobs LEFT JOIN runs ON runs.id = jobs.run_id "
        "WHERE jobs.state = 'leased' AND (runs.id IS NULL OR runs.ended_at IS NOT NULL)"
    ),
    "no job that is not leased has an owner": (
        "SELECT count(*) FROM jobs WHERE state <> 'leased' AND run_id IS NOT NULL"
    ),
    "every job done has an answer": (
        "SELECT count(*) FROM jobs LEFT JOIN results ON results.id = jobs.result_id "
        "WHERE jobs.state = 'done' AND results.id IS NULL"
    ),
    "every job that failed or was skipped has a cause": (
        "SELECT count(*) FROM jobs WHERE state IN ('failed', 'skipped') AND cause IS NULL"
    ),
    "every job belongs to an image": (
        "SELECT count(*) FROM jobs LEFT JOIN images ON images.id = jobs.image_id "
        "WHERE images.id IS NULL"
    ),
    "every open attempt belongs to a run that is open": (
        "SELECT count(*) FROM attempts JOIN runs ON runs.id = attempts.run_id "
        "WHERE attempts.state = 'open' AND runs.ended_at IS NOT NULL"
    ),
    "every answer comes from a settled attempt": (
        "SELECT count(*) FROM results LEFT JOIN attempts ON attempts.id = results.id "
        "WHERE attempts.id IS NULL OR attempts.state <> 'settled'"
    ),
    "no amount is negative": (
        "SELECT count(*) FROM attempts WHERE cost_nanos < 0 OR input_tokens < 0 "
        "OR output_tokens < 0"
    ),
}


async def check_ledger(database: Database) -> list[Violation]:
    """Every rule that does not hold; an empty list is health."""
    async with database.read() as connection:
        counts = {rule: await connection.scalar(text(query)) or 0 for rule, query in _RULES.items()}
        damage = await _find_damage(database, connection)
    if damage is not None:
        counts[f"the database file is undamaged ({damage})"] = 1
    return [Violation(rule=rule, count=count) for rule, count in counts.items() if count]


async def measure_ledger(database: Database) -> dict[str, int]:
    """Rows of each table, and bytes on disk as ``bytes``."""
    async with database.read() as connection:
        sizes = {
            str(table.name): await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }
        size = await _measure_bytes(database, connection)
    return {**sizes, "bytes": size}


async def _find_damage(database: Database, connection: AsyncConnection) -> str | None:
    """What SQLite finds wrong with its file; Postgres looks after its own."""
    if not database.is_sqlite:
        return None
    said = await connection.scalar(text("PRAGMA quick_check(1)"))
    return None if said == "ok" else str(said)


async def _measure_bytes(database: Database, connection: AsyncConnection) -> int:
    if database.is_sqlite:
        files = [database.path, database.path.with_name(database.path.name + "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())
    size: int = await connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
    return size


async def vacuum_ledger(database: Database) -> tuple[int, int]:
    """Rewrite the file without its gaps; return bytes before and after.

    Raises:
        EnvironmentFault: another process is writing, or the disk has no room for the copy.
    """
    before = (await measure_ledger(database))["bytes"]
    async with database.exclusive() as connection:
        await connection.exec_driver_sql("VACUUM")
        if database.is_sqlite:
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, (await measure_ledger(database))["bytes"]
