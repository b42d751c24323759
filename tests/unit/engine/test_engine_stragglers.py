"""Who hangs is cut; when nobody is answered, nobody is."""

from collections.abc import Callable
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from pipeline.domain.jobs import JobId
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

    async def hang(self, name: str, job: int = 0) -> None:
        with self.stragglers.watch(self.route, JobId(job)) as scope:
            await anyio.sleep_forever()
        if scope.cancelled_caught:
            self.cut.append(name)

    async def answer(self) -> None:
        with self.stragglers.watch(self.route, JobId(0)):
            await anyio.lowlevel.checkpoint()

    async def answer_when(self, event: anyio.Event) -> None:
        with self.stragglers.watch(self.route, JobId(0)):
            await event.wait()
        self.deadline.note(5.0)

    async def play(self, names: list[str], story: Callable[[], None]) -> list[str]:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.hang, name)
            await anyio.wait_all_tasks_blocked()
            story()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return self.cut


async def test_who_was_overtaken_by_as_many_as_ever_were_under_way_is_cut() -> None:
    scene = Scene()
    async with anyio.create_task_group() as group:
        for name in ("hung", "other"):
            group.start_soon(scene.hang, name)
        await anyio.wait_all_tasks_blocked()
        scene.now = 1.0
        for _ in range(8):
            group.start_soon(scene.hang, "late")
        await anyio.wait_all_tasks_blocked()
        scene.now = 29.0
        for _ in range(12):
            await scene.answer()
        scene.stragglers.cut()
        await anyio.wait_all_tasks_blocked()
        assert scene.cut == []
        scene.now = 30.0
        scene.stragglers.cut()
        await anyio.wait_all_tasks_blocked()
        assert sorted(scene.cut) == ["hung", "other"]
        group.cancel_scope.cancel()


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
    scene, others = Scene(), anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(scene.answer_when, others)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(scene.hang, "last")
        await anyio.wait_all_tasks_blocked()
        others.set()
        await anyio.wait_all_tasks_blocked()
        scene.now = 29.0
        scene.stragglers.cut()
        await anyio.wait_all_tasks_blocked()
        assert scene.cut == []
        scene.now = 30.0
        scene.stragglers.cut()
    assert scene.cut == ["last"]


async def test_an_image_whose_request_was_cut_gets_more_time() -> None:
    scene = Scene()
    for seconds in (30.0, 90.0):
        scene.now, others = 0.0, anyio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(scene.answer_when, others)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(scene.hang, f"{seconds}", 7)
            await anyio.wait_all_tasks_blocked()
            others.set()
            await anyio.wait_all_tasks_blocked()
            scene.now = seconds - 1
            scene.stragglers.cut()
            await anyio.wait_all_tasks_blocked()
            assert f"{seconds}" not in scene.cut
            scene.now = seconds
            scene.stragglers.cut()
    assert scene.cut == ["30.0", "90.0"]


async def test_ctrl_c_is_no_cut() -> None:
    scene = Scene()
    assert await scene.play(["cancelled"], lambda: None) == []
