"""A budget of bytes: work waits until what it will hold fits."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class ByteBudget:
    """Holds at most ``total_bytes`` at once; waits are served in the order they came.

    Something larger than the whole budget is let in when nothing else is held, so that a
    huge picture is slow rather than stuck.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.held_bytes = 0
        self._queue: deque[tuple[int, anyio.Event]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes for the length of the block."""
        wanted = min(size, self.total_bytes)
        await self._acquire(wanted)
        try:
            yield
        finally:
            self.held_bytes -= wanted
            self._admit()

    async def _acquire(self, wanted: int) -> None:
        if not self._queue and self.held_bytes + wanted <= self.total_bytes:
            self.held_bytes += wanted
            return
        ticket = (wanted, anyio.Event())
        self._queue.append(ticket)
        try:
            await ticket[1].wait()
        except BaseException:
            if ticket[1].is_set():
                self.held_bytes -= wanted
            else:
                self._queue.remove(ticket)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._queue and self.held_bytes + self._queue[0][0] <= self.total_bytes:
            wanted, event = self._queue.popleft()
            self.held_bytes += wanted
            event.set()
