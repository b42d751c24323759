"""Three workers at once: one is killed, one freezes for longer than its lease and wakes up."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from command_line import finish
from sqlalchemy import text

from drills.audit import conclude, count_lost_attempts
from drills.launching import bend, read_hosts
from drills.stage import DONE_BUT_SOME_FAILED, Plan, Stage, open_stage
from drills.verdict import DrillBroken, Scale, Verdict
from pipeline.ledger.database import Database, parse_ledger_url

_WORKERS = 3
_LEASE_SECONDS = 1.5
_CONCURRENCY = 4
_WAITS_FOR_A_LOCK = text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """On one host, where the process table tells who is dead."""
    return _run(kind, folder, scale, drill="workers", hosts=[None] * _WORKERS)


def run_on_hosts(kind: str, folder: Path, scale: Scale) -> Verdict:
    """As if on three hosts, where only the lease tells."""
    hosts = [f"host{number}" for number in range(_WORKERS)]
    return _run(kind, folder, scale, drill="workers-hosts", hosts=hosts)


def run_frozen_writer(kind: str, folder: Path, scale: Scale) -> Verdict:
    """One freezes in mid-transaction: its locks must not hold the others up for good."""
    plan = Plan(
        pictures=scale.pick(60, 200),
        latency_ms=100,
        concurrency=_CONCURRENCY,
        settings=(f"ledger.lease_s={_LEASE_SECONDS}",),
    )
    with open_stage(kind, folder, plan) as stage:
        looked = folder / "looked"
        sleeper = stage.start(**bend(None, looked, "host0"))
        stage.wait_for_answers(_CONCURRENCY, sleeper)
        anyio.run(_freeze_in_transaction, stage.ledger, sleeper)
        other = finish(stage.start(**bend(None, looked, "host1")))
        # the file that is no picture may be in the hands of the frozen one
        stage.demand(other.code in {0, DONE_BUT_SOME_FAILED}, f"beside the frozen: {other.err}")
        sleeper.send_signal(signal.SIGCONT)
        stage.expect(finish(sleeper), DONE_BUT_SOME_FAILED, when="the frozen one")
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the last run")
        return conclude(stage, "frozen-writer", freezes=1, remark=count_lost_attempts)


async def _freeze_in_transaction(url: str, process: subprocess.Popen[str]) -> None:
    """Hold up its next settlement half-way, stop it there, then let go."""
    async with Database(parse_ledger_url(url)) as database, database.write() as connection:
        await connection.execute(text("LOCK TABLE images IN SHARE MODE"))
        while process.poll() is None:
            # a transaction of its own each time: within one, the server shows the same picture
            async with database.read() as other:
                if await other.scalar(_WAITS_FOR_A_LOCK):
                    process.send_signal(signal.SIGSTOP)
                    return
            await anyio.sleep(0.02)
    raise DrillBroken("the worker was never met in mid-transaction")


def _run(
    kind: str, folder: Path, scale: Scale, *, drill: str, hosts: Sequence[str | None]
) -> Verdict:
    plan = Plan(
        pictures=scale.pick(100, 360),
        latency_ms=200,
        concurrency=_CONCURRENCY,
        settings=(f"ledger.lease_s={_LEASE_SECONDS}",),
    )
    with open_stage(kind, folder, plan) as stage:
        chance, kills, freezes = scale.chance(drill, kind), 0, 0
        for round_ in range(scale.pick(1, 2)):
            goal = plan.pictures * (1 + 2 * round_) // 5
            killed, frozen = _disturb(stage, hosts, goal, delay=chance.uniform(0, 0.3))
            kills, freezes = kills + killed, freezes + frozen
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the last run")
        named = {host for host in hosts if host is not None}
        stage.demand(named <= read_hosts(stage.ledger), "they were not taken for three hosts")
        stage.demand(freezes > 0, "nobody was frozen while at work")
        return conclude(stage, drill, kills=kills, freezes=freezes, remark=count_lost_attempts)


def _disturb(
    stage: Stage, hosts: Sequence[str | None], goal: int, *, delay: float
) -> tuple[int, int]:
    """Start them all, kill the first, freeze the second; return how many that hit at work."""
    processes = [stage.start(**bend(None, stage.folder / "looked", host)) for host in hosts]
    victim, sleeper, *others = processes
    stage.wait_for_answers(goal, *processes)
    time.sleep(delay)
    is_frozen = sleeper.poll() is None
    sleeper.send_signal(signal.SIGSTOP)
    killed = stage.kill(victim)
    time.sleep(2 * _LEASE_SECONDS)
    sleeper.send_signal(signal.SIGCONT)
    for process in (sleeper, *others):
        stage.expect(finish(process), DONE_BUT_SOME_FAILED, when="a worker beside the dead")
    return int(killed), int(is_frozen)
