"""The floor of bench/ledger.py: the same rows in the same tables by hand-written SQL alone.

No claims between processes, no leases, no reuse, no retries: a limit, not a peer. Each method
is one transaction over a group of image numbers; job, image, attempt and result n belong together.
"""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped]

ANSWER = '{"title":"a blue mug on a wooden table","alt":"' + "x" * 340 + '"}'
TAGS = '["mug","table","window","cup","blue","brown"]'

# What every row refers to: one library, one profile with its version, one run.
SETUP = (
    "INSERT INTO libraries (id, root) VALUES (1, '/photos/')",
    "INSERT INTO profiles (id, name) VALUES (1, 'general')",
    (
        "INSERT INTO profile_versions (id, profile_id, version, fingerprint, model, definition, "
        "created_at) VALUES (1, 1, 1, 'f1', 'sim-1', '{}', 0)"
    ),
    (
        "INSERT INTO runs (id, verb, state, version_id, host, pid, process_started, started_at, "
        "lease_until) VALUES (1, 'tag', 'running', 1, 'here', 1, '', 0, 0)"
    ),
)

IMAGE = ("id", "library_id", "uri", "size", "version", "found_in_run")
JOB = ("id", "image_id", "profile_id", "library_id", "version_id", "state")
ATTEMPT = (
    "id", "job_id", "run_id", "request_key", "state", "provider", "model_asked", "opened_at",
)  # fmt: skip
RESULT = (
    "id", "request_key", "version_id", "provider", "model", "answer", "tags", "confidence",
    "created_at",
)  # fmt: skip

CLAIM = "UPDATE jobs SET state = 'leased', run_id = 1 WHERE id = ?"
SETTLE_ATTEMPT = (
    "UPDATE attempts SET state = 'settled', model_answered = 'sim-1', request_id = ?, "
    "input_tokens = 900, output_tokens = 90, cost_nanos = 200000, settled_at = ? WHERE id = ?"
)
SETTLE_IMAGE = "UPDATE images SET sha256 = ?, format = 'jpeg', width = 640, height = 480 WHERE id=?"
SETTLE_JOB = (
    "UPDATE jobs SET state = 'done', run_id = NULL, attempts = attempts + 1, result_id = ?, "
    "input_tokens = 900, output_tokens = 90, cost_nanos = 200000, settled_at = ? WHERE id = ?"
)


def make_uri(number: int) -> str:
    return f"/photos/folder/{number // 1000:04}/{number:07}.jpg"


