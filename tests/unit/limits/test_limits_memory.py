"""The byte budget holds whatever comes, and nobody waits for ever."""

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.memory import ByteBudget

pytestmark = pytest.mark.anyio


@given(sizes=st.lists(st.integers(0, 250), max_size=40))
def test_the_budget_is_never_exceeded_and_all_are_served(sizes: list[int]) -> None:
    served: list[int] = []

    async def hold_one(budget: ByteBudget, size: int) -> None:
        async with budget.hold(size):
            assert budget.held_bytes <= budget.total_bytes
            await anyio.lowlevel.checkpoint()
            served.append(size)

    async def hold_all() -> None:
        budget = ByteBudget(100)
        async with anyio.create_task_group() as group:
            for size in sizes:
                group.start_soon(hold_one, budget, size)
        assert budget.held_bytes == 0

    anyio.run(hold_all)
    assert sorted(served) == sorted(sizes)


async def test_a_picture_larger_than_the_budget_goes_alone() -> None:
    budget = ByteBudget(100)
    async with budget.hold(1_000):
        with anyio.move_on_after(0.01) as waited:
            async with budget.hold(1):
                raise AssertionError("let in beside a picture that fills the budget")
        assert waited.cancelled_caught
    assert budget.held_bytes == 0


async def test_who_stops_waiting_does_not_block_the_others() -> None:
    budget = ByteBudget(100)
    async with anyio.create_task_group() as group, budget.hold(60):

        async def wait_in_vain() -> None:
            with anyio.move_on_after(0.01):
                async with budget.hold(90):
                    raise AssertionError("there was no room")

        group.start_soon(wait_in_vain)
        await anyio.sleep(0.001)
        with anyio.fail_after(1):
            async with budget.hold(40):
                pass
