"""The wall clock jumps by an hour, back and forth, differently for each process."""

import time
from pathlib import Path
from random import Random

from command_line import finish

from drills.audit import Evidence, conclude, count_lost_attempts
from drills.launching import bend, read_hosts
from drills.stage import DONE_BUT_SOME_FAILED, Plan, open_stage
from drills.verdict import Scale, Verdict

_HOUR_SECONDS = 3_600
_LONGEST_RUN_SECONDS = 60
_LEASE_SECONDS = 2.0
_FAULTS = ("--rate-limited", "0.15", "--server-error", "0.15", "--max-faults-per-picture", "3")
_SETTINGS = ("limits.retry_base_s=0.3", f"ledger.lease_s={_LEASE_SECONDS}")


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Two workers an hour or two apart, faults that are to be tried again, one of them killed.

    On Postgres the two pass for two hosts, so that leases decide who is alive.
    """
    plan = Plan(pictures=scale.pick(60, 240), faults=_FAULTS, settings=_SETTINGS)
    chance = scale.chance("clock", kind)
    looked = folder / "looked"
    with open_stage(kind, folder, plan) as stage:
        ahead, other = (
            stage.start(**bend(_draw_jumps(chance, first), looked, _host(kind, first)))
            for first in (1, -1)
        )
        stage.wait_for_answers(plan.pictures // 2, ahead, other)
        # what it put off stays behind, an hour in the future if its clock was believed
        kills = int(stage.kill(ahead))
        stage.expect(finish(other), DONE_BUT_SOME_FAILED, when="the run whose clock jumped")
        time.sleep(_LEASE_SECONDS)  # on another host, what the dead one held is free only then
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the clock is right again")
        jumps = len(looked.read_text().splitlines()) if looked.exists() else 0
        stage.demand(jumps > 0, "no process looked at a clock that had jumped")
        stage.demand(
            kind == "sqlite" or {"host1", "host-1"} <= read_hosts(stage.ledger),
            "the two were not taken for two hosts",
        )

        def remark(seen: Evidence) -> str:
            return f"{jumps} jumps noticed; {count_lost_attempts(seen)}"

        return conclude(stage, "clock", kills=kills, remark=remark)


def _host(kind: str, number: int) -> str | None:
    return None if kind == "sqlite" else f"host{number}"


def _draw_jumps(chance: Random, first: int) -> str:
    """An hour off while it starts, then somewhere else every second or so."""
    moments = [0.0, chance.uniform(1.5, 3.0)]
    while moments[-1] < _LONGEST_RUN_SECONDS:
        moments.append(moments[-1] + chance.uniform(0.3, 2.0))
    hours = [first, *(chance.choice((-1, 0, 1)) for _ in moments[1:])]
    return " ".join(
        f"{moment:.2f}:{hour * _HOUR_SECONDS}" for moment, hour in zip(moments, hours, strict=True)
    )
