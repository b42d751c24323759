"""Ctrl-C: once lets what is under way settle, whatever the others wait for; twice cancels it."""

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from command_line import read_books

from drills.audit import conclude
from drills.launching import bend
from drills.money import read_held
from drills.stage import DONE_BUT_SOME_FAILED, INTERRUPTED, Plan, Stage, open_stage, wait_until
from drills.verdict import Scale, Verdict

_CONCURRENCY = 16
_LATENCY_MS = 500
_AT_ONCE_SECONDS = 2.0
"""To write exports and to end, beside what the answers take."""
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How an interruption went."""

    in_flight: int
    """At the server at that moment."""
    seconds: float
    sent_after: int

    def __str__(self) -> str:
        return f"{self.in_flight} in flight, ended after {self.seconds:.1f} s"


def run_once(kind: str, folder: Path, scale: Scale) -> Verdict:
    """In mid-run: nothing is lost of what is under way."""
    with open_stage(kind, folder, _plan(scale)) as stage:
        process = stage.start()
        stage.wait_for_answers(2 * _CONCURRENCY, process)
        return _end_once(stage, process, "interrupt-once")


def run_rate(kind: str, folder: Path, scale: Scale) -> Verdict:
    """While nearly all wait for their turn by the rate."""
    with open_stage(kind, folder, _plan(scale)) as stage:
        process = stage.start("--set", "limits.requests_per_minute=120")
        stage.wait_for_answers(4, process)
        return _end_once(stage, process, "interrupt-rate")


def run_hold(kind: str, folder: Path, scale: Scale) -> Verdict:
    """While all are held back for an hour; when it has passed, the work goes on."""
    with open_stage(kind, folder, _plan(scale)) as stage:
        process = stage.start()
        stage.wait_for_answers(2 * _CONCURRENCY, process)
        stage.switch(rate_limited=1.0, retry_after_ms=_HOUR_MS)
        wait_until(lambda: _count_refused(stage) > 0, "somebody is refused")
        time.sleep(1)
        stop = _interrupt(stage, process)
        refused = _count_refused(stage)
        stage.switch()
        later = stage.start(**bend("0:3700", folder / "looked", None))
        stage.expect(stage.finish(later), DONE_BUT_SOME_FAILED, when="an hour later")
        told = f"{stop}; {refused} refused"
        return conclude(stage, "interrupt-hold", remark=lambda _: told)


def run_twice(kind: str, folder: Path, scale: Scale) -> Verdict:
    """What is under way is cancelled, and known to be lost."""
    with open_stage(kind, folder, _plan(scale, latency_ms=1_000)) as stage:
        process = stage.start()
        stage.wait_for_answers(4, process)
        wait_until(lambda: _count_in_flight(stage) >= _CONCURRENCY // 2, "many are under way")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        in_flight, began = _count_in_flight(stage), time.monotonic()
        process.send_signal(signal.SIGINT)
        stage.expect(stage.finish(process), INTERRUPTED, when="interrupted twice")
        seconds, held = time.monotonic() - began, read_held(stage)
        stage.demand(seconds <= _AT_ONCE_SECONDS, f"it took {seconds:.1f} s to end")
        stage.demand(
            in_flight - 2 <= held.lost <= in_flight and not held.open,
            f"{in_flight} were in flight, the ledger knows {held.lost} lost, {held.open} open",
        )
        stage.switch(latency_ms=50)
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the next run")
        told = f"{in_flight} in flight, {held.lost} lost, ended after {seconds:.1f} s"
        return conclude(stage, "interrupt-twice", kills=1, remark=lambda _: told)


def _plan(scale: Scale, *, latency_ms: int = _LATENCY_MS) -> Plan:
    return Plan(pictures=scale.pick(80, 200), latency_ms=latency_ms, concurrency=_CONCURRENCY)


def _end_once(stage: Stage, process: subprocess.Popen[str], drill: str) -> Verdict:
    stop = _interrupt(stage, process)
    stage.switch(latency_ms=50)
    stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the next run")
    return conclude(stage, drill, remark=lambda _: str(stop))


def _interrupt(stage: Stage, process: subprocess.Popen[str]) -> Stop:
    """One Ctrl-C, to the end."""
    before, began = read_books(stage.base_url), time.monotonic()
    process.send_signal(signal.SIGINT)
    stage.expect(stage.finish(process), INTERRUPTED, when="interrupted once")
    seconds = time.monotonic() - began
    longest = 2 * stage.plan.latency_ms / 1000 + _AT_ONCE_SECONDS
    stage.demand(seconds <= longest, f"it took {seconds:.1f} s to end")
    sent_after = read_books(stage.base_url)["requests"] - before["requests"]
    stage.demand(sent_after <= _CONCURRENCY // 4, f"{sent_after} requests after the Ctrl-C")
    held = read_held(stage)
    stage.demand(not (held.lost or held.open), f"not all settled: {held}")
    return Stop(in_flight=before["inflight"], seconds=seconds, sent_after=sent_after)


def _count_in_flight(stage: Stage) -> int:
    return int(read_books(stage.base_url)["inflight"])


def _count_refused(stage: Stage) -> int:
    return int(read_books(stage.base_url)["by_fault"].get("rate_limited", 0))
