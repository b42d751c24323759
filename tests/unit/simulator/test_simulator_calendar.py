"""Waiting ends when the clock says so, however it moves."""

import anyio
import pytest

from pipeline.simulator.calendar import Calendar

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


async def test_sleeper_wakes_after_a_leap() -> None:
    clock = Clock()
    calendar = Calendar(clock)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calendar.sleep_until, 86_450.0)
            clock.now = 86_450.0


async def test_sleeper_is_called_before_its_time() -> None:
    calendar, call = Calendar(Clock()), anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def sleep() -> None:
                await calendar.sleep_until(1e9, unless=call)

            tasks.start_soon(sleep)
            call.set()


async def test_moment_that_has_passed_is_not_waited_for() -> None:
    with anyio.fail_after(5):
        await Calendar(Clock()).sleep_until(50.0)


def test_times_told_are_as_far_apart_as_the_clock_says() -> None:
    clock = Clock()
    calendar = Calendar(clock)
    first, later = calendar.tell(clock.now), calendar.tell(clock.now + 86_400)
    assert first is not None
    assert later == first + 86_400
    assert calendar.tell(None) is None