def make_key(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def _image_rows(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    return [(n, 1, make_uri(n), 1000 + n, f"17000000000{n:08}", 1) for n in numbers]


def _job_rows(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    return [(n, n, 1, 1, 1, "pending") for n in numbers]


def _attempt_rows(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    return [(n, n, 1, make_key(n), "open", "openai", "sim-1", _now()) for n in numbers]


def _result_rows(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    return [(n, make_key(n), 1, "openai", "sim-1", ANSWER, TAGS, 0.9, _now()) for n in numbers]


def _now() -> int:
    return time.time_ns() // 1_000_000


class BareLedger(Protocol):
    """What the floor can do; every call is one transaction."""

    async def enqueue(self, numbers: Sequence[int]) -> None: ...

    async def claim(self, numbers: Sequence[int]) -> None: ...

    async def open(self, numbers: Sequence[int]) -> None: ...

    async def settle(self, numbers: Sequence[int]) -> None: ...

    async def close(self) -> None: ...


class BareSqlite:
    """``executemany`` of the standard library, with the ledger's pragmas."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-32768"):
            self._connection.execute(f"PRAGMA {pragma}")
        for statement in SETUP:
            self._connection.execute(statement)

    async def enqueue(self, numbers: Sequence[int]) -> None:
        self._write(
            (_insert("images", IMAGE), _image_rows(numbers)),
            (_insert("jobs", JOB), _job_rows(numbers)),
        )

    async def claim(self, numbers: Sequence[int]) -> None:
        self._write((CLAIM, [(n,) for n in numbers]))

    async def open(self, numbers: Sequence[int]) -> None:
        self._write((_insert("attempts", ATTEMPT), _attempt_rows(numbers)))

    async def settle(self, numbers: Sequence[int]) -> None:
        now = _now()
        self._write(
            (SETTLE_ATTEMPT, [(f"req-{n}", now, n) for n in numbers]),
            (_insert("results", RESULT), _result_rows(numbers)),
            (SETTLE_IMAGE, [(make_key(n), n) for n in numbers]),
            (SETTLE_JOB, [(n, now, n) for n in numbers]),
        )

    async def close(self) -> None:
        self._connection.close()

    def _write(self, *steps: tuple[str, Sequence[tuple[Any, ...]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for statement, rows in steps:
            self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  names of ours


class BarePostgres:
    """asyncpg alone: multi-row INSERT … unnest (or COPY), ``executemany`` for updates.

    Args:
        connection: open and its own.
        by_copy: whether new rows come by COPY.
    """

    def __init__(self, connection: Any, *, by_copy: bool) -> None:
        self._connection = connection
        self._by_copy = by_copy

    @classmethod
    async def connect(cls, url: str, *, by_copy: bool) -> "BarePostgres":
        connection = await asyncpg.connect(url)
        for statement in SETUP:
            await connection.execute(statement)
        return cls(connection, by_copy=by_copy)

    async def enqueue(self, numbers: Sequence[int]) -> None:
        async with self._connection.transaction():
            await self._add("images", IMAGE, "bigint,bigint,text,bigint,text,bigint",
                            _image_rows(numbers))  # fmt: skip
            await self._add("jobs", JOB, "bigint,bigint,bigint,bigint,bigint,text",
                            _job_rows(numbers))  # fmt: skip

    async def claim(self, numbers: Sequence[int]) -> None:
        await self._connection.execute(
            "UPDATE jobs SET state = 'leased', run_id = 1 WHERE id = ANY($1::bigint[])", numbers
        )

    async def open(self, numbers: Sequence[int]) -> None:
        async with self._connection.transaction():
            await self._add("attempts", ATTEMPT, "bigint,bigint,bigint,bytea,text,text,text,bigint",
                            _attempt_rows(numbers))  # fmt: skip

    async def settle(self, numbers: Sequence[int]) -> None:
        now = _now()
        many = self._connection.executemany
        async with self._connection.transaction():
            await many(_numbered(SETTLE_ATTEMPT), [(f"req-{n}", now, n) for n in numbers])
            await self._add("results", RESULT,
                            "bigint,bytea,bigint,text,text,text,text,float8,bigint",
                            _result_rows(numbers))  # fmt: skip
            await many(_numbered(SETTLE_IMAGE), [(make_key(n), n) for n in numbers])
            await many(_numbered(SETTLE_JOB), [(n, now, n) for n in numbers])

    async def close(self) -> None:
        await self._connection.close()

    async def _add(
        self, table: str, columns: Sequence[str], types: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        if self._by_copy:
            await self._connection.copy_records_to_table(table, columns=columns, records=rows)
            return
        lists = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types.split(","), 1))
        await self._connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({lists})",  # noqa: S608  names of ours
            *map(list, zip(*rows, strict=True)),
        )


def _numbered(statement: str) -> str:
    """``?`` as asyncpg writes it: ``$1``, ``$2``, …"""
    first, *rest = statement.split("?")
    return first + "".join(f"${n}{piece}" for n, piece in enumerate(rest, 1))


async def open_bare(url: str, *, by_copy: bool) -> BareLedger:
    """The floor on a ledger that has its tables and nothing else."""
    if url.startswith("sqlite"):
        return BareSqlite(Path(url.removeprefix("sqlite:///")))
    return await BarePostgres.connect(url, by_copy=by_copy)
