"""The ledger's money against the server's."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio
from command_line import read_books, run
from sqlalchemy import func, select

from drills.stage import Stage, wait_until
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.tables import attempts

NANOS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the ledger knows of money: nano-dollars and attempts."""

    spent: int
    lost: int
    lost_nanos: int
    open: int


def read_spent_nanos(stage: Stage) -> int:
    """All that the server charged, whether it was handed over or not."""
    return sum(read_books(stage.base_url)["cost_nano"].values())


def read_held(stage: Stage) -> Held:
    return anyio.run(_read_held, stage.ledger)


def check_money(stage: Stage) -> str:
    """The same to the nano-dollar, and what was never handed over is on record as lost.

    Returns:
        A remark for the table.
    """
    wait_until(lambda: not read_books(stage.base_url)["inflight"], "the server has no request left")
    books, held = read_books(stage.base_url), read_held(stage)
    delivered, undelivered = books["delivered"], books["undelivered"]
    stage.demand(
        held.spent == delivered["cost_nano"],
        f"the ledger spent {held.spent} nano-dollars, the server handed over "
        f"{delivered['cost_nano']}",
    )
    expected = undelivered["requests"] + books["by_fault"].get("hang", 0)
    stage.demand(
        held.lost == expected,
        f"{held.lost} attempts are lost; {expected} were not answered: {books['by_fault']}",
    )
    stage.demand(
        held.lost_nanos >= undelivered["cost_nano"],
        f"{held.lost_nanos} nano-dollars held for what was lost, {undelivered} were charged",
    )
    told = _read_status(stage)["maybe_billed_usd"]
    stage.demand(
        Decimal(told) * NANOS == held.lost_nanos, f"status tells ${told}, not {held.lost_nanos}"
    )
    return f"${held.spent / NANOS:.6f} both; {held.lost} lost"


def _read_status(stage: Stage) -> Any:
    done = run(stage.folder, "status", "--json", "--ledger", stage.ledger)
    stage.demand(done.code == 0, f"status: {done.err}")
    return json.loads(done.out)


async def _read_held(url: str) -> Held:
    is_lost, is_open = attempts.c.state == "lost", attempts.c.state == "open"
    query = select(
        func.coalesce(func.sum(attempts.c.cost_nanos), 0),
        func.count().filter(is_lost),
        func.coalesce(func.sum(attempts.c.reserved_nanos).filter(is_lost), 0),
        func.count().filter(is_open),
    )
    async with Database(parse_ledger_url(url)) as database, database.read() as connection:
        row = (await connection.execute(query)).one()
    return Held(spent=int(row[0]), lost=int(row[1]), lost_nanos=int(row[2]), open=int(row[3]))
