"""Group commit: many tasks hand in single pieces of work, one task does them together."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

from pipeline.domain.errors import EnvironmentFault

Work = TypeVar("Work")
Done = TypeVar("Done")


class _Slip(Generic[Work, Done]):
    """One piece of work and the place where its answer will lie."""

    __slots__ = ("answer", "error", "ready", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.ready = anyio.Event()
        self.answer: Done | None = None
        self.error: Exception | None = None


class Clerk(Generic[Work, Done]):
    """Gathers what is handed in while the last group is written, then writes that as one group.

    Args:
        write_group: does a group; returns one answer for each, in order.
        linger_seconds: how long a group may wait for company.
        largest: pieces in one group at most.
    """

    def __init__(
        self,
        write_group: Callable[[Sequence[Work]], Awaitable[Sequence[Done]]],
        *,
        linger_seconds: float = 0.0,
        largest: int = 500,
    ) -> None:
        self._write_group = write_group
        self._linger_seconds = linger_seconds
        self._largest = largest
        self._waiting: list[_Slip[Work, Done]] = []
        self._wake = anyio.Event()
        self._is_closed = False
        self._is_gone = False

    async def do(self, work: Work) -> Done:
        """Hand in one piece; return when its group is committed.

        Raises:
            EnvironmentFault: its group could not be written.
        """
        if self._is_gone:
            raise EnvironmentFault("nobody writes to the ledger any more")
        slip: _Slip[Work, Done] = _Slip(work)
        self._waiting.append(slip)
        self._wake.set()
        await slip.ready.wait()
        if isinstance(slip.error, EnvironmentFault):
            raise type(slip.error)(str(slip.error)) from slip.error
        if slip.error is not None:
            raise RuntimeError("a group could not be written") from slip.error
        return slip.answer  # type: ignore[return-value]  # set together with ready

    async def run(self) -> None:
        """Serve until ``close()``; what was handed in before is still done."""
        try:
            while await self._wait_for_work():
                size = self._largest
                group, self._waiting = self._waiting[:size], self._waiting[size:]
                await self._serve(group)
        finally:
            self._is_gone = True
            self._give_up(self._waiting)

    def close(self) -> None:
        """Let ``run()`` return once nothing waits any more."""
        self._is_closed = True
        self._wake.set()

    async def _wait_for_work(self) -> bool:
        if not self._waiting and not self._is_closed:
            self._wake = anyio.Event()
            await self._wake.wait()
        if self._linger_seconds and not self._is_closed and len(self._waiting) < self._largest:
            await anyio.sleep(self._linger_seconds)
        return bool(self._waiting) or not self._is_closed

    async def _serve(self, group: list[_Slip[Work, Done]]) -> None:
        try:
            answers = await self._write_group([slip.work for slip in group])
            for slip, answer in zip(group, answers, strict=True):
                slip.answer = answer
        except Exception as error:  # noqa: BLE001  every waiting task is told, none hangs
            for slip in group:
                slip.error = error
        except BaseException:
            self._give_up(group)
            raise
        for slip in group:
            slip.ready.set()

    def _give_up(self, slips: list[_Slip[Work, Done]]) -> None:
        for slip in slips:
            slip.error = EnvironmentFault("nobody writes to the ledger any more")
            slip.ready.set()
