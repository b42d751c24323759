"""Caps of the day and the month hold for all processes on a ledger, on every database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from databases import KINDS, open_database
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import NOW, Desk, make_refs, make_tagged, open_desk
from sqlalchemy import select

from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import AT_ONCE, Cause, Deferred, Failed, Passed, Spend
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.ledger.batches import BatchBook, BatchPlace
from pipeline.ledger.caps import Caps, CapStanding, OverCap, Span, find_period
from pipeline.ledger.database import Database
from pipeline.ledger.opening import BeingAsked, Opened
from pipeline.ledger.spends import DAY_MS
from pipeline.ledger.tables import attempts
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio

CAP = 10_000
TOMORROW = (NOW // DAY_MS + 1) * DAY_MS


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with open_desk(database, caps=Caps(day_nanos=CAP)) as opened:
        await opened.record(*make_refs(6))
        yield opened
        await opened.queue.release(now_ms=NOW)


def over(scope: Span, spent: int, held: int, resets_at_ms: int, *, lost: int = 0) -> OverCap:
    return OverCap(
        scope=scope,
        cap_nanos=CAP,
        spent_nanos=spent,
        held_nanos=held,
        open_nanos=held - lost,
        resets_at_ms=resets_at_ms,
    )


async def open_all(desk: Desk, jobs: list[ClaimedJob], worst: int, **given: Any) -> list[object]:
    """Open all at once, each with a key of its own."""
    admissions: list[object] = [None] * len(jobs)

    async def open_one(place: int) -> None:
        key = b"%d" % jobs[place].id
        admissions[place] = await desk.open(jobs[place], key, reserved_nanos=worst, **given)

    async with anyio.create_task_group() as group:
        for place in range(len(jobs)):
            group.start_soon(open_one, place)
    return admissions


async def settle(desk: Desk, job: ClaimedJob, admission: object, outcome: object) -> None:
    assert isinstance(admission, Opened)
    key = b"%d" % job.id
    await desk.settle(job, outcome=outcome, attempt_id=admission.attempt_id, request_key=key)


async def test_openings_of_one_group_are_let_through_one_by_one(desk: Desk) -> None:
    admissions = await open_all(desk, await desk.claim(4), 3_000)
    refusal = over("day", 0, 9_000, TOMORROW)
    assert [isinstance(admission, Opened) for admission in admissions] == [True] * 3 + [False]
    assert admissions[-1] == refusal
    assert desk.settler.standings == [CapStanding(scope="day", cap_nanos=CAP, used_nanos=9_000)]
    async with desk.database.read() as connection:
        assert len((await connection.execute(select(attempts.c.id))).all()) == 3


async def test_a_request_that_just_fits_is_let_through(desk: Desk) -> None:
    admissions = await open_all(desk, await desk.claim(2), CAP // 2)
    assert all(isinstance(admission, Opened) for admission in admissions)


async def test_what_a_request_did_not_cost_is_free_again(desk: Desk) -> None:
    first, second = await desk.claim(2)
    [opened] = await open_all(desk, [first], 8_000)
    assert isinstance(await desk.open(second, reserved_nanos=8_000), OverCap)
    await settle(desk, first, opened, make_tagged())
    assert isinstance(await desk.open(second, reserved_nanos=8_000), Opened)
    assert desk.settler.standings[0].used_nanos == 9_000


async def test_what_was_lost_counts_at_its_worst(desk: Desk) -> None:
    first, second = await desk.claim(2)
    [opened] = await open_all(desk, [first], 8_000)
    outcome = Failed(cause=Cause.TIMEOUT, message="late", may_be_billed=True)
    await settle(desk, first, opened, outcome)
    assert await desk.open(second, reserved_nanos=3_000) == over(
        "day", 0, 8_000, TOMORROW, lost=8_000
    )


async def test_an_answer_without_a_price_counts_at_its_worst(desk: Desk) -> None:
    first, second = await desk.claim(2)
    [opened] = await open_all(desk, [first], 8_000)
    await settle(desk, first, opened, make_tagged(cost=None))
    assert await desk.open(second, reserved_nanos=3_000) == over("day", 8_000, 0, TOMORROW)
    assert (await desk.reader.sum_spending()).cost_nanos == 0


async def test_a_repeated_write_neither_books_twice_nor_refuses(desk: Desk) -> None:
    """The commit went through and the connection broke before it was confirmed."""
    write = desk.settler._write

    async def write_twice(group: Any) -> Any:
        await write(group)
        return await write(group)

    desk.settler._clerk._write_group = write_twice
    admissions = await open_all(desk, await desk.claim(2), 4_000)
    assert all(isinstance(admission, Opened) for admission in admissions)
    assert desk.settler.standings[0].used_nanos == 8_000


async def test_copies_that_are_not_asked_about_hold_nothing(desk: Desk) -> None:
    first, second, third, other = await desk.claim(4)
    await desk.open(first, b"same", reserved_nanos=4_000)
    copies: list[object] = []

    async def open_copy(job: ClaimedJob) -> None:
        copies.append(await desk.open(job, b"same", reserved_nanos=4_000))

    async with anyio.create_task_group() as group:
        group.start_soon(open_copy, second)
        group.start_soon(open_copy, third)
    assert all(isinstance(copy, BeingAsked) for copy in copies)
    assert isinstance(await desk.open(other, b"other", reserved_nanos=6_000), Opened)


async def test_a_new_day_begins_with_nothing_spent(desk: Desk) -> None:
    first, second = await desk.claim(2)
    await open_all(desk, [first], CAP)
    assert isinstance(await desk.open(second, b"late", now_ms=TOMORROW - 1), OverCap)
    admission = await desk.open(second, b"next day", now_ms=TOMORROW, reserved_nanos=CAP)
    assert isinstance(admission, Opened)


async def test_the_month_counts_all_its_days(database: Database) -> None:
    month = find_period("month", NOW)
    async with open_desk(database, caps=Caps(day_nanos=CAP, month_nanos=CAP)) as desk:
        await desk.record(*make_refs(3))
        jobs = await desk.claim()
        first_ms = month.first_day * DAY_MS
        [opened] = await open_all(desk, jobs[:1], 6_000, now_ms=first_ms)
        await settle(desk, jobs[0], opened, make_tagged())
        await open_all(desk, jobs[1:2], 6_000, now_ms=first_ms + DAY_MS)
        refusal = await desk.open(jobs[2], now_ms=month.ends_at_ms - 1, reserved_nanos=4_000)
        assert refusal == over("month", 1_000, 6_000, month.ends_at_ms)
        periods = await desk.reader.sum_period(first_ms + DAY_MS)
        assert (periods.today.spent_nanos, periods.today.held_nanos) == (0, 6_000)
        assert (periods.month.spent_nanos, periods.month.held_nanos) == (1_000, 6_000)
        following = await desk.open(jobs[2], now_ms=month.ends_at_ms, reserved_nanos=CAP)
        assert isinstance(following, Opened)
        await desk.queue.release(now_ms=NOW)


async def test_without_caps_nobody_asks_what_is_spent(database: Database) -> None:
    async with open_desk(database) as desk:
        await desk.record(*make_refs(1))
        await open_all(desk, await desk.claim(), 10**15)
        assert desk.settler.standings == ()
        await desk.queue.release(now_ms=NOW)


async def test_of_processes_that_want_the_last_dollar_at_once_one_has_it(
    database: Database,
) -> None:
    opened: list[int] = []

    async def want(desk: Desk, job: ClaimedJob, day: int) -> None:
        admission = await desk.open(
            job, b"%d %d" % (job.id, day), now_ms=NOW + day * DAY_MS, reserved_nanos=CAP
        )
        opened.extend([day] * isinstance(admission, Opened))

    async with AsyncExitStack() as stack:
        desks = await open_processes(stack, database, 4, Caps(day_nanos=CAP))
        await desks[0].record(*make_refs(4))
        jobs = await desks[0].claim(4)
        for day in range(8):
            async with anyio.create_task_group() as group:
                for desk, job in zip(desks, jobs, strict=True):
                    group.start_soon(want, desk, job, day)
        await desks[0].queue.release(now_ms=NOW)
    assert opened == list(range(8))


async def open_processes(
    stack: AsyncExitStack, first: Database, count: int, caps: Caps
) -> list[Desk]:
    """Runs that have nothing in common but the ledger."""
    others = [Database(first.url) for _ in range(count - 1)]
    databases = [first, *[await stack.enter_async_context(other) for other in others]]
    return [await stack.enter_async_context(open_desk(each, caps=caps)) for each in databases]


ENDS: tuple[Callable[[int, Random], object], ...] = (
    lambda worst, chance: make_end(chance.randint(0, worst)),
    lambda _, __: Deferred(
        cause=Cause.TIMEOUT, message="late", not_before=AT_ONCE, may_be_billed=True
    ),
    lambda worst, chance: Passed(
        cause=Cause.LENGTH, message="cut", spend=make_end(chance.randint(0, worst)).spend
    ),
    lambda _, __: Failed(cause=Cause.SERVER_ERROR, message="500"),
)


def make_end(cost: int) -> Failed:
    spend = Spend(usage=TokenUsage(input=1, output=1), cost=NanoDollars(cost), model="sim-1")
    return Failed(cause=Cause.REFUSED, message="no", spend=spend)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32), cap=st.integers(0, 20_000), worst=st.integers(1_000, 6_000),
    processes=st.integers(2, 4),
)  # fmt: skip
def test_true_cost_never_passes_a_cap_whatever_processes_do(
    *, kind: str, seed: int, cap: int, worst: int, processes: int
) -> None:
    with TemporaryDirectory() as folder:
        anyio.run(_spend_at_random, kind, Path(folder), Random(seed), cap, worst, processes)


async def _spend_at_random(  # noqa: PLR0917  what is drawn for one example
    kind: str, folder: Path, chance: Random, cap: int, worst: int, processes: int
) -> None:
    billed: list[int] = []
    refused: list[OverCap] = []

    async def work(desk: Desk, job: ClaimedJob, number: int) -> None:
        for step in range(3):
            key, most = b"%d %d" % (number, step), chance.randint(1, worst)
            admission = await desk.open(job, key, reserved_nanos=most)
            if isinstance(admission, OverCap):
                refused.append(admission)
                continue
            assert isinstance(admission, Opened)
            for _ in range(chance.randint(0, 3)):
                await anyio.lowlevel.checkpoint()
            outcome: Any = chance.choice(ENDS)(most, chance)
            is_lost = outcome.spend is None and outcome.may_be_billed
            billed.append(most if is_lost else outcome.spend.cost if outcome.spend else 0)
            assert sum(billed) <= cap
            if chance.random() < 0.9:  # else the process dies with the request under way
                given = {"attempt_id": admission.attempt_id, "request_key": key}
                await desk.settle(job, outcome=outcome, **given)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_database(kind, folder))
        caps = Caps(day_nanos=cap, month_nanos=cap)
        desks = await open_processes(stack, first, processes, caps)
        await desks[0].record(*make_refs(4 * processes))
        async with anyio.create_task_group() as group:
            for place, desk in enumerate(desks):
                for number, job in enumerate(await desk.claim(4)):
                    group.start_soon(work, desk, job, 10 * place + number)
        periods = await desks[0].reader.sum_period(NOW)
        assert sum(billed) <= periods.today.used_nanos <= cap
        assert periods.month == periods.today
        assert refused or cap >= len(billed)
        assert await check_ledger(first) == []


async def test_what_a_batch_holds_is_not_waited_for(desk: Desk) -> None:
    book = BatchBook(desk.database, desk.run)
    batch = await book.open(
        BatchPlace(
            version_id=desk.assignment.version_id,
            account="a",
            endpoint="main",
            path="/v1/responses",
            model="sim-1",
            folder=Path("packs"),
        ),
        now_ms=NOW,
    )
    first, second = await desk.claim(2)
    assert isinstance(await desk.open(first, b"1", reserved_nanos=CAP, batch_id=batch.id), Opened)
    refused = await desk.open(second, b"2", reserved_nanos=1)
    assert refused == over("day", 0, CAP, TOMORROW, lost=CAP)
    await book.discard(batch.id, now_ms=NOW)
    assert isinstance(await desk.open(second, b"2", reserved_nanos=1), Opened)
