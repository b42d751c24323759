"""Batches as the ledger and the server see them: where they stand, and whether all is well."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from command_line import read_books, run
from sqlalchemy import func, select

from drills.audit import Evidence
from drills.stage import Stage
from drills.verdict import DrillBroken
from pipeline.domain.batches import OVER, BatchState, RemoteState
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.tables import attempts, batches

PACKS = "packs"
SETTINGS = (f"batch.folder={PACKS}", "batch.poll_s=0.5", "ledger.lease_s=5")
"""Of a drill with batches: their files in a folder of their own, and short waits."""
BATCH = ("--mode", "batch")
_LOOK_SECONDS = 0.001
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One batch on the ledger."""

    id: int
    run_id: int
    state: BatchState
    input_file: str | None
    remote_id: str | None
    remote_state: str | None
    lines: int
    open: int
    """Of its attempts."""
    settled: int

    @property
    def is_over(self) -> bool:
        return self.state in OVER


Moment = Callable[[Sequence[Row]], bool]


def prepare_ledger(stage: Stage) -> None:
    """Make its tables, so that it can be looked at from the first moment."""
    done = run(stage.folder, "db", "upgrade", "--ledger", stage.ledger)
    stage.demand(done.code == 0, f"db upgrade: {done.err}")


def read_rows(ledger: str) -> list[Row]:
    """All batches, oldest first."""

    async def read() -> list[Row]:
        async with Database(parse_ledger_url(ledger)) as database:
            return await _read_rows(database)

    return anyio.run(read)


async def _read_rows(database: Database) -> list[Row]:
    columns = (
        batches.c.id, batches.c.run_id, batches.c.state, batches.c.input_file,
        batches.c.remote_id, batches.c.remote_state, batches.c.lines,
    )  # fmt: skip
    query = (
        select(
            *columns,
            func.count().filter(attempts.c.state == "open").label("open"),
            func.count().filter(attempts.c.state == "settled").label("settled"),
        )
        .join(attempts, attempts.c.batch_id == batches.c.id, isouter=True)
        .group_by(*columns)
        .order_by(batches.c.id)
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return [Row(**{**row, "state": BatchState(row["state"])}) for row in rows]


def freeze_at(ledger: str, process: subprocess.Popen[str], moment: Moment, delay: float) -> bool:
    """Stop a process so many seconds after a moment; False when it had ended before.

    Raises:
        DrillBroken: the moment did not come.
    """

    async def watch() -> bool:
        end = time.monotonic() + _LONGEST_WAIT_SECONDS
        async with Database(parse_ledger_url(ledger)) as database:
            while not moment(await _read_rows(database)):
                if process.poll() is not None:
                    return False
                if time.monotonic() > end:
                    raise DrillBroken("no batch came to the step that was waited for")
                await anyio.sleep(_LOOK_SECONDS)
            await anyio.sleep(delay)
            process.send_signal(signal.SIGSTOP)
        return process.poll() is None

    return anyio.run(watch)


def list_packs(stage: Stage) -> list[str]:
    """What lies in the folder for files of batches."""
    folder = stage.folder / PACKS
    return sorted(os.listdir(folder)) if folder.exists() else []  # noqa: PTH208  names will do


def check_batches(stage: Stage, evidence: Evidence, *, kills: int = 0) -> str:
    """Nothing is forgotten, here or at the server, nothing is worked on twice, or paid twice.

    Returns:
        A remark for the table.
    """
    rows, known = read_rows(stage.ledger), stage.server.read_batches()
    _check_ledger_side(stage, rows)
    worked = [one for one in known if one["status"] != RemoteState.FAILED]
    harvested = {row.remote_id for row in rows if row.state is BatchState.HARVESTED}
    found = {one["id"] for one in worked}
    stage.demand(
        found == harvested,
        f"worked on and not harvested: {found - harvested}; the other way: {harvested - found}",
    )
    unfinished = [one["id"] for one in known if not RemoteState(one["status"]).is_over]
    stage.demand(not unfinished, f"not over at the server: {unfinished}")
    files = Counter(one["input_file_id"] for one in worked)
    twice = [name for name, count in files.items() if count > 1]
    stage.demand(not twice, f"files that were worked on twice: {twice}")
    _check_bills(stage, evidence)
    left = stage.server.list_files("batch")
    stage.demand(len(left) <= kills, f"{len(left)} input files left at the server: {left}")
    states = Counter(one["status"] for one in known)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    discarded = sum(row.state is BatchState.DISCARDED for row in rows)
    return f"batches: {told}, {discarded} never sent; {len(left)} files left at the server"


def _check_ledger_side(stage: Stage, rows: Sequence[Row]) -> None:
    live = [row for row in rows if not row.is_over or row.open]
    stage.demand(not live, f"not over on the ledger: {live}")
    packs = list_packs(stage)
    stage.demand(not packs, f"left in the folder for batches: {packs}")


def _check_bills(stage: Stage, evidence: Evidence) -> None:
    lines = read_books(stage.base_url)["batch_lines"]
    repeated = [*lines["repeated"], *lines["repeated_pictures"]]
    stage.demand(not repeated, f"lines or pictures that were paid twice: {repeated[:5]}")
    stage.demand(not evidence.repeats, f"{evidence.repeats} pictures were paid twice")
    billed = sum(bool(account.billed) for account in evidence.accounts)
    stage.demand(billed == stage.plan.pictures, f"{billed} pictures were billed")


def count_states(rows: Sequence[Row]) -> str:
    """How many batches stand where."""
    found = Counter(row.state.value for row in rows if not row.is_over)
    return ", ".join(f"{count} {state}" for state, count in found.items()) or "none"


def read_tiers(stage: Stage) -> dict[str, int]:
    """Billed requests by the lane that answered."""
    lanes: list[dict[str, Any]] = read_books(stage.base_url)["by_lane"]
    return {str(lane["tier"]): int(lane["requests"]) for lane in lanes}
