"""The cheaper lane is left when it would be late, and not because of answers that are here."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import anyio
import pytest

from pipeline.engine.batch.base import Lane
from pipeline.engine.batch.punctual import Course, Punctuality
from pipeline.engine.progress import Tally
from pipeline.engine.routes import Route, Routes
from pipeline.engine.stages import Clock
from pipeline.limits.finish import FinishBy

pytestmark = pytest.mark.anyio
SLOW = cast("Route", "flex")


class Scene:
    """A run at the last moment: 60 images are left, 20 a second can be asked, 3.5 s are spare."""

    def __init__(self) -> None:
        self.now = 27.75
        self.tally = Tally()
        self.retired: list[Route] = []
        self.is_hurried = False
        self.takes_more = True

    def hurry(self) -> None:
        self.is_hurried = True

    def retire(self, route: Route) -> None:
        self.retired.append(route)

    async def play(self, story: Callable[[int], None]) -> None:
        """``story`` is told the number of each look at what is left."""
        looks = 0

        async def count_left() -> int:
            nonlocal looks
            looks += 1
            story(looks)
            return 60 + self.tally.answered_in_batches

        async with anyio.create_task_group() as group:
            group.start_soon(self._make().keep, count_left)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert self.is_hurried

    def _make(self) -> Punctuality:
        clock = Clock(now=lambda: datetime.now(UTC), monotonic=lambda: self.now, chance=lambda: 0.5)
        course = Course(
            lane=cast("Lane", self), routes=cast("Routes", self), slow_route=SLOW, pace=20.0
        )
        return Punctuality(FinishBy(began=0.0, at=35.0), course, clock=clock, tally=self.tally)


async def test_what_a_batch_has_answered_is_not_left_to_be_asked() -> None:
    scene = Scene()
    scene.tally.answered_in_batches = 60
    await scene.play(lambda _: None)
    assert scene.retired == []


async def test_what_is_fetched_from_a_batch_does_not_make_a_lane_fast() -> None:
    scene = Scene()
    scene.tally.answered_in_batches = 600

    def fetch(look: int) -> None:
        if look == 3:  # the first after the batches were told to end
            scene.now, scene.tally.answered_in_batches = 31.5, 0
            scene.tally.tagged += 600

    await scene.play(fetch)
    assert scene.retired == [SLOW]


@pytest.mark.parametrize("has_batches", [True, False])
async def test_batches_are_blamed_only_where_there_are_any(has_batches: bool) -> None:
    scene = Scene()
    scene.takes_more = has_batches
    await scene.play(lambda _: None)
    assert bool(scene.tally.warnings) is has_batches
