"""Looking after the ledger: is it consistent, how large is it, give space back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.ledger.database import Database
from pipeline.ledger.invariants import RESTORE, RULES, Rule
from pipeline.ledger.tables import images, jobs, metadata

_EXAMPLES: Final = 3
_MEASURED_BYTES: Final = 4 * 1024**3
"""SQLite reads the whole file to say what each table takes: not worth it beyond this."""

_POSTGRES_SIZES: Final = (
    "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables "
    "WHERE schemaname = current_schema() ORDER BY relname"
)
_SQLITE_SIZES: Final = (
    "SELECT owner.tbl_name, sum(pages.pgsize) FROM dbstat AS pages "
    "JOIN sqlite_master AS owner ON owner.name = pages.name "
    "WHERE pages.aggregate = TRUE GROUP BY owner.tbl_name ORDER BY owner.tbl_name"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule of the ledger that does not hold."""

    rule: str
    count: int
    """Rows that break it."""
    table: str
    """Where those rows are; empty for damage to the file."""
    examples: tuple[int, ...]
    """Ids of some of them."""
    advice: str
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSize:
    """How much the ledger holds."""

    rows: Mapping[str, int]
    """Rows of each table."""
    jobs: Mapping[str, int]
    """Jobs by state, those of images that are gone, too; a state without jobs is left out."""
    bytes: int
    """On disk; on Postgres, of the whole database."""
    bytes_of_tables: Mapping[str, int] | None
    """On disk with their indexes; None when the database cannot say it quickly."""

    @property
    def bytes_per_image(self) -> int | None:
        """All bytes over all images that were ever seen; None when there are none."""
        count = self.rows[images.name]
        return self.bytes // count if count else None


async def check_ledger(database: Database) -> list[Violation]:
    """Every rule that does not hold; an empty list is health.

    It may run beside a tagging run: each rule is one query, which sees whole transactions.
    """
    # the readers' connections would sort in memory, however large the ledger is
    async with database.exclusive() as connection:
        damage = await _find_damage(database, connection)
        if damage is not None:  # then no query can be trusted
            return [damage]
        found = [await _apply(connection, rule) for rule in RULES]
    return [violation for violation in found if violation is not None]


async def measure_ledger(database: Database) -> LedgerSize:
    """Rows of each table, jobs by state and bytes on disk; it counts, so it takes a while."""
    by_state = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    async with database.exclusive() as connection:  # as above
        rows = {
            # the names of tables are a kind of str that JSON does not take for keys
            str(table.name): await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }
        states: dict[str, int] = dict((await connection.execute(by_state)).all())
        size = await _measure_bytes(database, connection)
        tables = await _measure_tables(database, connection, size)
    return LedgerSize(rows=rows, jobs=states, bytes=size, bytes_of_tables=tables)


async def vacuum_ledger(database: Database) -> tuple[int, int]:
    """Rewrite the file without its gaps; return bytes before and after.

    Raises:
        EnvironmentFault: another process is writing, or the disk has no room for the copy.
    """
    async with database.exclusive() as connection:
        before = await _measure_bytes(database, connection)
        await connection.exec_driver_sql("VACUUM")
        if database.is_sqlite:
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, await _measure_bytes(database, connection)


async def _apply(connection: AsyncConnection, rule: Rule) -> Violation | None:
    counting = f"SELECT count(*) {rule.broken}"
    count = await connection.scalar(text(counting))
    if not count:
        return None
    naming = f"SELECT {rule.row} {rule.broken} ORDER BY {rule.row} LIMIT {_EXAMPLES}"
    examples = (await connection.execute(text(naming))).scalars()
    return Violation(
        rule=rule.text,
        count=count,
        table=rule.table,
        examples=tuple(examples),
        advice=rule.advice,
    )


async def _find_damage(database: Database, connection: AsyncConnection) -> Violation | None:
    """What SQLite finds wrong with its file; Postgres looks after its own."""
    if not database.is_sqlite:
        return None
    said = await connection.scalar(text("PRAGMA quick_check(1)"))
    if said == "ok":
        return None
    rule = f"the database file is undamaged ({' '.join(str(said).split())})"
    return Violation(rule=rule, count=1, table="", examples=(), advice=RESTORE)


async def _measure_bytes(database: Database, connection: AsyncConnection) -> int:
    if database.is_sqlite:
        files = [database.path, database.path.with_name(database.path.name + "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())
    size: int = await connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
    return size


async def _measure_tables(
    database: Database, connection: AsyncConnection, total: int
) -> dict[str, int] | None:
    if not database.is_sqlite:
        return await _read_sizes(connection, _POSTGRES_SIZES)
    compiled = await connection.scalar(
        text("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')")
    )
    if not compiled or total > _MEASURED_BYTES:
        return None
    return await _read_sizes(connection, _SQLITE_SIZES)


async def _read_sizes(connection: AsyncConnection, query: str) -> dict[str, int]:
    known = {str(table.name) for table in metadata.sorted_tables}
    found = (await connection.execute(text(query))).all()
    return {name: int(size) for name, size in found if name in known}
