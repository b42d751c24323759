"""A deadline while a batch stalls: the rest is asked one by one, and all is done in time."""

from datetime import datetime, timedelta
from pathlib import Path

from drills.audit import Evidence, conclude
from drills.batch_watch import BATCH, SETTINGS, check_batches, prepare_ledger, read_tiers
from drills.money import check_money
from drills.stage import DONE_BUT_SOME_FAILED, Plan, Stage, open_stage
from drills.verdict import Scale, Verdict
from pipeline.domain.batches import RemoteState

_CONCURRENCY = 200
"""From which the run guesses how fast it can ask before it has asked anything."""
_LANES = ("batch", "flex", "default")


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """The flex lane takes what the batches will not have answered."""
    return _run(kind, folder, scale, drill="batch-deadline", flex_shortage=0.0)


def run_without_flex(kind: str, folder: Path, scale: Scale) -> Verdict:
    """It has no capacity at all: the default lane takes over."""
    return _run(kind, folder, scale, drill="batch-deadline-full", flex_shortage=1.0)


def _run(kind: str, folder: Path, scale: Scale, *, drill: str, flex_shortage: float) -> Verdict:
    lines = scale.pick(15, 60)
    plan = Plan(
        pictures=4 * lines,
        latency_ms=100,
        concurrency=_CONCURRENCY,
        settings=(*SETTINGS, f"batch.max_requests={lines}"),
    )
    with open_stage(kind, folder, plan) as stage:
        prepare_ledger(stage)
        stage.switch(batch_seconds=2.0, stalled_batches=2, flex_shortage=flex_shortage)
        deadline = datetime.now().astimezone() + timedelta(seconds=scale.pick(15, 35))
        done = stage.tag(*BATCH, "--finish-by", deadline.isoformat())
        left = (deadline - datetime.now().astimezone()).total_seconds()
        stage.expect(done, DONE_BUT_SOME_FAILED, when="the run with a deadline")
        stage.demand(left >= 0, f"it ended {-left:.1f} s after the deadline")

        def describe(seen: Evidence) -> str:
            split = _describe_split(stage, is_flex_open=not flex_shortage)
            told = check_batches(stage, seen)
            return f"{split}; {left:.1f} s left; {told}; {check_money(stage)}"

        return conclude(stage, drill, remark=describe)


def _describe_split(stage: Stage, *, is_flex_open: bool) -> str:
    """Who answered how many; both ways were taken."""
    tiers = read_tiers(stage)
    stage.demand(tiers.get("batch", 0) > 0, f"no batch answered: {tiers}")
    one_by_one = tiers.get("default", 0) + (tiers.get("flex", 0) if is_flex_open else 0)
    stage.demand(one_by_one > 0, f"nothing was asked one by one: {tiers}")
    known = stage.server.read_batches()
    stalled = [one for one in known if one["status"] == RemoteState.CANCELLED]
    stage.demand(bool(stalled), "no batch had to be ended")
    return ", ".join(f"{tiers.get(lane, 0)} {lane}" for lane in _LANES)
