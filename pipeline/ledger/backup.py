"""A copy of a SQLite ledger, made while others write to it."""

import os
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio.from_thread
import anyio.to_thread
from sqlalchemy.engine import URL

from pipeline.domain.errors import EnvironmentFault, UsageError
from pipeline.ledger.database import Database

_STEP_PAGES: Final = 8_192
"""Pages copied between two looks at whether somebody wants us to stop: 32 MB."""
_BUSY_TIMEOUT_SECONDS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that is whole, checked and on the disk."""

    path: Path
    revision: str
    bytes: int
    seconds: float


async def back_up(database: Database, path: Path, *, replace: bool) -> Backup:
    """Copy the ledger as it is now; runs go on writing meanwhile.

    Args:
        database: a SQLite ledger of any revision.
        path: the file to make; it is whole or absent.
        replace: an older file at ``path`` may be replaced; it stays until the new one is in.

    Raises:
        UsageError: the ledger is on Postgres, there is a file already, or it is in use.
        EnvironmentFault: it cannot be written, or the copy is damaged.
    """
    if not database.is_sqlite:
        raise UsageError(_advise_postgres(database, path))
    return await anyio.to_thread.run_sync(partial(_make, database.path, path, replace=replace))


def _advise_postgres(database: Database, path: Path) -> str:
    url = database.url
    address = URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, url.query
    )
    command = ["pg_dump", "--format=custom", f"--file={path}", address.render_as_string()]
    return f"a ledger on Postgres is backed up by Postgres itself: {shlex.join(command)}"


def _make(ledger: Path, path: Path, *, replace: bool) -> Backup:
    began = time.monotonic()
    # a link stays one: what it points to is replaced
    target = Path(os.path.realpath(path))
    _check_target(ledger, target, path, replace=replace)
    partial_copy = target.with_name(f"{target.name}.partial-{os.getpid()}")
    with _told_as_faults(path), _removed_after(partial_copy):
        target.parent.mkdir(parents=True, exist_ok=True)
        # private until it is as private as the ledger
        os.close(os.open(partial_copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        revision = _copy(ledger, partial_copy)
        partial_copy.chmod(ledger.stat().st_mode & 0o777)
        _sync(partial_copy)
        _check_target(ledger, target, path, replace=replace)  # somebody may have been faster
        partial_copy.replace(target)
        if sys.platform != "win32":  # which syncs no folders
            _sync(target.parent)
    return Backup(
        path=path,
        revision=revision,
        bytes=target.stat().st_size,
        seconds=round(time.monotonic() - began, 3),
    )


def _check_target(ledger: Path, target: Path, path: Path, *, replace: bool) -> None:
    if not target.exists():
        return
    if target.samefile(ledger):
        raise UsageError(f"{path} is the ledger itself: name another file")
    if not target.is_file():
        raise UsageError(f"{path} is no file: name a file")
    if not replace:
        raise UsageError(f"{path} is there already: --force replaces it")
    # its log belongs to the old file: together with the new one it would be damage
    if _beside(target, "-wal").exists():
        raise UsageError(f"{path} is in use, or was when a program died: name another file")


def _copy(ledger: Path, copy: Path) -> str:
    """Copy and check; return the revision of both."""
    with (
        closing(sqlite3.connect(ledger, timeout=_BUSY_TIMEOUT_SECONDS)) as source,
        closing(sqlite3.connect(copy)) as made,
    ):
        # A backup starts anew when somebody writes between its steps, and would never end beside
        # a busy run. Inside a read transaction every step sees the same moment, and with a
        # write-ahead log readers hinder no writer.
        source.execute("BEGIN")
        revision = _read_revision(source)
        made.execute("PRAGMA synchronous=OFF")  # synced once, when it is whole
        source.backup(made, pages=_STEP_PAGES, progress=_stop_when_cancelled)
        source.execute("ROLLBACK")
        said = made.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok" or _read_revision(made) != revision:
            raise EnvironmentFault(
                f"the copy of {ledger} is damaged ({' '.join(str(said).split())}), so no backup "
                "was made: `tagpipe db check` tells whether the ledger is, too"
            )
    return revision


def _read_revision(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _stop_when_cancelled(_status: int, _remaining: int, _total: int) -> None:
    anyio.from_thread.check_cancelled()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _told_as_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise EnvironmentFault(
            f"cannot write the backup {path}: {said}; nothing was replaced: "
            "check the path, its permissions and free space"
        ) from error


@contextmanager
def _removed_after(copy: Path) -> Iterator[None]:
    """SQLite puts files of its own beside the copy while it is open."""
    try:
        yield
    finally:
        for name in (copy, *(_beside(copy, end) for end in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                name.unlink()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
