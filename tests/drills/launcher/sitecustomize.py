"""Slipped into the program by ``PYTHONPATH``: another host name, a wall clock that jumps.

Python imports a module of this name before it runs ``run.py``; a fault in it would only be told,
so the drills look for what it leaves: the host in the ledger, the jumps in a file.

Environment:
    DRILL_HOST: name of the host as the ledger is to see it.
    DRILL_JUMPS: moments and offsets, ``0:3600 1.5:-3600``, in seconds since the start.
    DRILL_LOOKED: file for a line at the first look at the clock after each jump.
"""

import os
import sys
import time
from bisect import bisect_right
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_true_time_ns = time.time_ns


def _jump(schedule: str, looked: Path) -> None:
    parts = [part.split(":") for part in schedule.split()]
    moments = [float(moment) for moment, _ in parts]
    offsets = [int(offset) for _, offset in parts]
    began = time.monotonic()
    seen: set[int] = set()

    def time_ns() -> int:
        place = bisect_right(moments, time.monotonic() - began) - 1
        offset = offsets[place] if place >= 0 else 0
        if place >= 0 and place not in seen:
            seen.add(place)
            with looked.open("a", encoding="ascii") as file:
                file.write(f"{os.getpid()} {offset}\n")
        return _true_time_ns() + offset * 1_000_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def _move(host: str) -> None:
    sys.path.insert(0, str(_ROOT))
    from pipeline.ledger import processes

    processes.read_host = lambda: host


if "DRILL_JUMPS" in os.environ:
    _jump(os.environ["DRILL_JUMPS"], Path(os.environ["DRILL_LOOKED"]))
if "DRILL_HOST" in os.environ:
    _move(os.environ["DRILL_HOST"])
