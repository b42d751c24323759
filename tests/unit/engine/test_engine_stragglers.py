"""Who hangs is cut; when nobody is answered, nobody is."""

from collections.abc import Callable
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from pipeline.engine.routes import Route
from pipeline.engine.stragglers import Stragglers
from pipeline.limits.deadline import Deadline

pytestmark = pytest.mark.anyio


class _Route:
    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline


class Scene:
    """Requests under way on a clock of their own."""

    def __init__(self, *, usual: float = 5.0, most: float = 120.0) -> None:
        self.now = 0.0
        self.stragglers = Stragglers(lambda: self.now)
        self.deadline = Deadline(most, is_adaptive=True)
        for _ in range(60):
            self.deadline.note(usual)
        self.route = cast("Route", _Route(self.deadline))
        self.cut: list[str] = []

    async def hang(self, name: str) -> None:
        with self.stragglers.watch(self.route) as scope:
            await anyio.sleep_forever()
        if scope.cancelled_caught:
            self.cut.append(name)

    async def answer(self) -> None:
        with self.stragglers.watch(self.route):
            await anyio.lowlevel.checkpoint()

    async def play(self, names: list[str], story: Callable[[], None]) -> list[str]:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.hang, name)
            await anyio.wait_all_tasks_blocked()
            story()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return self.cut


async def test_a_request_that_hangs_while_others_are_answered_is_cut() -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        group.start_soon(scene.hang, "hung")
        await anyio.wait_all_tasks_blocked()
        scene.now = 28.0
        await scene.answer()
        scene.stragglers.cut()
        await anyio.wait_all_tasks_blocked()
        assert scene.cut == []
        scene.now = 30.0
        scene.stragglers.cut()
    assert scene.cut == ["hung"]


async def test_when_the_whole_server_stalls_nobody_is_a_straggler_until_the_full_time() -> None:
    scene = Scene()
    names = [str(number) for number in range(20)]

    def story() -> None:
        scene.now = 100.0
        scene.stragglers.cut()

    assert await scene.play(names, story) == []

    def later() -> None:
        scene.now += 120.0
        scene.stragglers.cut()

    assert sorted(await scene.play(names, later)) == sorted(names)


async def test_the_last_few_are_cut_although_nobody_else_is_answered_any_more() -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(scene.hang, f"answered {number}")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    def story() -> None:
        scene.now = 60.0
        scene.stragglers.cut()

    assert await scene.play(["last"], story) == ["last"]


async def test_being_cut_counts_as_having_taken_so_long() -> None:
    scene = Scene(usual=5.0)
    before = scene.deadline.seconds

    def story() -> None:
        scene.now = 130.0
        scene.stragglers.cut()

    for _ in range(60):
        scene.now = 0.0
        await scene.play(["slow"], story)
    assert scene.deadline.seconds > before


async def test_ctrl_c_is_no_cut() -> None:
    scene = Scene()
    assert await scene.play(["cancelled"], lambda: None) == []
