"""All pass one gate: in order, four at first, held by one refusal, free at once when it closes."""

import math
from collections.abc import Awaitable, Callable

import anyio
import pytest
from rate_server import FixedConcurrency, RateServer, open_gate, run_virtually

from pipeline.domain.rates import Allowance, RateReading
from pipeline.limits.gate import Gate, Obstacle, Pass, Passage, PassageKind
from pipeline.limits.rate import RateLimits, RateModel
from pipeline.limits.send_meter import SendMeter

ANSWERED = Passage(kind=PassageKind.ANSWERED)
TEN_A_SECOND = RateLimits(requests_per_minute=600, burst_seconds=1.0)


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtually(test)

    run.__name__ = test.__name__
    return run


def refuse(seconds: float | None = None, *, remaining: float | None = None) -> Passage:
    rates = None
    if remaining is not None:
        told = Allowance(limit=60_000, remaining=remaining, reset_seconds=1.0)
        rates = RateReading(requests=told, tokens=told)
    return Passage(kind=PassageKind.REFUSED, rates=rates, retry_after_seconds=seconds)


async def enter(gate: Gate, tokens: int = 10) -> Pass:
    passed = await gate.enter(tokens)
    assert passed is not None
    gate.note_sent(passed)
    return passed


async def open_warm_gate(limits: RateLimits | None = None, *, at_once: int = 64) -> Gate:
    gate = open_gate(limits, at_once=at_once)
    gate.leave(await enter(gate), ANSWERED)
    return gate


async def watch_entering(gate: Gate, count: int, *, seconds: float = 0.0) -> list[int]:
    """Who of so many got in, in order, after that time; then all others are told to go."""
    order: list[int] = []

    async def come(place: int) -> None:
        if await gate.enter(10) is not None:
            order.append(place)

    async with anyio.create_task_group() as group:
        for place in range(count):
            group.start_soon(come, place)
        await anyio.sleep(seconds)
        entered = list(order)
        gate.close()
    return entered


@in_virtual_time
async def test_before_the_first_answer_four_are_inside() -> None:
    assert await watch_entering(open_gate(), 10, seconds=100) == [0, 1, 2, 3]


@in_virtual_time
async def test_an_error_is_no_answer() -> None:
    gate = open_gate()
    passes = [await enter(gate) for _ in range(4)]
    gate.leave(passes[0], Passage(kind=PassageKind.FAILED))
    await enter(gate)
    assert gate.describe().obstacle is Obstacle.FIRST_ANSWER


@in_virtual_time
async def test_the_concurrency_limit_holds_and_who_came_first_goes_first() -> None:
    gate = await open_warm_gate(at_once=3)
    assert await watch_entering(gate, 10, seconds=100) == [0, 1, 2]
    assert gate.in_flight == 3


@in_virtual_time
async def test_who_waits_for_the_rate_goes_in_order_and_in_time() -> None:
    gate = await open_warm_gate(TEN_A_SECOND)
    await anyio.sleep(10)
    entered = await watch_entering(gate, 60, seconds=3.01)
    assert entered == list(range(len(entered)))
    assert len(entered) in range(36, 41)  # nearly ten at once, then ten a second


@in_virtual_time
async def test_one_who_needs_much_is_not_overtaken() -> None:
    gate = await open_warm_gate(RateLimits(tokens_per_minute=60_000))
    order = []

    async def come(name: str, tokens: int) -> None:
        await enter(gate, tokens)
        order.append(name)

    async with anyio.create_task_group() as group:
        for name, tokens in (("first", 900), ("large", 1_000), ("small", 1)):
            group.start_soon(come, name, tokens)
            await anyio.sleep(0.01)
    assert order == ["first", "large", "small"]


@in_virtual_time
async def test_an_answer_lets_the_next_one_in() -> None:
    gate = await open_warm_gate(at_once=1)
    passed = await enter(gate)
    async with anyio.create_task_group() as group:
        group.start_soon(enter, gate)
        await anyio.sleep(1)
        assert gate.describe().obstacle is Obstacle.CONCURRENCY
        assert gate.describe().waiting == 1
        gate.leave(passed, ANSWERED)
    assert gate.in_flight == 1


@in_virtual_time
async def test_what_was_not_sent_leaves_its_place_and_its_rate() -> None:
    gate = await open_warm_gate(TEN_A_SECOND)
    await anyio.sleep(10)
    passes = []
    while gate.wait_seconds(10) == 0:
        passes.append(await gate.enter(10))
    for passed in passes:
        assert passed is not None
        gate.give_back(passed)
    assert gate.in_flight == 0
    assert gate.demand().use_per_second == 0
    assert len(await watch_entering(gate, 60)) == len(passes)


