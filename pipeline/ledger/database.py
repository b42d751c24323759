"""Connections and transactions: the one place that knows which database it is."""

import importlib.util
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    extract,
    func,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, StaticPool

from pipeline.domain.errors import (
    ConfigurationError,
    EnvironmentFault,
    LedgerAway,
    MissingExtraError,
)
from pipeline.ledger.faults import CONNECT_TIMEOUT_SECONDS, name_fault
from pipeline.ledger.patience import Patience

T = TypeVar("T")

_BUSY_TIMEOUT_SECONDS = 30
_WAL_TRIES = 100
_WAL_PAUSE_SECONDS = 0.02
_ALLOWED = "allowed: sqlite:///path, a plain path, postgresql://user:password@host/database"
_POSTGRES_OPTIONS = frozenset({"host", "port", "sslmode"})


def parse_ledger_url(text: str) -> URL:
    """Read ``sqlite:///path``, a plain path, or ``postgresql://…``.

    Raises:
        ConfigurationError: for any other kind of address; its text holds no password.
        MissingExtraError: for Postgres, when its driver is not installed.
    """
    if "://" not in text:
        return URL.create("sqlite+aiosqlite", database=text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # the cause may quote a piece of the password that was taken for a port
        raise ConfigurationError(
            f"ledger.url: this is no address that can be read; {_ALLOWED} "
            "(special characters of a password as %xx)"
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        return url.set(drivername="sqlite+aiosqlite")
    if kind in {"postgresql", "postgres"}:
        return _parse_postgres(url)
    raise ConfigurationError(f"ledger.url: {kind!r} is no ledger; {_ALLOWED}")


def _parse_postgres(url: URL) -> URL:
    if importlib.util.find_spec("asyncpg") is None:
        raise MissingExtraError("a ledger on Postgres", "postgres")
    if not url.database:
        raise ConfigurationError("ledger.url: name a database: postgresql://…/DATABASE")
    for option in url.query:
        if option not in _POSTGRES_OPTIONS:
            allowed = ", ".join(sorted(_POSTGRES_OPTIONS))
            raise ConfigurationError(f"ledger.url: no option {option!r}; allowed: {allowed}")
    return url.set(drivername="postgresql+asyncpg")


def name_ledger(url: URL) -> str:
    """The address, fit for people: a path, or a URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


class Database:
    """An open ledger database.

    ``read()`` sees committed data and never waits for a writer; ``write()`` is one
    transaction, one writer at a time on SQLite. ``transact()`` and ``look_up()`` are the same
    for the hot path: a function that does all its work at once.

    Args:
        url: of ``parse_ledger_url``.
        patience_seconds: how long the parts of a run wait while the database is away.
    """

    def __init__(self, url: URL, *, patience_seconds: float = 0.0) -> None:
        self.url = url
        self.patience = Patience(patience_seconds)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        make = _make_sqlite_engine if self.is_sqlite else _make_postgres_engine
        self._writer = make(url, _ENGINE_WRITES)
        self._readers = make(url, _ENGINE_READS)
        self._lookups = self._readers if self.is_sqlite else make(url, _ENGINE_LOOKUPS)
        self._outside = _make_outside_engine(url)
        self._threads = _SqliteThreads(url) if self.is_sqlite else None
        self._writing = anyio.Lock()

    @property
    def name(self) -> str:
        """The address, fit for people: a path, or a URL without its password."""
        return name_ledger(self.url)

    @property
    def path(self) -> Path:
        """The database file of a SQLite ledger."""
        return Path(str(self.url.database))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries."""
        with self._guard(is_writing=False):
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed on leaving, rolled back on an error.

        It is not broken off by a cancellation: SQLite's asynchronous driver would keep the lock.
        """
        with self._guard(is_writing=True), anyio.CancelScope(shield=True):
            async with self._alone(), self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def overhaul(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may take long: no statement of it is ended for its time."""
        engine = self._writer if self.is_sqlite else self._outside
        with self._guard(is_writing=True), anyio.CancelScope(shield=True):
            async with self._alone(), engine.begin() as connection:
                yield connection

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in one transaction, which is not broken off by a cancellation."""
        with self._guard(is_writing=True), anyio.CancelScope(shield=True):
            async with self._alone():
                if self._threads is not None:
                    done = await self._threads.write(work)
                else:
                    async with self._writer.begin() as connection:
                        done = await connection.run_sync(work)
        return done

    async def look_up(self, work: Callable[[Connection], T]) -> T:
        """Do ``work``, which only reads rows by their keys."""
        with self._guard(is_writing=False):
            if self._threads is not None:
                return await self._threads.read(work)
            async with self._lookups.connect() as connection:
                return await connection.run_sync(work)

    def _guard(self, *, is_writing: bool) -> "_Guard":
        return _Guard(self, is_writing)

    def _alone(self) -> AbstractAsyncContextManager[object]:
        """One writer at a time on SQLite: two of our own would only sleep on each other's lock."""
        return self._writing if self.is_sqlite else nullcontext()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside any transaction, for statements that refuse to be in one."""
        with self._guard(is_writing=True):
            async with self._outside.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def read_time(self) -> int:
        """The ledger's clock, ms: the server's, so that all hosts agree; SQLite has ours."""
        if self.is_sqlite:
            return time.time_ns() // 1_000_000
        async with self.read() as connection:
            told = await connection.execute(select(extract("epoch", func.clock_timestamp())))
            return int(told.scalar_one() * 1000)

    async def __aenter__(self) -> Self:
        if not self.is_sqlite:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot make the ledger's folder {self.path.parent}: {error.strerror}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._threads is not None:
            await self._threads.close()
        await self._outside.dispose()
        await self._lookups.dispose()
        await self._readers.dispose()
        await self._writer.dispose()


class _Guard:
    """Translates the driver's faults into ours, once; notes when the ledger is there."""

    def __init__(self, database: Database, is_writing: bool) -> None:
        self._database = database
        self._is_writing = is_writing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError | OSError):
            fault = name_fault(error, self._database.name)
            if isinstance(fault, LedgerAway):
                fault.is_writing = self._is_writing
            raise fault from error
        if error is None:
            self._database.patience.note_presence(is_writing=self._is_writing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What an engine is for."""

    begin: str
    """How a transaction of it begins on SQLite."""
    sqlite_connections: int
    postgres_connections: int
    sqlite_cache_kib: int
    """Page cache of each connection."""


# Read-then-write transactions would fail at once with SQLITE_BUSY_SNAPSHOT if they began
# deferred, whatever the busy timeout.
_ENGINE_WRITES = _Use(
    begin="BEGIN IMMEDIATE", sqlite_connections=1, postgres_connections=3, sqlite_cache_kib=8_192
)
_ENGINE_READS = _Use(
    begin="BEGIN", sqlite_connections=4, postgres_connections=3, sqlite_cache_kib=2_048
)
# Keys are hashes, so that each lands on another page: here a larger cache does save time.
_HOT_WRITES = replace(_ENGINE_WRITES, sqlite_cache_kib=16_384)
_ENGINE_LOOKUPS = _Use(
    begin="BEGIN", sqlite_connections=0, postgres_connections=2, sqlite_cache_kib=2_048
)

# Rows are found by their keys. A plan is made when the tables are still empty, where reading all
# of a table looks cheapest, and is kept until the server has gathered statistics.
_BY_KEYS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
# A process that is frozen in mid-transaction must not hold its locks, nor others wait, for ever.
_NO_LONGER = {"idle_in_transaction_session_timeout": "10s", "lock_timeout": "30s"}
# The server cannot tell when it is frozen itself, or cut off: that is for us to notice.
_COMMAND_TIMEOUT_SECONDS = 40.0


class _SqliteThreads:
    """A writing and a reading connection that work in threads, a whole transaction at a time.

    Through the asynchronous driver each statement would change threads four times.
    """

    def __init__(self, url: URL) -> None:
        self._engines = [_make_threaded_engine(url, use) for use in (_HOT_WRITES, _ENGINE_READS)]
        self._one_read = anyio.CapacityLimiter(1)
        self._one_write = anyio.CapacityLimiter(1)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._run, 0, work, limiter=self._one_write)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._run, 1, work, limiter=self._one_read)

    def _run(self, which: int, work: Callable[[Connection], T]) -> T:
        with self._engines[which].begin() as connection:
            return work(connection)

    async def close(self) -> None:
        for engine in self._engines:
            await anyio.to_thread.run_sync(engine.dispose)


def _make_threaded_engine(url: URL, use: _Use) -> Engine:
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        poolclass=StaticPool,
        connect_args={"timeout": _BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", partial(_configure_sqlite, use))
    event.listen(engine, "begin", lambda c: c.exec_driver_sql(use.begin))
    return engine


def _make_sqlite_engine(url: URL, use: _Use) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=use.sqlite_connections,
        max_overflow=0,
        pool_timeout=None,
        pool_use_lifo=True,
        connect_args={"timeout": _BUSY_TIMEOUT_SECONDS},
    )
    event.listen(engine.sync_engine, "connect", partial(_configure_sqlite, use))
    event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql(use.begin))
    return engine


def _make_postgres_engine(url: URL, use: _Use) -> AsyncEngine:
    return create_async_engine(
        _write_for_driver(url),
        pool_size=use.postgres_connections,
        max_overflow=0,
        pool_timeout=None,
        connect_args={"timeout": CONNECT_TIMEOUT_SECONDS, **_postgres_bounds(use)},
    )


def _postgres_bounds(use: _Use) -> dict[str, Any]:
    """Queries for people and exports may take long, and rest between chunks: they lock no rows."""
    if use is _ENGINE_READS:
        return {}
    return {
        "command_timeout": _COMMAND_TIMEOUT_SECONDS,
        "server_settings": {**_NO_LONGER, **_BY_KEYS},
    }


def _make_outside_engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        return create_async_engine(url, poolclass=NullPool)
    return create_async_engine(
        _write_for_driver(url),
        poolclass=NullPool,
        connect_args={"timeout": CONNECT_TIMEOUT_SECONDS},
    )


def _write_for_driver(url: URL) -> URL:
    """The driver says ``ssl`` to what everybody else calls ``sslmode``."""
    renamed = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    return url.set(query=renamed)


def _configure_sqlite(use: _Use, connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in (
        "synchronous=NORMAL",
        f"cache_size=-{use.sqlite_cache_kib}",
        "journal_size_limit=67108864",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Only the first connection to a new file has to; the others find it done.

    SQLite does not wait its busy timeout here when another program is about to switch, too.
    """
    for tries_left in reversed(range(_WAL_TRIES)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not tries_left:
                raise
            time.sleep(_WAL_PAUSE_SECONDS)
        else:
            return
