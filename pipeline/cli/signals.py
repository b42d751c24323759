"""Ctrl-C in good order: each signal takes one step further out."""

import signal
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from pipeline.cli.output import tell


async def obey_signals(
    steps: Sequence[Callable[[], str]],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Take the next step at each SIGINT or SIGTERM and tell what it says; the last one repeats."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        left = list(steps)
        async for _ in signals:
            step = left.pop(0) if len(left) > 1 else left[0]
            tell(step())
