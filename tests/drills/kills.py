"""SIGKILL at any moment: while it starts, scans, asks, settles and exports."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from command_line import Finished

from drills.audit import conclude, count_lost_attempts
from drills.stage import DONE_BUT_SOME_FAILED, Plan, Stage, open_stage
from drills.verdict import DrillBroken, Scale, Verdict

_LONGEST_START_SECONDS = 1.2
_LONGEST_DELAY_SECONDS = 0.3


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Kill again and again, give the same command each time, and count."""
    plan = Plan(pictures=scale.pick(40, 220), latency_ms=scale.pick(50, 100))
    chance = scale.chance("kills", kind)
    with open_stage(kind, folder, plan) as stage:
        kills = _kill_on_the_way(stage, chance, early=scale.pick(2, 10), goals=scale.pick(2, 12))
        finished, lifetime = _time_a_whole_run(stage)
        stage.expect(finished, DONE_BUT_SOME_FAILED, when="after the kills")
        kills += _kill_at_the_end(stage, chance, lifetime, count=scale.pick(1, 6))
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the last run")
        return conclude(stage, "kills", kills=kills, remark=count_lost_attempts)


def _kill_on_the_way(stage: Stage, chance: Random, *, early: int, goals: int) -> int:
    """Kills in mixed order: soon after the start, and once so many pictures are answered."""
    kills = 0
    for goal in _mix(chance, early, _spread(chance, goals, stage.plan.pictures)):
        process = stage.start()
        if goal is None:
            time.sleep(chance.uniform(0, _LONGEST_START_SECONDS))
        else:
            stage.wait_for_answers(goal, process)
            time.sleep(chance.uniform(0, _LONGEST_DELAY_SECONDS))
        kills += stage.kill(process)
    return kills


def _spread(chance: Random, count: int, pictures: int) -> list[int]:
    step = pictures * 0.9 / count
    return [int((number + chance.random()) * step) for number in range(count)]


def _mix(chance: Random, early: int, goals: Sequence[int]) -> Iterator[int | None]:
    """The goals in their order, with a None for each early kill anywhere between."""
    order = [False] * early + [True] * len(goals)
    chance.shuffle(order)
    remaining = iter(goals)
    return (next(remaining) if is_goal else None for is_goal in order)


def _time_a_whole_run(stage: Stage) -> tuple[Finished, float]:
    """What is left is done; then how long a run takes that finds nothing new."""
    finished = stage.tag()
    began = time.monotonic()
    stage.tag()
    return finished, time.monotonic() - began


def _kill_at_the_end(stage: Stage, chance: Random, lifetime: float, *, count: int) -> int:
    """Kills in the second half of runs that only scan and export."""
    kills = 0
    for _ in range(10 * count):
        process = stage.start()
        time.sleep(chance.uniform(0.5, 1.0) * lifetime)
        kills += stage.kill(process)
        if kills == count:
            return kills
    raise DrillBroken(f"{kills} of {count} kills hit a run before its end")
