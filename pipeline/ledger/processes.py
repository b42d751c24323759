"""Who runs: processes that cannot be mistaken for one another, and whether they live."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.ledger.tables import runs

OWNER: Final = (
    runs.c.id, runs.c.host, runs.c.pid, runs.c.process_started, runs.c.lease_until,
    runs.c.ended_at,
)  # fmt: skip
"""What has to be known of a run to say whether it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "ProcessId":
        started, _ = read_process(os.getpid())
        return cls(host=read_host(), pid=os.getpid(), started=started)


def read_host() -> str:
    """This machine and its process namespace, beyond which a pid means nothing."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  no file
    except OSError:
        return socket.gethostname()


def read_process(pid: int) -> tuple[str, bool]:
    """Boot id and start tick of a process (empty when it is gone), and whether it is stopped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "", False
    facts = stat.rsplit(")", 1)[1].split()
    return f"{boot}:{facts[19]}", facts[0] in {"T", "t"}


def is_over(row: Any, now_ms: int) -> bool:
    """Whether a run has ended, or its process is gone: what it holds may be taken over.

    Args:
        row: with the columns of ``OWNER``.
        now_ms: by the clock of whoever asks.
    """
    return row.ended_at is not None or is_dead(row, now_ms)


def is_dead(row: Any, now_ms: int) -> bool:
    """On our own host the process table decides: a lease runs out while a laptop sleeps.

    A process that is stopped, or on another host, is known by its lease alone.
    """
    if row.host != read_host() or not row.process_started:
        return bool(row.lease_until < now_ms)
    started, is_stopped = read_process(row.pid)
    if started != row.process_started:
        return True
    return bool(is_stopped and row.lease_until < now_ms)
