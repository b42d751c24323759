"""A foreign process holds the SQLite file locked: the run only waits."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from command_line import finish

from drills.audit import conclude
from drills.stage import DONE_BUT_SOME_FAILED, Plan, open_stage
from drills.verdict import DrillBroken, Scale, Verdict

_FOREIGNER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Nothing is lost, nothing is asked twice, nobody has to do anything."""
    seconds = scale.pick(5, 20)
    plan = Plan(pictures=scale.pick(40, 120), ledger=f"sqlite:///{folder}/ledger.db")
    with open_stage(kind, folder, plan) as stage:
        process = stage.start()
        stage.wait_for_answers(plan.pictures // 3, process)
        with _lock(folder / "ledger.db", seconds):
            before = stage.count_answered()
        after = stage.count_answered()
        stage.expect(finish(process), DONE_BUT_SOME_FAILED, when="the run through the lock")
        stage.demand(
            after - before <= 2 * plan.concurrency,
            f"it went on while the ledger was locked: {before} to {after} answers",
        )
        return conclude(stage, "lock", remark=lambda _: f"locked for {seconds} s")


@contextmanager
def _lock(ledger: Path, seconds: float) -> Iterator[None]:
    """From the moment it is locked until it is free again."""
    words = [sys.executable, "-c", _FOREIGNER, str(ledger), str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as foreigner:
        try:
            if foreigner.stdout is None or foreigner.stdout.readline() != "locked\n":
                raise DrillBroken("the foreign process could not lock the ledger")
            yield
            foreigner.wait(seconds + 30)
        finally:
            foreigner.kill()
