"""Where paid answers wait when the ledger stays away: a local file for each run, replayed later."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import orjson
from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.errors import EnvironmentFault, LedgerAway
from pipeline.domain.images import ImageInfo
from pipeline.domain.jobs import AttemptId, ClaimedJob, ReviewState, RunId
from pipeline.domain.outcomes import Deferred, Failed, Passed, Tagged
from pipeline.file_lock import try_lock
from pipeline.ledger.database import Database, name_ledger
from pipeline.ledger.dialects import among
from pipeline.ledger.settlement import Origin, Settlement, write_settlements
from pipeline.ledger.tables import attempts, images, job_is_pending, jobs, runs

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".spool"
_NAME: Final = re.compile(rf"run-(\d+){re.escape(_SUFFIX)}")
_PAID_KINDS: Final = {kind.__name__: kind for kind in (Tagged, Failed, Deferred, Passed)}


def find_spool_folder(url: URL) -> Path:
    """Beside a SQLite ledger's file; for a server's ledger, a folder of its own under ``var``."""
    if url.get_backend_name() == "sqlite":
        return Path(f"{url.database}-spool")
    return Path("var", "spool", sha256(name_ledger(url).encode()).hexdigest()[:12])


class Spool:
    """One run's file. Its room is taken when the run begins, for a disk that is full later.

    Bounded by what is in flight: nothing new is asked while the ledger is away.

    Args:
        folder: where the ledger's spools are.
        run: whose file this is.
        reserved_bytes: room that is taken at once.
    """

    def __init__(self, folder: Path, run: RunId, *, reserved_bytes: int) -> None:
        self.path = folder / f"run-{run}{_SUFFIX}"
        self._reserved_bytes = reserved_bytes
        self._file: BinaryIO | None = None
        self._has_made_folder = False
        self.count = 0
        """Settlements that wait in it."""

    def open(self) -> None:
        """Take the room.

        Raises:
            EnvironmentFault: the folder cannot be written.
        """
        try:
            self._has_made_folder = not self.path.parent.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                _set_aside(self.path, "it is in the way of this run's own")
            self._file = self.path.open("wb")
            try_lock(self._file.fileno())
            self._file.write(bytes(self._reserved_bytes))
            self._sync()
            self._file.seek(0)
        except OSError as error:
            self.close()
            raise EnvironmentFault(
                f"cannot make {self.path}, where paid answers wait when the ledger is away: "
                f"{error.strerror}; ledger.spool names another folder"
            ) from error

    def put(self, settlement: Settlement, origin: Origin) -> None:
        """Keep what could not be settled.

        It is on the disk when this returns: the loop waits for it, since nothing else can go on.

        Raises:
            EnvironmentFault: there is no room for it, either.
        """
        line = {
            "kind": type(settlement.outcome).__name__,
            "settlement": settlement,
            "origin": origin,
        }
        try:
            if self._file is None:
                raise OSError(0, "the spool is closed")
            self._file.write(orjson.dumps(line, default=bytes.hex) + b"\n")
            self._sync()
        except OSError as error:
            raise EnvironmentFault(f"cannot write {self.path}: {error.strerror}") from error
        self.count += 1

    def describe(self) -> str:
        """What waits in it, as the end of a sentence; nothing when it is empty."""
        if not self.count:
            return ""
        what = "answer that was paid for waits" if self.count == 1 else "paid answers wait"
        return f"; {self.count:,} {what} in {self.path} and will be settled then"

    def close(self) -> None:
        """Leave the file if something waits in it."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if not self.count:
            self.path.unlink(missing_ok=True)
            if self._has_made_folder:
                with suppress(OSError):  # somebody else's file is in it
                    self.path.parent.rmdir()

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())


_Entry: TypeAlias = tuple[Settlement, Origin]


async def replay(folder: Path, database: Database) -> int:
    """Settle what waits from runs that are over; return how many paid answers came home.

    Each is settled once, however often a file is replayed. A file that cannot be used is set
    aside, and told of: it is damaged, or of another ledger, which may have been made anew.

    Raises:
        LedgerAway: the ledger is away again; the file stays.
    """
    replayed = 0
    for run, path in _find_spools(folder):
        replayed += await _replay_file(path, run, database)
    return replayed


def _find_spools(folder: Path) -> list[tuple[RunId, Path]]:
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("run-*"))
    return sorted((RunId(int(name[1])), path) for name, path in names if name)


