"""Keeps a deadline: batches first, and the rest one by one just in time."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from pipeline.engine.batch.base import Lane
from pipeline.engine.progress import Tally
from pipeline.engine.routes import Route, Routes
from pipeline.engine.stages import Clock
from pipeline.limits.finish import FinishBy

_log = logging.getLogger(__name__)

_MOST_LOOKS: Final = 100
"""Over the whole time; more only near its end."""
_LONGEST_SECONDS: Final = 30.0
_LEAST_SECONDS: Final = 0.2
_FEWEST_ANSWERS: Final = 10
"""From so many on, their pace says more than a guess."""


class Timekeeper(Protocol):
    """Watches the clock while the run works."""

    async def keep(self, count_left: Callable[[], Awaitable[int]]) -> None:
        """Act when it is time, until cancelled; ``count_left`` counts images without an end."""


class NoHurry:
    """For runs without a deadline."""

    async def keep(self, _count_left: Callable[[], Awaitable[int]]) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What can be done about being late."""

    lane: Lane
    routes: Routes
    slow_route: Route | None
    """The cheaper lane of single requests, which is left when it would be late, too."""
    pace: float
    """Images a second that one by one can be asked, as far as is known before any was."""


class Punctuality:
    """Tells the batches to end at the last moment, and leaves the slow lane when it is tight."""

    def __init__(self, finish: FinishBy, course: Course, *, clock: Clock, tally: Tally) -> None:
        self._finish = finish
        self._course = course
        self._clock = clock
        self._tally = tally

    async def keep(self, count_left: Callable[[], Awaitable[int]]) -> None:
        await self._wait_for_batches(count_left)
        has_batches = self._course.lane.takes_more
        self._course.lane.hurry()
        began, ended_before = self._clock.monotonic(), self._count_ended()
        left = await self._count_left(count_left)
        if left > 0 and has_batches:
            self._tally.warn(
                f"{left:,} images are asked one by one: batches would not have answered them in "
                "time (--finish-by)"
            )
        _log.info("batch.hurried", extra={"left": left})
        while self._course.slow_route is not None:
            left = await self._count_left(count_left)
            pace = self._measure_pace(began, ended_before)
            if left and self._finish.is_tight(self._clock.monotonic(), left, pace):
                self._course.routes.retire(self._course.slow_route)
                _log.info("batch.slow_lane_left", extra={"left": left})
                return
            await anyio.sleep(self._choose_sleep())

    async def _wait_for_batches(self, count_left: Callable[[], Awaitable[int]]) -> None:
        while True:
            left = await self._count_left(count_left)
            last = self._finish.find_last_moment(left, self._course.pace)
            wait = last - self._clock.monotonic()
            if wait <= 0:
                return
            await anyio.sleep(min(wait, self._choose_sleep()))

    async def _count_left(self, count_left: Callable[[], Awaitable[int]]) -> int:
        """Images that nobody has answered, at the server or here."""
        return max(0, await count_left() - self._tally.answered_in_batches)

    def _count_ended(self) -> int:
        """Those that have an answer: what is fetched from a batch says nothing of the pace."""
        return self._tally.settled + self._tally.answered_in_batches

    def _measure_pace(self, began: float, ended_before: int) -> float:
        """Images a second since batches were told to end."""
        ended = self._count_ended() - ended_before
        if ended < _FEWEST_ANSWERS:
            return self._course.pace
        return ended / max(self._clock.monotonic() - began, 1e-9)

    def _choose_sleep(self) -> float:
        share = (self._finish.at - self._finish.began) / _MOST_LOOKS
        return min(_LONGEST_SECONDS, max(_LEAST_SECONDS, share))