@in_virtual_time
async def test_one_refusal_slows_all_until_its_time_has_passed() -> None:
    gate = await open_warm_gate()
    gate.leave(await enter(gate), refuse(5.0))
    began = anyio.current_time()
    assert gate.held_until == began + 5
    assert gate.describe().obstacle is Obstacle.HOLD
    assert gate.wait_seconds(10) == 5
    await enter(gate)
    assert anyio.current_time() == pytest.approx(began + 5)
    assert gate.held_until is None


@in_virtual_time
async def test_closing_ends_a_hold_of_hours_at_once() -> None:
    gate = await open_warm_gate()
    gate.leave(await enter(gate), refuse(36_000.0))
    assert await watch_entering(gate, 10, seconds=1) == []
    assert anyio.current_time() == 1
    assert await gate.enter(10) is None
    assert gate.wait_seconds(10) == math.inf
    assert gate.describe().obstacle is Obstacle.CLOSED


@in_virtual_time
async def test_refusals_without_a_time_are_waited_for_longer_each() -> None:
    gate = await open_warm_gate()
    waits = []
    for _ in range(8):
        pair = [await enter(gate), await enter(gate)]
        for passed in pair:
            gate.leave(passed, refuse())
        waits.append(gate.wait_seconds(10))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@in_virtual_time
async def test_a_first_refusal_that_may_be_chance_holds_but_leaves_the_concurrency() -> None:
    concurrency = FixedConcurrency()
    gate = Gate(rate=RateModel(RateLimits()), concurrency=concurrency, monotonic=anyio.current_time)
    gate.leave(await enter(gate), refuse(1.0))
    assert gate.held_until is not None
    assert concurrency.overloads == 0


@in_virtual_time
async def test_what_is_let_through_after_a_refusal_lifts_the_hold() -> None:
    gate = await open_warm_gate()
    refused, *others = [await enter(gate) for _ in range(9)]
    gate.leave(refused, refuse(60.0))
    for passed in others:
        assert gate.wait_seconds(10) == 60
        gate.leave(passed, ANSWERED)
    assert gate.wait_seconds(10) == 0


@in_virtual_time
async def test_a_refusal_that_its_headers_explain_is_not_lifted() -> None:
    gate = await open_warm_gate()
    refused, *others = [await enter(gate) for _ in range(20)]
    gate.leave(refused, refuse(60.0, remaining=0))
    for passed in others:
        gate.leave(passed, ANSWERED)
    assert gate.wait_seconds(10) == 60


@in_virtual_time
async def test_a_refusal_with_plenty_left_holds_nobody() -> None:
    gate = await open_warm_gate()
    gate.leave(await enter(gate), refuse(60.0, remaining=50_000))
    assert gate.wait_seconds(10) == 0


@pytest.mark.parametrize("limits", [None, TEN_A_SECOND])
def test_refusals_lower_the_concurrency_only_where_no_rate_is_known(
    limits: RateLimits | None,
) -> None:
    async def play() -> int:
        concurrency = FixedConcurrency()
        gate = Gate(
            rate=RateModel(limits or RateLimits()),
            concurrency=concurrency,
            monotonic=anyio.current_time,
        )
        passes = [await enter(gate) for _ in range(4)]
        for passed in passes:
            gate.leave(passed, refuse(1.0))
        for _ in range(20):
            gate.leave(await enter(gate), refuse(1.0))
        return concurrency.overloads

    overloads = run_virtually(play)
    assert overloads == 0 if limits else overloads >= 15


@pytest.mark.parametrize("headers", ["when let in", "none"])
def test_the_concurrency_learns_that_headers_tell_the_rate(headers: str) -> None:
    async def play() -> bool:
        concurrency = FixedConcurrency()
        gate = Gate(
            rate=RateModel(RateLimits()), concurrency=concurrency, monotonic=anyio.current_time
        )
        passed = await enter(gate)
        gate.leave(passed, await RateServer(headers=headers).ask(10))
        return concurrency.trusts_headers

    assert run_virtually(play) == (headers != "none")


@in_virtual_time
async def test_an_overloaded_server_gets_fewer_at_once_unless_it_is_chance() -> None:
    concurrency = FixedConcurrency()
    gate = Gate(rate=RateModel(RateLimits()), concurrency=concurrency, monotonic=anyio.current_time)
    overloaded = Passage(kind=PassageKind.OVERLOADED, retry_after_seconds=1.0)
    for _ in range(10):
        gate.leave(await enter(gate), overloaded)
    assert concurrency.overloads >= 5
    for _ in range(60):
        gate.leave(await enter(gate), ANSWERED)
        await anyio.sleep(0.01)
    refused, *others = [await enter(gate) for _ in range(30)]
    gate.leave(refused, overloaded)
    for passed in others:
        gate.leave(passed, ANSWERED)
    before = concurrency.overloads
    gate.leave(await enter(gate), overloaded)
    assert concurrency.overloads == before


