"""A disk that fills up in mid-run, under the ledger or under an export, and is freed later."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from command_line import Finished, finish
from pictures import jpeg

from drills.audit import conclude, count_lost_attempts
from drills.stage import (
    DONE_BUT_SOME_FAILED,
    FAULT,
    PAUSED,
    Plan,
    Stage,
    find_spooled,
    open_stage,
)
from drills.verdict import NotRunHere, Scale, Verdict

_PATIENCE_SECONDS = 3
_FULL_SECONDS = 1.5
_BLOCK = bytes(65_536)
_MORE_PICTURES = range(9_000, 9_060)


def run_ledger(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Full for a while: the run waits. Full for too long: it pauses, the answers are spooled."""
    with mount_disk(folder / "disk", megabytes=16) as disk:
        plan = Plan(
            pictures=scale.pick(100, 240),
            ledger=f"sqlite:///{disk}/ledger.db",
            settings=(f"ledger.patience_s={_PATIENCE_SECONDS}",),
        )
        with open_stage(kind, folder, plan) as stage:
            done = _fill_for_a_while_then_for_good(stage, disk)
            stage.expect(done, PAUSED, when="the disk under the ledger stays full")
            stage.demand("ledger.back" in done.err, "nobody was told that the ledger was back")
            stage.demand("run the same command again" in done.err, f"not told: {done.err}")
            spooled = len(find_spooled(folder))
            stage.demand(spooled == 1, f"{spooled} spools after the disk was full")
            free_disk(disk)
            stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the disk is freed")
            stage.demand(not find_spooled(folder), "a spool is left over")
            return conclude(stage, "disk-ledger", remark=count_lost_attempts)


def run_export(kind: str, folder: Path, scale: Scale) -> Verdict:
    """The old file stays as it was, whole; the next run writes the new one."""
    with mount_disk(folder / "disk", megabytes=1) as disk:
        plan = Plan(pictures=scale.pick(20, 100), latency_ms=200, export="disk/tags.jsonl")
        with open_stage(kind, folder, plan) as stage:
            stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the first run")
            before = stage.export.read_bytes()
            _add_pictures(stage)
            process = stage.start()
            stage.wait_for_answers(plan.pictures + 1, process)
            fill_disk(disk)
            done = finish(process)
            stage.expect(done, FAULT, when="the disk under the export is full")
            stage.demand("cannot write" in done.err, f"not told: {done.err}")
            stage.demand(stage.export.read_bytes() == before, "the old export was changed")
            left = {path.name for path in disk.iterdir()} - {"tags.jsonl", "filler"}
            stage.demand(not left, f"left beside the export: {left}")
            free_disk(disk)
            stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the disk is freed")
            return conclude(stage, "disk-export", remark=count_lost_attempts)


def _fill_for_a_while_then_for_good(stage: Stage, disk: Path) -> Finished:
    process = stage.start()
    stage.wait_for_answers(stage.plan.pictures // 8, process)
    fill_disk(disk)
    time.sleep(_FULL_SECONDS)
    free_disk(disk)
    stage.wait_for_answers(stage.plan.pictures // 3, process)
    fill_disk(disk)
    return finish(process)


def _add_pictures(stage: Stage) -> None:
    for seed in _MORE_PICTURES:
        (stage.library / f"more{seed}.jpg").write_bytes(jpeg(96, 64, seed=seed))


def fill_disk(disk: Path) -> None:
    """Until not one byte more goes in."""
    handle = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        for block in (_BLOCK, _BLOCK[:1]):
            with suppress(OSError):
                while True:
                    os.write(handle, block)
    finally:
        os.close(handle)


def free_disk(disk: Path) -> None:
    (disk / "filler").unlink()


@contextmanager
def mount_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """A small disk in memory.

    Raises:
        NotRunHere: this user may not mount.
    """
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "drill", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotRunHere("not run here: this user may not mount a small disk") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
