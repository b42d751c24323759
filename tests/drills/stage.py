"""Where a drill plays: a library, the simulator, a ledger, and the processes it started."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import MODEL, Finished, finish, make_library, read_books, run, start
from databases import make_url

from drills.server import Server, open_server
from drills.verdict import DrillBroken

DONE = 0
DONE_BUT_SOME_FAILED = 3
PAUSED = 4
INTERRUPTED = 130
FAULT = 1
COPIES = 8
_WAIT_SECONDS = 60.0
_LONGEST_RUN_SECONDS = 180.0
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The library, the server and the command of a drill."""

    pictures: int
    """All different; besides them there are some exact copies and a file that is no picture."""
    copies: int = COPIES
    model: str = MODEL
    profile: str = "general"
    latency_ms: int = 100
    """Least time to an answer; up to as much again by chance, so that not all come at once."""
    concurrency: int = 8
    faults: tuple[str, ...] = ()
    """Options of ``simulate``."""
    settings: tuple[str, ...] = ()
    """``key.path=value``."""
    ledger: str | None = None
    """Address; None for a fresh one of the wanted kind."""
    export: str = "export/tags.jsonl"


@dataclass(slots=True, kw_only=True)
class Stage:
    """One library, one ledger, one server, one command that is given again and again."""

    kind: str
    folder: Path
    ledger: str
    server: Server
    plan: Plan
    others: Sequence[Server] = ()
    """Servers beside the first that are asked, too."""
    problems: list[str] = field(default_factory=list)
    _crew: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return self.server.base_url

    @property
    def library(self) -> Path:
        return self.folder / "photos"

    @property
    def export(self) -> Path:
        return self.folder / self.plan.export

    def start(self, *words: object, **variables: str) -> subprocess.Popen[str]:
        """The command, under way; with words of this time."""
        process = start(self.folder, *self._words(), *words, **variables)
        self._crew.append(process)
        return process

    def tag(self, *words: object) -> Finished:
        return self.finish(self.start(*words))

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Its end, which may have to wait for a server's."""
        out, err = process.communicate(timeout=_LONGEST_RUN_SECONDS)
        return Finished(code=process.returncode, out=out, err=err)

    def switch(self, **changes: object) -> None:
        """From now on the server behaves otherwise, but for its seed and its latency."""
        latency = {"latency_ms": self.plan.latency_ms, "latency_jitter_ms": self.plan.latency_ms}
        self.server.switch(**{**latency, **changes})

    def expect(self, done: Finished, code: int, *, when: str) -> None:
        """A run that should have ended with ``code``.

        Where another machine was lost, what it held, which may be the broken file, is free only
        when its lease runs out; a run that ends before says so.
        """
        if "lost with its machine" in done.err and done.code in {DONE, code}:
            return
        if done.code != code:
            said = done.err.strip().splitlines()[-1:] or done.out.strip().splitlines()[-1:]
            self.problems.append(f"{when}: exit code {done.code} in place of {code}: {said}")

    def demand(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.problems.append(otherwise)

    def kill(self, process: subprocess.Popen[str]) -> bool:
        """SIGKILL; False when it had ended by itself."""
        is_alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        done = finish(process)
        if not is_alive:
            self.expect(done, DONE_BUT_SOME_FAILED, when="a run that was not killed")
        self._check_export_is_whole()
        return is_alive

    def count_answered(self) -> int:
        """Pictures that were answered for good."""
        return int(read_books(self.base_url)["pictures_answered"])

    def wait_for_answers(self, goal: int, *processes: subprocess.Popen[str]) -> None:
        """Until so many pictures are answered, or all the processes have ended."""

        def is_over() -> bool:
            ended = [process.poll() is not None for process in processes]
            return self.count_answered() >= goal or (all(ended) and bool(ended))

        wait_until(is_over, f"{goal} pictures answered")

    def read_export(self) -> list[dict[str, Any]]:
        if not self.export.exists():
            return []
        return [json.loads(line) for line in self.export.read_text().splitlines()]

    def dismiss(self) -> None:
        """End whatever still runs."""
        for process in self._crew:
            if process.poll() is None:
                process.kill()
                finish(process)

    def _words(self) -> list[str]:
        exports = f"exports=[{{format: jsonl, path: {self.plan.export}}}]"
        settings = [word for given in (exports, *self.plan.settings) for word in ("--set", given)]
        return [
            "tag", "photos", "--profile", self.plan.profile, "--model", self.plan.model,
            "--base-url", self.base_url, "--json", "--max-concurrency", str(self.plan.concurrency),
            "--ledger", self.ledger, *settings,
        ]  # fmt: skip

    def _check_export_is_whole(self) -> None:
        try:
            self.read_export()
        except ValueError as error:
            self.problems.append(f"the export was not whole after a kill: {error}")


@contextmanager
def open_stage(kind: str, folder: Path, plan: Plan) -> Iterator[Stage]:
    """Set up; all processes are ended in any case."""
    fill_library(folder / "photos", plan.pictures, copies=plan.copies)
    latency = ("--latency-ms", plan.latency_ms, "--latency-jitter-ms", plan.latency_ms)
    with open_server(folder, *latency, *plan.faults) as server:
        stage = Stage(
            kind=kind,
            folder=folder,
            ledger=plan.ledger or make_url(kind, folder),
            server=server,
            plan=plan,
        )
        try:
            yield stage
        finally:
            stage.dismiss()


def fill_library(folder: Path, pictures: int, *, copies: int = COPIES) -> None:
    """Pictures that differ, exact copies of some, and one file that is no picture."""
    make_library(folder, pictures)
    for number in range(copies):
        original = (folder / f"{number:03}.jpg").read_bytes()
        (folder / f"copy{number}.jpg").write_bytes(original)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")


def check_ledger(stage: Stage) -> None:
    """``db check`` is clean."""
    done = run(stage.folder, "db", "check", "--ledger", stage.ledger)
    stage.demand(done.code == 0, f"db check: {done.out.strip()} {done.err.strip()}")


def wait_until(is_so: Callable[[], bool], what: str, *, seconds: float = _WAIT_SECONDS) -> None:
    """Look again and again.

    Raises:
        DrillBroken: it did not come about in time.
    """
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise DrillBroken(f"waited {seconds:.0f} s in vain for this: {what}")
        time.sleep(_LOOK_SECONDS)


def find_spooled(folder: Path) -> list[Path]:
    """Spools in which something waits; the room they take beforehand is zeros."""
    found = []
    for path in folder.rglob("*.spool"):
        with suppress(FileNotFoundError):
            found += [path] if path.read_bytes().strip(b"\0") else []
    return found
