"""Money is capped: what the server charges stays below it, through faults, rivals and kills."""

from collections.abc import Sequence
from pathlib import Path

from command_line import read_books

from drills.audit import conclude, count_lost_attempts
from drills.money import NANOS, read_held, read_spent_nanos
from drills.stage import DONE_BUT_SOME_FAILED, PAUSED, Plan, Stage, open_stage, wait_until
from drills.verdict import DrillBroken, Scale, Verdict

_FAULTS = (
    "--rate-limited", "0.1", "--server-error", "0.02", "--cut-body", "0.03", "--reset", "0.01",
    "--hang", "0.005",
)  # fmt: skip
_SETTINGS = ("provider.timeout_s=3", "limits.retry_base_s=0.3")
_USD_PER_PICTURE = 0.00052
"""About; the shares of it below decide when a cap is met."""
_PLENTY_USD = 20
_MOST_RUNS = 20


def run_day(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Two at once under a cap for the day, one killed; each time it is met, it is raised."""
    with open_stage(kind, folder, _plan(scale)) as stage:
        whole = stage.plan.pictures * _USD_PER_PICTURE
        first = _spend(stage, cap_usd=0.4 * whole, kills=0)
        second = _spend(stage, cap_usd=0.9 * whole, kills=1)
        stage.expect(stage.tag(*_cap(_PLENTY_USD)), DONE_BUT_SOME_FAILED, when="the cap is raised")
        _check_worst(stage)
        used = f"{first:.0%} and {second:.0%} of the caps used"
        return conclude(
            stage,
            "budget-day",
            kills=1,
            remark=lambda seen: f"{used}; {count_lost_attempts(seen)}",
        )


def run_each(kind: str, folder: Path, scale: Scale) -> Verdict:
    """A budget for each run: the same command until all is done, once killed on the way."""
    with open_stage(kind, folder, _plan(scale)) as stage:
        budget = 0.3 * stage.plan.pictures * _USD_PER_PICTURE
        words, runs, shares = ("--budget", f"{budget:.6f}"), 1, []
        before = read_spent_nanos(stage)
        process = stage.start(*words)
        stage.wait_for_answers(stage.plan.pictures // 10, process)
        kills = int(stage.kill(process))
        shares.append(_measure(stage, before, budget))
        for runs in range(2, _MOST_RUNS):  # noqa: B007  how many it took is told
            before = read_spent_nanos(stage)
            done = stage.tag(*words)
            shares.append(_measure(stage, before, budget))
            if done.code != PAUSED:
                break
        stage.expect(done, DONE_BUT_SOME_FAILED, when="the last of the budgets")
        _check_worst(stage)
        told = (
            f"{runs} runs, each {min(shares[1:-1] or [0]):.0%} to {max(shares):.0%} of its budget"
        )
        return conclude(stage, "budget-run", kills=kills, remark=lambda _: told)


def _plan(scale: Scale) -> Plan:
    return Plan(
        pictures=scale.pick(120, 300),
        copies=0,
        latency_ms=50,
        concurrency=scale.pick(8, 32),
        faults=_FAULTS,
        settings=_SETTINGS,
    )


def _cap(usd: float) -> Sequence[str]:
    return ("--set", f"limits.budget_day_usd={usd:.6f}")


def _spend(stage: Stage, *, cap_usd: float, kills: int) -> float:
    """Two at once until the cap; returns the share of it that the server charged."""
    answered = stage.count_answered()
    crew = [stage.start(*_cap(cap_usd)) for _ in range(2)]
    if kills:
        stage.wait_for_answers(answered + stage.plan.pictures // 10, *crew)
        stage.kill(crew.pop())
    for process in crew:
        stage.expect(stage.finish(process), PAUSED, when=f"the cap of ${cap_usd:.4f}")
    if kills:
        stage.expect(stage.tag(*_cap(cap_usd)), PAUSED, when="again under the same cap")
    return _measure(stage, 0, cap_usd)


def _measure(stage: Stage, before: int, cap_usd: float) -> float:
    """The share of a cap that the server charged since then, which must not pass it."""
    wait_until(lambda: not read_books(stage.base_url)["inflight"], "the server has no request left")
    spent = read_spent_nanos(stage) - before
    stage.demand(spent <= cap_usd * NANOS, f"{spent} nano-dollars charged, cap ${cap_usd:.6f}")
    if not spent:
        raise DrillBroken("nothing was spent under a cap")
    return spent / NANOS / cap_usd


def _check_worst(stage: Stage) -> None:
    """What the ledger spent and holds for what was lost is all that was charged, at least."""
    held, spent = read_held(stage), read_spent_nanos(stage)
    stage.demand(held.spent <= spent, f"the ledger spent {held.spent}, the server took {spent}")
    stage.demand(held.spent + held.lost_nanos >= spent, f"{held} does not cover {spent}")
