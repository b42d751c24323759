"""The batch lane under SIGKILL at each of its steps, with refusals, expiry and lost answers."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from command_line import read_books
from databases import make_url

from drills.audit import Evidence, conclude
from drills.batch_watch import (
    BATCH,
    SETTINGS,
    Row,
    check_batches,
    count_states,
    freeze_at,
    prepare_ledger,
    read_rows,
)
from drills.money import read_held
from drills.server import open_server
from drills.stage import DONE_BUT_SOME_FAILED, Plan, Stage, open_stage
from drills.verdict import DrillBroken, Scale, Verdict
from pipeline.domain.batches import BatchState, RemoteState

_FIT_AT_ONCE = 2.2
"""Full batches that the server's quota has room for."""
_TRIES = 3
"""So often a step is aimed at: some take a few milliseconds only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A step of a batch's life at which a run is killed."""

    name: str
    is_there: Callable[[Row], bool]
    longest_delay: float = 0.0
    """Seconds between the first sight of it and the kill, at most."""

    def meets(self, rows: Sequence[Row]) -> bool:
        return any(self.is_there(row) for row in rows)


@dataclass(slots=True)
class Kills:
    """Which step each kill hit, as the ledger has it afterwards."""

    count: int = 0
    told: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "killed: " + "; ".join(self.told)


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Failing lines, one batch that expires, a quota for two, and a kill at every step."""
    lines = scale.pick(15, 500)
    seconds = scale.pick(0.5, 8.0)
    plan = _make_plan(6 * lines, lines)
    with open_stage(kind, folder, plan) as stage:
        prepare_ledger(stage)
        full_nanos, tokens = _run_one_by_one(stage)
        stage.switch(
            batch_seconds=seconds,
            batch_window_s=scale.pick(3.0, 25.0),
            stalled_batches=1,
            batch_line_errors=scale.pick(0.1, 0.02),
            max_faults_per_picture=1,
            batch_enqueued_tokens=int(_FIT_AT_ONCE * lines * tokens),
        )
        chance = scale.chance("batches", kind)
        aims = _make_aims(lines, seconds, chance)
        # the harvest last: after it less is left to be killed
        aims.sort(key=lambda aim: (aim.name == "harvest", chance.random()))
        kills = _kill_everywhere(stage, aims, chance)
        stage.expect(stage.tag(*BATCH), DONE_BUT_SOME_FAILED, when="the last run")

        def describe(seen: Evidence) -> str:
            told = check_batches(stage, seen, kills=kills.count)
            _check_that_it_was_hard(stage, seen)
            half = read_held(stage).spent
            stage.demand(2 * half == full_nanos, f"{half} nano-dollars, {full_nanos} one by one")
            return f"{told}; ${half / 1e9:.6f}, one by one ${full_nanos / 1e9:.6f}; {kills}"

        return conclude(stage, "batches", kills=kills.count, remark=describe)


def run_lost(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Every second answer about a file or batch is lost, every tenth call fails; and kills."""
    lines, seconds = scale.pick(10, 20), scale.pick(1.0, 3.0)
    plan = _make_plan(scale.pick(5, 10) * lines, lines)
    with open_stage(kind, folder, plan) as stage:
        prepare_ledger(stage)
        quick = {"batch_seconds": seconds}
        stage.switch(lost_batch_creates=0.5, lost_file_uploads=0.5, failed_batch_calls=0.1, **quick)
        chance = scale.chance("batch-lost", kind)
        aims = {aim.name: aim for aim in _make_aims(lines, seconds, chance)}
        names = ["upload", "create", *scale.pick([], ["upload", "create", "polling", "harvest"])]
        kills = _kill_everywhere(stage, [aims[name] for name in names], chance)
        stage.expect(stage.tag(*BATCH), DONE_BUT_SOME_FAILED, when="the last run")
        calls = len(stage.server.read_batches())
        stage.switch(**quick)

        def describe(seen: Evidence) -> str:
            told = check_batches(stage, seen, kills=kills.count)
            return f"{calls} batches created; {told}; {kills}"

        return conclude(stage, "batch-lost", kills=kills.count, remark=describe)


