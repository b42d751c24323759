"""What would strike every picture pauses the run at once; the same command goes on."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from command_line import Finished, read_books

from drills.audit import conclude
from drills.stage import DONE_BUT_SOME_FAILED, PAUSED, Plan, Stage, open_stage
from drills.verdict import Scale, Verdict

_HANDFUL = 10
_NOBODY_THERE = 250
"""Silence is only that after a while: three requests for each that may be under way."""
_RETIRED_MODEL = "gpt-5.3-chat-latest"
_PICTURES = 100
_BEFORE_A_TURN = 200
_TURN_WINDOW = 50
_PROFILE = "sparse.yaml"
_MAY_SAY_NOTHING = """
name: sparse
instructions: Describe this image.
fields:
  caption: {type: text, max_length: 250, optional: true}
  keywords: {type: keywords, max: 12}
max_output_tokens: 400
"""
"""With a field that has to have a value, no answer is ever empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong, from when on, and what the run is to say."""

    name: str
    said: str
    """Part of the message."""
    behavior: Mapping[str, object] = field(default_factory=dict)
    is_dead: bool = False
    """Nothing listens."""
    model: str | None = None
    most_requests: int = _HANDFUL
    """Before the pause, from when it began."""
    after: int = 0
    """Good answers before it begins."""


TROUBLES = (
    Trouble(name="bad-key", behavior={"refuse_all": "bad_key"}, said="Check the key"),
    Trouble(name="forbidden", behavior={"refuse_all": "forbidden"}, said="your address and region"),
    Trouble(name="no-credit", behavior={"refuse_all": "no_credit"}, said="credit"),
    Trouble(name="no-quota", behavior={"no_quota": 1.0}, said="quota"),
    Trouble(name="spend-limit", behavior={"refuse_all": "spend_limit"}, said="limit"),
    Trouble(name="no-model", behavior={"refuse_all": "no_model"}, said="Check provider.model"),
    Trouble(name="retired", behavior={"retire": True}, said="retirement", model=_RETIRED_MODEL),
    Trouble(name="schema", behavior={"refuse_all": "schema"}, said="or the profile"),
    Trouble(name="bad-answers", behavior={"wrong_schema": 1.0}, said="run the same command again"),
    Trouble(
        name="down",
        behavior={"refuse_all": "down"},
        said="run the same command again",
        most_requests=_NOBODY_THERE,
    ),
    Trouble(
        name="dead", is_dead=True, said="run the same command again", most_requests=_NOBODY_THERE
    ),
    Trouble(name="no-credit-midway", behavior={"refuse_all": "no_credit"}, said="credit", after=50),
)  # fmt: skip


def make_run(trouble: Trouble) -> Callable[[str, Path, Scale], Verdict]:
    """The drill of one trouble."""
    return partial(_run, trouble)


def _run(trouble: Trouble, kind: str, folder: Path, _: Scale) -> Verdict:
    """Start it, see it pause, end the trouble, run it again."""
    plan = Plan(pictures=_PICTURES, latency_ms=20, concurrency=16)
    if trouble.model:
        plan = Plan(pictures=_PICTURES, latency_ms=20, concurrency=16, model=trouble.model)
    with open_stage(kind, folder, plan) as stage:
        sent, paused = _meet(stage, trouble)
        _expect_one_message(stage, paused, trouble.said)
        if not trouble.is_dead:
            most = trouble.most_requests + (plan.concurrency if trouble.after else 0)
            stage.demand(sent <= most, f"{sent} requests before the pause")
        failed = paused.document["images"]["failed"]
        stage.demand(failed <= 1, f"{failed} images failed for it")
        if trouble.is_dead:
            stage.server.start()
        stage.switch()
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the trouble is over")
        asked = paused.document["requests"]["sent"]
        seconds = paused.document["elapsed_s"]
        return conclude(
            stage,
            f"pause-{trouble.name}",
            remark=lambda seen: (
                f"paused after {asked} requests, {seconds:.1f} s; {_count_repeated(seen.repeats)}"
            ),
        )


def _count_repeated(repeats: int) -> str:
    return f"{repeats} paid twice" if repeats else "none paid twice"


def _meet(stage: Stage, trouble: Trouble) -> tuple[int, Finished]:
    """Run into it; requests that the server saw since it began, and how the run ended."""
    if trouble.is_dead:
        stage.server.kill()
        paused = stage.tag()
        stage.expect(paused, PAUSED, when="in the trouble")
        return 0, paused
    if not trouble.after:
        stage.switch(**trouble.behavior)
    process = stage.start()
    before = _wait(stage, process, trouble) if trouble.after else 0
    paused = stage.finish(process)
    stage.expect(paused, PAUSED, when="in the trouble")
    return int(read_books(stage.base_url)["requests"]) - before, paused


def _wait(stage: Stage, process: subprocess.Popen[str], trouble: Trouble) -> int:
    stage.wait_for_answers(trouble.after, process)
    stage.switch(**trouble.behavior)
    return int(read_books(stage.base_url)["requests"])


def _expect_one_message(stage: Stage, paused: Finished, said: str) -> None:
    lines = [line for line in paused.err.splitlines() if line.startswith("paused: ")]
    stage.demand(len(lines) == 1, f"told {len(lines)} times: {paused.err}")
    text = lines[0] if lines else ""
    stage.demand(said in text, f"does not say '{said}': {text}")


def run_turn_refused(kind: str, folder: Path, scale: Scale) -> Verdict:
    """After good answers nine of ten are refused."""
    return _run_turn(kind, folder, scale, fault="refused", share=0.9)


def run_turn_empty(kind: str, folder: Path, scale: Scale) -> Verdict:
    """After good answers, answers that fit and say nothing."""
    return _run_turn(kind, folder, scale, fault="empty_answer", share=1.0)


def _run_turn(kind: str, folder: Path, scale: Scale, *, fault: str, share: float) -> Verdict:
    profile = str(folder / _PROFILE)
    plan = Plan(
        pictures=scale.pick(360, 500), copies=0, latency_ms=50, concurrency=8, profile=profile
    )
    with open_stage(kind, folder, plan) as stage:
        (folder / _PROFILE).write_text(_MAY_SAY_NOTHING)
        process = stage.start()
        stage.wait_for_answers(_BEFORE_A_TURN, process)
        stage.switch(**{fault: share})
        paused = stage.finish(process)
        stage.expect(paused, PAUSED, when="the answers have turned")
        _expect_one_message(stage, paused, "of the last 50 answers")
        met = read_books(stage.base_url)["by_fault"].get(fault, 0)
        most = _TURN_WINDOW + 2 * plan.concurrency
        stage.demand(0 < met <= most, f"{met} such answers before the pause")
        failed = paused.document["images"]["failed"]
        stage.demand(failed <= 1, f"{failed} images failed for it")
        stage.switch()
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="it has turned back")
        told = f"paused after {met} such answers"
        return conclude(stage, f"turn-{fault.partition('_')[0]}", remark=lambda _: told)
