"""The batch lane interrupted, shared by two processes, and with a full disk under its files."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import Finished

from drills.audit import Evidence, conclude
from drills.batch_watch import (
    BATCH,
    PACKS,
    SETTINGS,
    Moment,
    Row,
    check_batches,
    count_states,
    freeze_at,
    list_packs,
    prepare_ledger,
    read_rows,
)
from drills.full_disk import fill_disk, free_disk, mount_disk
from drills.stage import (
    DONE,
    DONE_BUT_SOME_FAILED,
    FAULT,
    INTERRUPTED,
    Plan,
    Stage,
    open_stage,
    wait_until,
)
from drills.verdict import Scale, Verdict
from pipeline.domain.batches import BatchState, RemoteState

_AT_ONCE_SECONDS = 3.0


def run_interrupt(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Ctrl-C while it packs, and while it waits: it leaves, the batches go on."""
    lines = scale.pick(20, 100)
    with open_stage(kind, folder, _make_plan(4 * lines, lines)) as stage:
        prepare_ledger(stage)
        stage.switch(batch_seconds=3.0)
        told = [
            _interrupt(stage, "packing", lambda rows: _is_packing(rows, lines // 2)),
            _interrupt(stage, "waiting", lambda rows: _are_all_sent(rows, stage.plan.pictures)),
        ]
        wait_until(lambda: _are_all_over(stage), "the batches go on without us")
        before = len(stage.server.read_batches())
        stage.expect(stage.tag(*BATCH), DONE_BUT_SOME_FAILED, when="the next run")
        after = len(stage.server.read_batches())
        stage.demand(after == before, f"{after - before} batches more, though all were answered")

        def describe(seen: Evidence) -> str:
            return f"{'; '.join(told)}; {check_batches(stage, seen)}"

        return conclude(stage, "batch-interrupt", remark=describe)


def run_pair(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Two at once on one ledger; one is killed with batches of its own at the server."""
    lines = scale.pick(30, 120)
    with open_stage(kind, folder, _make_plan(10 * lines, lines)) as stage:
        prepare_ledger(stage)
        stage.switch(batch_seconds=scale.pick(1.5, 3.0))
        victim, other = stage.start(*BATCH), stage.start(*BATCH)
        is_killed = freeze_at(stage.ledger, victim, _have_two_sent, 0.0) and stage.kill(victim)
        stage.demand(is_killed, "nobody was killed while both had batches at the server")
        at_kill = read_rows(stage.ledger)
        beside = stage.finish(other)
        left = read_rows(stage.ledger)
        stage.demand(
            beside.code in {DONE, DONE_BUT_SOME_FAILED}, f"beside the killed: {beside.err[-500:]}"
        )
        last = stage.tag(*BATCH)
        stage.expect(last, DONE_BUT_SOME_FAILED, when="the last run")
        owners = {row.run_id for row in at_kill}
        told = (
            f"{len(owners)} processes had batches, at the kill: {count_states(at_kill)}; when the "
            f"other ended: {count_states(left)}"
        )

        def describe(seen: Evidence) -> str:
            return f"{told}; {check_batches(stage, seen, kills=1)}"

        return conclude(stage, "batch-pair", kills=1, remark=describe)


def run_disk(kind: str, folder: Path, scale: Scale) -> Verdict:
    """The disk under the files of batches is full: the run ends, and says what to do."""
    lines = scale.pick(40, 200)
    plan = _make_plan(3 * lines, lines)
    with mount_disk(folder / PACKS, megabytes=8) as disk, open_stage(kind, folder, plan) as stage:
        prepare_ledger(stage)
        stage.switch(batch_seconds=1.0)
        done = _tag_on_full_disk(stage, disk, few=lines // 4)
        stage.expect(done, FAULT, when="the disk under the batches is full")
        said = done.err.strip().splitlines()[-1:]
        stage.demand("batch.folder" in done.err, f"not told: {said}")
        stage.demand("Traceback" not in done.err, f"a bug is told: {done.err[-500:]}")
        left = set(list_packs(stage)) - {"filler"}
        stage.demand(not left, f"left in the folder: {left}")
        free_disk(disk)
        stage.expect(stage.tag(*BATCH), DONE_BUT_SOME_FAILED, when="the disk is freed")

        def describe(seen: Evidence) -> str:
            return f"{check_batches(stage, seen)}; said: {said}"

        return conclude(stage, "batch-disk", remark=describe)


def _make_plan(pictures: int, lines: int) -> Plan:
    return Plan(
        pictures=pictures,
        latency_ms=0,
        concurrency=8,
        settings=(*SETTINGS, f"batch.max_requests={lines}"),
    )


def _tag_on_full_disk(stage: Stage, disk: Path, *, few: int) -> Finished:
    process = stage.start(*BATCH)
    if freeze_at(stage.ledger, process, lambda rows: _is_packing(rows, few), 0.0):
        fill_disk(disk)
        process.send_signal(signal.SIGCONT)
    return stage.finish(process)


def _interrupt(stage: Stage, name: str, moment: Moment) -> str:
    process = stage.start(*BATCH)
    if freeze_at(stage.ledger, process, moment, 0.0):
        process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    stage.expect(stage.finish(process), INTERRUPTED, when=f"interrupted while {name}")
    seconds = time.monotonic() - began
    stage.demand(seconds <= _AT_ONCE_SECONDS, f"it took {seconds:.1f} s to end while {name}")
    rows = read_rows(stage.ledger)
    packing = [row for row in rows if row.state is BatchState.PACKING]
    stage.demand(not packing, f"left half packed: {packing}")
    return f"{name}: ended after {seconds:.1f} s with {count_states(rows)}"


def _is_packing(rows: Sequence[Row], few: int) -> bool:
    return any(row.state is BatchState.PACKING and row.open >= few for row in rows)


def _are_all_sent(rows: Sequence[Row], pictures: int) -> bool:
    """Whether every picture is at the server, which still works on some."""
    sent = [row for row in rows if row.state in {BatchState.SUBMITTED, BatchState.HARVESTED}]
    is_working = any(row.remote_state == RemoteState.IN_PROGRESS for row in sent)
    return is_working and sum(row.lines for row in sent) >= pictures


def _have_two_sent(rows: Sequence[Row]) -> bool:
    return len({row.run_id for row in rows if row.state is BatchState.SUBMITTED}) > 1


def _are_all_over(stage: Stage) -> bool:
    return all(RemoteState(one["status"]).is_over for one in stage.server.read_batches())
