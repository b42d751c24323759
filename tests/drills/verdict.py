"""What a drill is told and what it says: its scale, and one row of the table."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")


class NotRunHere(Exception):
    """This machine does not allow what the drill does; says what that is."""


class DrillBroken(Exception):
    """The drill could not go on: the program did not do what was waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long a drill is, and the seed of all its chances."""

    is_short: bool = False
    seed: int = 1

    def pick(self, short: T, long: T) -> T:
        return short if self.is_short else long

    def chance(self, *names: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *names))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a drill went."""

    drill: str
    ledger: str
    kills: int = 0
    images: int = 0
    requests: int = 0
    """As the server counted them, those it refused included."""
    repeats: int = 0
    """Answers that were charged for pictures that had been charged before."""
    lost: int = 0
    """Images that did not end with one outcome, in the ledger and in the export."""
    double_settled: int = 0
    """Images that were brought to an end more than once."""
    seconds: float = 0.0
    remark: str = ""
    problems: tuple[str, ...] = ()
    """What must not be; empty when all is well."""


_NUMBERS = ("kills", "images", "requests", "repeats", "lost", "double_settled")


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """One row for each, and below them every problem in full."""
    table = Table("drill", "ledger")
    for name in (*_NUMBERS, "seconds"):
        table.add_column(name.replace("_", "-"), justify="right")
    table.add_column("remark", overflow="fold")
    for verdict in verdicts:
        numbers = [f"{getattr(verdict, name):,}" for name in _NUMBERS]
        state = "PROBLEM: see below" if verdict.problems else verdict.remark
        table.add_row(verdict.drill, verdict.ledger, *numbers, f"{verdict.seconds:.1f}", state)
    console = Console(width=None if Console().is_terminal else 140, highlight=False)
    console.print(table)
    for verdict in verdicts:
        for problem in verdict.problems:
            console.print(f"{verdict.drill} on {verdict.ledger}: {problem}", markup=False)
