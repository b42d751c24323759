"""What is spent is kept in sums with every attempt, once each, on every database."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from databases import open_database
from ledgers import NOW, WORST, Desk, make_ref, make_refs, make_tagged, make_version, open_desk
from sqlalchemy import select, text

from pipeline.costs.drift import Slope
from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import AT_ONCE, Cause, Deferred, Failed, Passed, Reused
from pipeline.domain.usage import NanoDollars, Quote, TokenUsage
from pipeline.ledger import sums
from pipeline.ledger.catalogue import SeenImages
from pipeline.ledger.opening import AlreadyAnswered, Opened
from pipeline.ledger.spends import DAY_MS
from pipeline.ledger.sums import Share
from pipeline.ledger.tables import attempts, jobs, spends
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio

LATER = datetime.fromtimestamp(NOW / 1000 + 60, UTC)
SPEND = make_tagged().spend
QUOTE = Quote(
    picture_tokens=70, input=90, output=10, cost=NanoDollars(900), sent_bytes=300,
    original_bytes=2_000, original_tokens=400,
)  # fmt: skip


async def claim_one(desk: Desk) -> ClaimedJob:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    return job


async def ask(desk: Desk, job: ClaimedJob, outcome: object, **given: Any) -> bool:
    """Open a request and settle it, with a key of its own."""
    key = repr(given.pop("key", job.id)).encode()
    opened = await desk.open(job, key, **given)
    assert isinstance(opened, Opened)
    return await desk.settle(job, outcome=outcome, attempt_id=opened.attempt_id, request_key=key)


async def read_attempts(desk: Desk) -> list[tuple[Any, ...]]:
    columns = (attempts.c.state, attempts.c.cause, attempts.c.cost_nanos)
    async with desk.database.read() as connection:
        rows = await connection.execute(select(*columns).order_by(attempts.c.id))
        return [tuple(row) for row in rows]


async def read_job(desk: Desk) -> Any:
    async with desk.database.read() as connection:
        return (await connection.execute(select(jobs))).one()


async def test_the_terms_of_a_request_are_on_record(desk: Desk) -> None:
    job = await claim_one(desk)
    await desk.open(job, endpoint="other", tier="flex", step="repair", reserved_nanos=7)
    async with desk.database.read() as connection:
        row = (await connection.execute(select(attempts))).one()
    assert (row.endpoint, row.model_asked, row.tier_asked) == ("other", "sim-1", "flex")
    assert (row.step, row.reserved_nanos) == ("repair", 7)


async def test_answers_of_one_day_and_model_are_one_row(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    outcome = replace(make_tagged(), spend=replace(SPEND, saved=NanoDollars(-5)))
    for job in await desk.claim():
        assert await ask(desk, job, outcome)
    async with desk.database.read() as connection:
        row = (await connection.execute(select(spends))).one()
    assert (row.day, row.run_id) == (NOW // DAY_MS, desk.run)
    assert (row.requests, row.answers, row.unpriced, row.assumed_nanos) == (3, 3, 0, 0)
    assert (row.cost_nanos, row.saved_nanos, row.input_tokens) == (3_000, -15, 300)


async def test_a_request_is_booked_under_the_day_it_was_opened(desk: Desk) -> None:
    job = await claim_one(desk)
    await ask(desk, job, make_tagged(), now_ms=NOW - DAY_MS)
    async with desk.database.read() as connection:
        assert await connection.scalar(select(spends.c.day)) == NOW // DAY_MS - 1


async def test_shares_tell_who_was_asked_and_who_answered(desk: Desk) -> None:
    await desk.record(*make_refs(4))
    first, second, third, vain = await desk.claim()
    await ask(desk, first, make_tagged(), quote=QUOTE)
    await ask(desk, second, make_tagged(), quote=QUOTE)
    flex = replace(SPEND, service_tier="flex", model="sim-2", saved=NanoDollars(9))
    await ask(desk, third, replace(make_tagged(), spend=flex), tier=None, endpoint=None)
    await ask(desk, vain, Failed(cause=Cause.SERVER_ERROR, message="500"))
    plain = Share(
        endpoint="main", model_asked="sim-1", tier_asked="default", model_answered="sim-1",
        tier_answered="", answers=2, cost_nanos=2_000, saved_nanos=0, quoted_nanos=1_800,
    )  # fmt: skip
    other = Share(
        endpoint="", model_asked="sim-1", tier_asked="", model_answered="sim-2",
        tier_answered="flex", answers=1, cost_nanos=1_000, saved_nanos=9, quoted_nanos=0,
    )  # fmt: skip
    assert await desk.reader.list_shares() == [plain, other]
    assert await desk.reader.list_shares(desk.run) == [plain, other]
    assert await desk.reader.list_shares(desk.run + 1) == []


async def test_what_is_settled_twice_is_booked_once(desk: Desk) -> None:
    job = await claim_one(desk)
    opened = await desk.open(job)
    given = {"outcome": make_tagged(), "attempt_id": opened.attempt_id, "request_key": b"key"}
    for _ in range(2):
        assert await desk.settle(job, **given)
    spending = await desk.reader.sum_spending(desk.run)
    assert (spending.requests, spending.answered, spending.cost_nanos) == (1, 1, 1_000)


async def test_a_request_whose_answer_was_lost_may_have_been_billed(desk: Desk) -> None:
    job = await claim_one(desk)
    outcome = Deferred(cause=Cause.TIMEOUT, message="late", not_before=LATER, may_be_billed=True)
    await ask(desk, job, outcome)
    assert await read_attempts(desk) == [("lost", "timeout", None)]
    spending = await desk.reader.sum_spending(desk.run)
    assert (spending.requests, spending.lost, spending.cost_nanos) == (1, 1, 0)
    assert spending.maybe_billed_nanos == WORST


async def test_a_lost_answer_that_is_written_twice_leaves_a_job_claimed_since_alone(
    desk: Desk,
) -> None:
    """The commit went through, its confirmation did not come, and the job was claimed again."""
    job = await claim_one(desk)
    opened = await desk.open(job)
    outcome = Deferred(cause=Cause.TIMEOUT, message="late", not_before=AT_ONCE, may_be_billed=True)
    given = {"outcome": outcome, "attempt_id": opened.attempt_id, "request_key": b"key"}
    await desk.settle(job, **given)
    assert len(await desk.claim()) == 1
    await desk.settle(job, **given)
    assert await desk.states() == {"leased": 1}
    assert (await read_job(desk)).attempts == 1


async def test_an_answer_that_was_thought_lost_is_booked_when_it_comes(desk: Desk) -> None:
    job = await claim_one(desk)
    opened = await desk.open(job)
    await desk.queue.release(now_ms=NOW)
    assert (await desk.reader.sum_spending()).maybe_billed_nanos == WORST
    await desk.settle(job, outcome=make_tagged(), attempt_id=opened.attempt_id, request_key=b"key")
    spending = await desk.reader.sum_spending()
    assert (spending.requests, spending.lost, spending.maybe_billed_nanos) == (1, 0, 0)
    assert spending.cost_nanos == 1_000


async def test_a_request_that_is_passed_on_costs_and_its_job_stays_claimed(desk: Desk) -> None:
    job = await claim_one(desk)
    passed = Passed(cause=Cause.LENGTH, message="cut", spend=SPEND)
    assert await ask(desk, job, passed)
    row = await read_job(desk)
    assert (row.state, row.run_id, row.attempts, row.cause) == ("leased", desk.run, 0, None)
    assert (row.cost_nanos, row.tried_since) == (1_000, None)
    assert await ask(desk, job, make_tagged(), step="more_room")
    assert await desk.states() == {"done": 1}
    assert (await read_job(desk)).cost_nanos == 2_000
    steps = {"repair": 0, "more_room": 1, "fallback": 0}
    assert await desk.reader.count_steps() == await desk.reader.count_steps(desk.run) == steps


async def test_a_request_passed_on_twice_costs_once(desk: Desk) -> None:
    job = await claim_one(desk)
    opened = await desk.open(job)
    passed = Passed(cause=Cause.LENGTH, message="cut", spend=SPEND)
    given = {"outcome": passed, "attempt_id": opened.attempt_id, "request_key": b"key"}
    for _ in range(2):
        assert await desk.settle(job, **given)
    assert (await read_job(desk)).cost_nanos == 1_000


async def test_the_same_question_may_follow_one_that_was_lost(desk: Desk) -> None:
    job = await claim_one(desk)
    passed = Passed(cause=Cause.TIMEOUT, message="late", may_be_billed=True)
    assert await ask(desk, job, passed)
    assert await ask(desk, job, make_tagged(), step="fallback")
    assert await read_attempts(desk) == [("lost", "timeout", None), ("settled", None, 1_000)]


async def test_an_answer_that_is_not_sure_enough_is_kept_for_want_of_a_better(desk: Desk) -> None:
    job = await claim_one(desk)
    opened = await desk.open(job)
    unsure = Passed(
        cause=Cause.LOW_CONFIDENCE, message="?", spend=SPEND, answer={"title": "a cup"},
        confidence=0.2,
    )  # fmt: skip
    given = {"attempt_id": opened.attempt_id, "request_key": b"key"}
    assert await desk.settle(job, outcome=unsure, **given)
    again = await desk.open(job)
    assert isinstance(again, AlreadyAnswered)
    assert again.confidence == 0.2
    await desk.settle(job, outcome=Reused(result_id=again.result_id))
    [[row]] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert (row.answer, row.cost_nanos) == ('{"title":"a cup"}', 1_000)


async def test_the_first_try_is_remembered_until_the_job_ends(desk: Desk) -> None:
    late = Deferred(cause=Cause.RATE_LIMITED, message="slow", not_before=AT_ONCE)
    job = await claim_one(desk)
    for settled_at_ms in (NOW + 1, NOW + 2):
        assert await desk.settle(job, outcome=late, settled_at_ms=settled_at_ms)
        [job] = await desk.claim()
        assert job.tried_since_ms == NOW + 1
    await desk.settle(job, outcome=Failed(cause=Cause.RATE_LIMITED, message="slow"))
    assert (await read_job(desk)).tried_since is None


@pytest.mark.parametrize("cause", [Cause.PAUSED, Cause.INTERRUPTED, Cause.ASKED_ELSEWHERE])
async def test_what_the_picture_is_not_to_blame_for_is_no_try(desk: Desk, cause: Cause) -> None:
    job = await claim_one(desk)
    assert job.tried_since_ms is None
    await desk.settle(job, outcome=Deferred(cause=cause, message="x", not_before=AT_ONCE))
    [job] = await desk.claim()
    assert job.tried_since_ms is None
    late = Deferred(cause=Cause.TIMEOUT, message="x", not_before=AT_ONCE)
    await desk.settle(job, outcome=late)
    [job] = await desk.claim()
    await desk.settle(job, outcome=Deferred(cause=cause, message="x", not_before=AT_ONCE))
    assert (await read_job(desk)).tried_since == NOW


async def test_a_changed_or_missing_picture_begins_anew(desk: Desk) -> None:
    job = await claim_one(desk)
    late = Deferred(cause=Cause.TIMEOUT, message="x", not_before=AT_ONCE)
    await desk.settle(job, outcome=late)
    await desk.record(make_ref("a", version="2"))
    assert (await read_job(desk)).tried_since is None
    await desk.settle(*await desk.claim(), outcome=late)
    await desk.catalogue.mark_gone(desk.scopes[0], SeenImages(), unlistable=(), now_ms=NOW)
    assert (await read_job(desk)).tried_since is None


async def test_spending_tells_what_was_quoted_and_what_small_pictures_saved(desk: Desk) -> None:
    await desk.record(*make_refs(4))
    first, second, vain, repaired = await desk.claim()
    guessed = replace(make_tagged(), spend=replace(SPEND, usage_is_estimated=True))
    await ask(desk, first, make_tagged(), quote=QUOTE)
    await ask(desk, second, guessed, quote=QUOTE)
    await ask(desk, vain, Failed(cause=Cause.REJECTED, message="400"), quote=QUOTE)
    words = Quote(input=50, output=10, cost=NanoDollars(100))
    await ask(desk, repaired, make_tagged(), quote=words, step="repair")
    for spending in (await desk.reader.sum_spending(), await desk.reader.sum_spending(desk.run)):
        assert spending.quoted_nanos == 3 * 900 + 100
        assert (spending.sent_bytes, spending.original_bytes) == (600, 4_000)
        # of the second, nobody counted the tokens
        assert (spending.picture_tokens, spending.original_tokens) == (70, 400)
    assert await check_ledger(desk.database) == []


async def answer_picture(desk: Desk, job: ClaimedJob, x: int, y: int, **given: Any) -> None:
    spend = replace(SPEND, usage=TokenUsage(input=y, output=10))
    quote = Quote(picture_tokens=x, input=x + 20, output=10)
    await ask(desk, job, replace(make_tagged(), spend=spend), quote=quote, **given)


async def test_drift_is_measured_within_runs_whose_words_differ(desk: Desk) -> None:
    async with open_desk(desk.database, version=make_version("f2", "other")) as other:
        for each, words in ((desk, 30), (other, 900)):
            await each.record(*make_refs(6))
            for number, job in enumerate(await each.claim()):
                x = 200 * (number + 1)
                day = NOW - number % 2 * DAY_MS
                await answer_picture(each, job, x, words + x * 11 // 10, now_ms=day, tier="batch")
        [drift] = await desk.reader.measure_drift()
        assert (drift.model_asked, drift.model_answered) == ("sim-1", "sim-1")
        assert drift.slope == Slope(answers=12, factor=Fraction(11, 10))


async def test_drift_is_of_the_latest_pictures_once_there_are_enough(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_LATEST_PICTURES", 6)
    async with open_desk(desk.database, version=make_version("f2", "other")) as later:
        for each, factor in ((desk, 2), (later, 3)):
            await each.record(*make_refs(6))
            for number, job in enumerate(await each.claim()):
                await answer_picture(each, job, 200 * number + 9, factor * 200 * number)
        [drift] = await desk.reader.measure_drift()
        assert drift.slope == Slope(answers=6, factor=Fraction(3))


async def test_a_formula_that_was_corrected_is_judged_by_what_came_after(desk: Desk) -> None:
    async with open_desk(desk.database, version=make_version("f2", "other")) as later:
        for each, factor in ((desk, 5), (later, 4)):
            await each.record(*make_refs(60))
            for number, job in enumerate(await each.claim(limit=60)):
                await answer_picture(each, job, 40 * number + 4, factor * 10 * number + 30)
        [drift] = await desk.reader.measure_drift()
        assert drift.slope == Slope(answers=60, factor=Fraction(1))


async def test_drift_of_pictures_of_one_size_is_not_told(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    for job in await desk.claim():
        await answer_picture(desk, job, 765, 900)
    [drift] = await desk.reader.measure_drift()
    assert drift.slope == Slope(answers=3, factor=None)


@pytest.mark.parametrize("run", [None, 1])
async def test_what_is_settled_is_not_read_for_what_is_not(tmp_path: Path, run: int | None) -> None:
    async with open_database("sqlite", tmp_path) as database, database.read() as connection:
        query = sums._sum_unsettled(run).compile(
            connection.engine, compile_kwargs={"literal_binds": True}
        )
        plan = await connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))
        assert [row.detail for row in plan] == ["SCAN attempts USING INDEX ix_attempts_unsettled"]