def _make_plan(pictures: int, lines: int) -> Plan:
    return Plan(
        pictures=pictures,
        latency_ms=0,
        concurrency=16,
        settings=(*SETTINGS, f"batch.max_requests={lines}"),
    )


def _run_one_by_one(stage: Stage) -> tuple[int, float]:
    """The same pictures in the standard lane, elsewhere; its cost, and tokens a picture."""
    folder = stage.folder / "live"
    folder.mkdir()
    with open_server(stage.folder) as server:
        plan = replace(stage.plan, export="live/tags.jsonl", settings=(), concurrency=64)
        ledger = make_url(stage.kind, folder)
        live = Stage(
            kind=stage.kind, folder=stage.folder, ledger=ledger, server=server, plan=plan,
            problems=stage.problems,
        )  # fmt: skip
        done = live.tag()
        if done.code != DONE_BUT_SOME_FAILED:
            raise DrillBroken(f"one by one: exit code {done.code}: {done.err}")
        books = read_books(server.base_url)
        return read_held(live).spent, books["tokens"]["input"] / books["answered"]


def _make_aims(lines: int, seconds: float, chance: Random) -> list[Aim]:
    """The steps of a batch, each a little into it where it takes long."""
    few = chance.randint(1, lines)
    return [
        Aim(
            name="packing",
            is_there=lambda row: row.state is BatchState.PACKING and row.open >= few,
        ),
        Aim(name="upload", is_there=lambda row: row.state is BatchState.PACKED),
        Aim(name="create", is_there=lambda row: row.state is BatchState.SUBMITTING),
        Aim(
            name="polling",
            is_there=lambda row: row.remote_state == RemoteState.IN_PROGRESS,
            longest_delay=seconds / 2,
        ),
        Aim(name="harvest", is_there=_is_being_harvested),
    ]


def _is_being_harvested(row: Row) -> bool:
    is_partly = bool(row.open and row.settled)
    is_ready = row.remote_state in {RemoteState.COMPLETED, RemoteState.EXPIRED}
    return not row.is_over and (is_partly or is_ready)


def _kill_everywhere(stage: Stage, aims: Sequence[Aim], chance: Random) -> Kills:
    """Once at each step."""
    kills = Kills()
    for aim in aims:
        for _ in range(_TRIES):
            hit = _kill_at(stage, aim, chance.uniform(0, aim.longest_delay), kills)
            if hit:
                break
        else:
            kills.told.append(f"{aim.name} never met")
    stage.demand(kills.count > len(aims) // 2, f"only {kills.count} kills hit a run: {kills}")
    return kills


def _kill_at(stage: Stage, aim: Aim, delay: float, kills: Kills) -> bool:
    """Whether the step was hit."""
    process = stage.start(*BATCH)
    # a stopped process takes no further step before it is killed
    if not freeze_at(stage.ledger, process, aim.meets, delay):
        stage.expect(stage.finish(process), DONE_BUT_SOME_FAILED, when="a run that was not killed")
        return False
    if not stage.kill(process):
        return False
    kills.count += 1
    rows = read_rows(stage.ledger)
    is_hit = aim.meets(rows)
    kills.told.append(f"{aim.name if is_hit else f'after {aim.name}'} ({count_states(rows)})")
    return is_hit


def _check_that_it_was_hard(stage: Stage, seen: Evidence) -> None:
    """What the drill is about did come about."""
    known = Counter(one["status"] for one in stage.server.read_batches())
    stage.demand(known[RemoteState.EXPIRED] > 0, "no batch expired")
    stage.demand(known[RemoteState.FAILED] > 0, "no batch was refused")
    failed = sum(line["fault"] is not None for line in seen.log)
    stage.demand(failed > 0, "no line failed")
