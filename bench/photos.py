"""tagpipe beside the floor, in turn, on a folder of photographs.

python bench/photos.py FOLDER --rounds 3 --latency-ms 0

Builds the mock endpoint (bench/mock.c, needs a C compiler), runs both against it on 127.0.0.1 and
prints wall time, CPU, peak memory and their ratios; then the longest that the event loop was kept
from its work.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import anyio

BENCH = Path(__file__).resolve().parent
PORT = 8913
BASE_URL = f"http://127.0.0.1:{PORT}/v1"


@contextmanager
def mock(folder: Path) -> Iterator[None]:
    program = folder / "mock"
    subprocess.run(["cc", "-O2", "-o", program, BENCH / "mock.c"], check=True)
    with subprocess.Popen([program, str(PORT)]) as process:
        time.sleep(0.3)
        yield
        process.kill()


def control(words: str) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{PORT}/{words}") as reply:
        found: dict[str, float] = json.load(reply)
    return found


def measure(command: list[object], latency_ms: int) -> dict[str, float]:
    """Wall and CPU seconds and peak memory in MB of one process."""
    control("__reset")
    control(f"__set?latency={latency_ms}")
    began = time.monotonic()
    environment = {**os.environ, "OPENAI_API_KEY": "sk-mock"}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} ended with status {status}")
    return {
        "wall": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "rss": used.ru_maxrss / 1e3,
        "requests": control("__stats")["requests"],
    }


def tag_command(folder: Path, place: Path) -> list[object]:
    shutil.rmtree(place, ignore_errors=True)
    return [
        sys.executable, BENCH.parent / "run.py", "tag", folder, "--model", "gpt-4o-mini",
        "--base-url", BASE_URL, "--profile", BENCH / "profile.yaml", "-q",
        "--ledger", place / "ledger.db", "--no-export",
    ]  # fmt: skip


def floor_command(folder: Path, place: Path) -> list[object]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return [sys.executable, BENCH / "floor.py", folder, place / "answers.db", BASE_URL]


async def watch_loop(folder: Path, place: Path) -> float:
    """The longest wait, in milliseconds, of a task that only wants to run every 2 ms."""
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.bootstrap.plan import make_plan
    from pipeline.bootstrap.tagging import open_tagging
    from pipeline.config.loading import load_settings

    flags = {
        "provider.model": "gpt-4o-mini",
        "provider.base_url": BASE_URL,
        "profile": str(BENCH / "profile.yaml"),
        "ledger.url": str(place / "watched.db"),
        "exports": [],
    }
    settings = load_settings(flags=flags, environ={})
    plan = make_plan(settings, today=datetime.now(UTC).date())
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            asleep = time.monotonic()
            await anyio.sleep(0.002)
            longest = max(longest, time.monotonic() - asleep - 0.002)

    async with (
        open_ledger(settings) as ledger,
        open_tagging(plan, ledger, [folder], environ={"OPENAI_API_KEY": "sk-mock"}) as tagging,
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch)
        await tagging.run()
        group.cancel_scope.cancel()
    return longest * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, mock(Path(scratch)):
        place = Path(scratch) / "run"
        rounds = []
        for number in range(given.rounds):
            floor = measure(floor_command(given.folder, place), given.latency_ms)
            ours = measure(tag_command(given.folder, place), given.latency_ms)
            rounds.append((ours, floor))
            shown = {key: f"{ours[key]:.1f} / {floor[key]:.1f}" for key in ours}
            print(f"round {number + 1}, tagpipe / floor: {shown}")
        for key in ("wall", "cpu", "rss"):
            ratios = [ours[key] / floor[key] for ours, floor in rounds]
            print(f"{key}: {statistics.median(ratios):.2f} x floor "
                  f"({min(ratios):.2f} .. {max(ratios):.2f})")  # fmt: skip
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        longest = anyio.run(watch_loop, given.folder, place, backend_options={"use_uvloop": True})
        print(f"event loop: kept from its work for {longest:.1f} ms at most")
    print(
        f"cores {os.cpu_count()}, files open at most {resource.getrlimit(resource.RLIMIT_NOFILE)}"
    )


if __name__ == "__main__":
    main()
