"""All drills by name, and the way to run one whatever happens in it."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from drills import (
    batch_deadline,
    batch_runs,
    batches,
    budget,
    clock,
    fallback,
    faults,
    full_disk,
    interrupts,
    kills,
    lock,
    outage,
    pauses,
    workers,
)
from drills.verdict import DrillBroken, Scale, Verdict

Run: TypeAlias = Callable[[str, Path, Scale], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill and the ledgers it makes sense on."""

    name: str
    run: Run
    kinds: tuple[str, ...]
    short_kinds: tuple[str, ...]
    """Ledgers of the short form, which every change has to wait for."""


_SQLITE, _POSTGRES, _BOTH = ("sqlite",), ("postgres",), ("sqlite", "postgres")
DRILLS = (
    Drill(name="kills", run=kills.run, kinds=_BOTH, short_kinds=_BOTH),
    Drill(name="outage", run=outage.run_short, kinds=_POSTGRES, short_kinds=_POSTGRES),
    Drill(name="outage-long", run=outage.run_long, kinds=_POSTGRES, short_kinds=_POSTGRES),
    Drill(name="disk-ledger", run=full_disk.run_ledger, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="disk-export", run=full_disk.run_export, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="lock", run=lock.run, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="clock", run=clock.run, kinds=_BOTH, short_kinds=_BOTH),
    Drill(name="workers", run=workers.run, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="workers-hosts", run=workers.run_on_hosts, kinds=_BOTH, short_kinds=_POSTGRES),
    Drill(name="frozen-writer", run=workers.run_frozen_writer, kinds=_POSTGRES, short_kinds=()),
    Drill(name="faults", run=faults.run, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="faults-untold", run=faults.run_untold, kinds=_SQLITE, short_kinds=()),
    *(
        Drill(
            name=f"pause-{trouble.name}",
            run=pauses.make_run(trouble),
            kinds=_SQLITE,
            short_kinds=_SQLITE if trouble.name in {"bad-key", "no-credit-midway"} else (),
        )
        for trouble in pauses.TROUBLES
    ),
    Drill(name="turn-refused", run=pauses.run_turn_refused, kinds=_SQLITE, short_kinds=()),
    Drill(name="turn-empty", run=pauses.run_turn_empty, kinds=_SQLITE, short_kinds=()),
    Drill(name="budget-day", run=budget.run_day, kinds=_BOTH, short_kinds=_POSTGRES),
    Drill(name="budget-run", run=budget.run_each, kinds=_SQLITE, short_kinds=()),
    Drill(name="interrupt-once", run=interrupts.run_once, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="interrupt-rate", run=interrupts.run_rate, kinds=_SQLITE, short_kinds=()),
    Drill(name="interrupt-hold", run=interrupts.run_hold, kinds=_SQLITE, short_kinds=()),
    Drill(name="interrupt-twice", run=interrupts.run_twice, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="fallback", run=fallback.run, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="batches", run=batches.run, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="batch-lost", run=batches.run_lost, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="batch-deadline", run=batch_deadline.run, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(
        name="batch-deadline-full",
        run=batch_deadline.run_without_flex,
        kinds=_SQLITE,
        short_kinds=(),
    ),
    Drill(name="batch-interrupt", run=batch_runs.run_interrupt, kinds=_SQLITE, short_kinds=_SQLITE),
    Drill(name="batch-pair", run=batch_runs.run_pair, kinds=_BOTH, short_kinds=_SQLITE),
    Drill(name="batch-disk", run=batch_runs.run_disk, kinds=_SQLITE, short_kinds=_SQLITE),
)


def run_drill(drill: Drill, kind: str, scale: Scale) -> Verdict:
    """Run it in a folder of its own; a drill that breaks off is a problem, too.

    Raises:
        NotRunHere: this machine does not allow it.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"tagpipe-{drill.name}-") as folder:
        try:
            verdict = drill.run(kind, Path(folder), scale)
        except DrillBroken as error:
            verdict = Verdict(drill=drill.name, ledger=kind, problems=(f"broken off: {error}",))
        except subprocess.TimeoutExpired as error:
            slow = f"broken off: a run took more than {error.timeout:.0f} s"
            verdict = Verdict(drill=drill.name, ledger=kind, problems=(slow,))
    return replace(verdict, seconds=time.monotonic() - began)