@in_virtual_time
async def test_a_server_that_answers_nothing_but_overload_is_asked_ever_more_rarely() -> None:
    gate, began = open_gate(at_once=64), anyio.current_time()
    overloaded = Passage(kind=PassageKind.OVERLOADED)
    for _ in range(20):
        gate.leave(await enter(gate), overloaded)
    assert anyio.current_time() - began > 60
    gate.leave(await enter(gate), ANSWERED)
    began = anyio.current_time()
    gate.leave(await enter(gate), ANSWERED)
    assert anyio.current_time() == began


@in_virtual_time
async def test_slow_down_halves_the_rate_that_was_sent_of_late() -> None:
    gate = await open_warm_gate()
    for _ in range(200):
        gate.leave(await enter(gate), ANSWERED)
        await anyio.sleep(0.02)
    gate.leave(await enter(gate), Passage(kind=PassageKind.SLOW_DOWN))
    began, count = anyio.current_time(), 0
    while anyio.current_time() < began + 10:
        gate.leave(await enter(gate), ANSWERED)
        count += 1
    assert count == pytest.approx(250, rel=0.15)


@in_virtual_time
async def test_a_larger_share_is_used_at_once() -> None:
    gate = await open_warm_gate(TEN_A_SECOND)
    gate.set_share(0.001)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(enter, gate)
        await anyio.sleep(5)
        assert gate.describe().waiting >= 2
        gate.set_share(1.0)
        await anyio.sleep(1)
        assert gate.describe().waiting == 0


@in_virtual_time
async def test_who_gives_up_leaves_the_line_to_the_others() -> None:
    gate = await open_warm_gate(at_once=1)
    passed = await enter(gate)
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(1):
            await gate.enter(10)
        group.start_soon(enter, gate)
        await anyio.sleep(1)
        gate.leave(passed, ANSWERED)
    assert gate.in_flight == 1
    assert gate.describe().waiting == 0


@pytest.mark.parametrize("is_served_first", [True, False])
def test_who_is_cancelled_in_the_moment_of_entering_takes_nothing_along(
    is_served_first: bool,
) -> None:
    async def play() -> int:
        gate = await open_warm_gate(at_once=1)
        passed = await enter(gate)

        async def come() -> None:
            own = await gate.enter(10)
            assert own is not None
            gate.give_back(own)

        async with anyio.create_task_group() as group:
            group.start_soon(come)
            await anyio.sleep(1)
            if is_served_first:
                gate.leave(passed, ANSWERED)
            group.cancel_scope.cancel()
            if not is_served_first:
                gate.leave(passed, ANSWERED)
        return gate.in_flight

    assert run_virtually(play) == 0


@in_virtual_time
async def test_hunger_is_waiting_for_the_rate_and_not_for_a_place() -> None:
    crowded = await open_warm_gate(at_once=1)
    limited = await open_warm_gate(TEN_A_SECOND)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(crowded.enter, 10)
        for _ in range(100):
            group.start_soon(enter, limited)
        await anyio.sleep(3)
        assert not crowded.demand().is_hungry
        assert limited.demand().is_hungry
        assert limited.demand().use_per_second == pytest.approx(10, abs=2)
        group.cancel_scope.cancel()
    await anyio.sleep(5)
    assert not limited.demand().is_hungry
    assert limited.demand().use_per_second == 0


@in_virtual_time
async def test_those_behind_the_first_are_woken_once_only() -> None:
    gate = await open_warm_gate(TEN_A_SECOND, at_once=1_000)
    looks = 0
    compute_wait = gate._compute_wait

    def count_looks(tokens: int, now: float) -> float:
        nonlocal looks
        looks += 1
        return compute_wait(tokens, now)

    gate._compute_wait = count_looks  # type: ignore[method-assign]
    await watch_entering(gate, 500, seconds=60)
    assert looks <= 5 * 500


@in_virtual_time
async def test_without_limits_nobody_waits() -> None:
    gate = await open_warm_gate()
    for _ in range(1_000):
        gate.leave(await enter(gate), ANSWERED)
    assert anyio.current_time() == 0


def test_the_meter_counts_the_last_second() -> None:
    meter = SendMeter()
    for step in range(1_000):
        meter.add(1, step / 100)
    assert meter.compute_rate(9.99) == pytest.approx(100, rel=0.02)
    assert meter.compute_rate(10.6) < 70
    assert meter.compute_rate(20.0) == 0
