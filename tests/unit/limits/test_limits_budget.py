"""True spend never passes the cap, under any interleaving of requests."""

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import BudgetExhausted
from pipeline.domain.usage import NanoDollars
from pipeline.limits.budget import Budget

pytestmark = pytest.mark.anyio


@given(
    cap=st.integers(0, 500),
    requests=st.lists(
        st.tuples(st.integers(0, 100), st.floats(0, 1), st.integers(0, 3)), max_size=30
    ),
)
def test_spend_never_passes_the_cap(cap: int, requests: list[tuple[int, float, int]]) -> None:
    budget = Budget(NanoDollars(cap))
    refused = []

    async def ask(worst: int, share: float, turns: int) -> None:
        try:
            reserved = await budget.reserve(NanoDollars(worst))
        except BudgetExhausted as error:
            refused.append(error)
            return
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        budget.settle(reserved, NanoDollars(int(worst * share)))
        assert budget.spent <= cap

    async def ask_all() -> None:
        async with anyio.create_task_group() as group:
            for worst, share, turns in requests:
                group.start_soon(ask, worst, share, turns)

    anyio.run(ask_all)
    assert budget.reserved == 0
    assert budget.spent <= cap
    if sum(worst for worst, _, _ in requests) <= cap:
        assert not refused


async def test_a_refusal_names_what_is_left_and_the_way_out() -> None:
    budget = Budget(NanoDollars(1_000_000_000))
    budget.settle(await budget.reserve(NanoDollars(900_000_000)), NanoDollars(900_000_000))
    with pytest.raises(BudgetExhausted, match=r"\$1 has \$0\.1 left.*may cost \$0\.2.*goes on"):
        await budget.reserve(NanoDollars(200_000_000))


async def test_room_that_may_become_free_is_waited_for() -> None:
    budget = Budget(NanoDollars(100))
    first = await budget.reserve(NanoDollars(80))
    async with anyio.create_task_group() as group:
        group.start_soon(budget.reserve, NanoDollars(60))
        await anyio.sleep(0.01)
        assert budget.reserved == 80
        budget.settle(first, NanoDollars(40))
    assert budget.reserved == 60


async def test_what_nobody_knows_the_price_of_is_booked_at_its_worst() -> None:
    budget = Budget(NanoDollars(100))
    budget.settle(await budget.reserve(NanoDollars(60)), None)
    assert budget.spent == 60
    with pytest.raises(BudgetExhausted):
        await budget.reserve(NanoDollars(60))


async def test_a_cap_refuses_what_has_no_price() -> None:
    with pytest.raises(BudgetExhausted, match="price is unknown"):
        await Budget(NanoDollars(100), needs_price=True).reserve(None)
    with pytest.raises(BudgetExhausted, match="price is unknown"):
        await Budget(None, needs_price=True).reserve(None)  # a cap of the day needs it, too
    assert await Budget(None).reserve(None) == 0
    assert await Budget(NanoDollars(100)).reserve(None) == 0