async def _replay_file(path: Path, run: RunId, database: Database) -> int:
    try:
        async with database.write() as connection:
            if not await _is_over(connection, run):
                return 0
            entries = _read_file(path)
            known = await _find_known(connection, entries)
            unsettled = [entry for entry in entries if known.get(entry[0].attempt_id) is False]
            await _settle(connection, unsettled)
    except _NotForUs:
        return 0
    except LedgerAway:
        raise
    except (EnvironmentFault, ValueError, KeyError, TypeError) as fault:
        _set_aside(path, str(fault))
        return 0
    _dispose(path, is_ours=bool(known) or not entries)
    return len(unsettled)


def _dispose(path: Path, *, is_ours: bool) -> None:
    if is_ours:
        path.unlink(missing_ok=True)
    else:
        _set_aside(path, "this ledger knows nothing of it")


async def _settle(connection: AsyncConnection, entries: Sequence[_Entry]) -> None:
    for origin in {origin for _, origin in entries}:
        settlements = [settlement for settlement, asked in entries if asked == origin]
        held = await _hold_unchanged(connection, settlements, origin)
        await connection.run_sync(write_settlements, settlements, held, origin)


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_suffix(".aside")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_suffix(f".aside{number}")
    path.replace(aside)
    _log.warning("spool.set_aside", extra={"kept_as": str(aside), "why": why})


class _NotForUs(Exception):
    """The file is gone, is not ours to read, or is still written to.

    A process that lives may write to it, whatever the ledger thinks of its run.
    """


def _read_file(path: Path) -> list[_Entry]:
    try:
        with path.open("rb") as file:
            if not try_lock(file.fileno()):
                raise _NotForUs
            text = file.read()
    except FileNotFoundError:
        raise _NotForUs from None
    except OSError as error:  # no fault of the ledger, which is what it would be taken for
        _log.warning("spool.unreadable", extra={"path": str(path), "said": error.strerror})
        raise _NotForUs from error
    # behind the last whole line is room that was never used, or a line cut by a kill
    lines = text.partition(b"\0")[0].split(b"\n")[:-1]
    return [_parse(orjson.loads(line)) for line in lines]


def _parse(line: Mapping[str, Any]) -> _Entry:
    told = dict(line["settlement"])
    for name in ("sha256", "request_key"):
        told[name] = None if told[name] is None else bytes.fromhex(told[name])
    settlement = Settlement(
        job=_reader_of(ClaimedJob).validate_python(told.pop("job")),
        outcome=_reader_of(_PAID_KINDS[line["kind"]]).validate_python(told.pop("outcome")),
        info=_reader_of(ImageInfo | None).validate_python(told.pop("info")),
        tags=tuple(told.pop("tags")),
        review=ReviewState(told.pop("review")),
        **told,
    )
    return settlement, Origin(**line["origin"])


@cache
def _reader_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


async def _is_over(connection: AsyncConnection, run: RunId) -> bool:
    """A run that is at work writes its spool itself; one that the ledger lacks is not its own."""
    ended = select(runs.c.ended_at).where(runs.c.id == run)
    return await connection.scalar(ended) is not None


async def _find_known(
    connection: AsyncConnection, entries: Sequence[_Entry]
) -> dict[AttemptId | None, bool]:
    """Which attempts this ledger has on record, and whether each is settled."""
    ids = [settlement.attempt_id for settlement, _ in entries]
    query = select(attempts.c.id, attempts.c.request_key, attempts.c.state).where(
        among(connection, attempts.c.id, ids)
    )
    rows = {row.id: row for row in await connection.execute(query.with_for_update())}
    return {
        settlement.attempt_id: rows[settlement.attempt_id].state == "settled"
        for settlement, _ in entries
        if settlement.attempt_id in rows
        and rows[settlement.attempt_id].request_key == settlement.request_key
    }


async def _hold_unchanged(
    connection: AsyncConnection, settlements: Sequence[Settlement], origin: Origin
) -> AbstractSet[int]:
    """Jobs that nobody has taken up since, for a picture that is still the same."""
    query = (
        select(jobs.c.id, images.c.size, images.c.version)
        .join(images, images.c.id == jobs.c.image_id)
        .where(
            among(connection, jobs.c.id, [s.job.id for s in settlements]),
            job_is_pending,
            jobs.c.version_id == origin.version_id,
        )
        .with_for_update(of=jobs, skip_locked=True)
    )
    free = {row.id: (row.size, row.version) for row in await connection.execute(query)}
    return {
        s.job.id
        for s in settlements
        if free.get(s.job.id) == (s.job.image.size, s.job.image.version)
    }
