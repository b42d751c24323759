"""The time of a run: the ledger's clock, read once, carried on by one that never jumps."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pipeline.engine.stages import Clock
from pipeline.ledger.database import Database


async def open_clock(database: Database) -> Clock:
    """A clock that agrees with all hosts on the same ledger and does not heed the wall clock.

    Leases and waits are compared across processes and hosts: a wall clock that is set forth or
    back, or differs between hosts, must neither take work from the living nor delay a retry.
    """
    return make_clock(await database.read_time(), measure=read_uptime)


def make_clock(start_ms: int, *, measure: Callable[[], float]) -> Clock:
    """A clock that shows ``start_ms`` now and goes with ``measure`` (seconds)."""
    began = measure()
    start = datetime.fromtimestamp(start_ms / 1000, UTC)

    def now() -> datetime:
        return start + timedelta(seconds=measure() - began)

    return Clock(now=now, monotonic=time.monotonic, chance=random.random)


def read_uptime() -> float:
    """Seconds that pass also while the machine sleeps, where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
