"""What every ledger database must do: catalogue, claim, settle, reuse, reclaim."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from databases import open_database
from ledgers import (
    NOW,
    Desk,
    make_ref,
    make_refs,
    make_tagged,
    make_version,
    open_desk,
)
from sqlalchemy import select, text, update

from pipeline.domain.jobs import JobState, ReviewState
from pipeline.domain.outcomes import Cause, Deferred, Failed, Reused, Skipped
from pipeline.ledger.catalogue import Catalogue, Finding, Scope, SeenImages
from pipeline.ledger.database import Database
from pipeline.ledger.opening import AlreadyAnswered, BeingAsked, Opened
from pipeline.ledger.returns import put_back
from pipeline.ledger.runs import ProfileVersion, RunState
from pipeline.ledger.selection import Selection
from pipeline.ledger.tables import attempts, jobs, runs

pytestmark = pytest.mark.anyio


async def test_new_changed_and_unchanged_images_are_told_apart(desk: Desk) -> None:
    assert await desk.record(make_ref("a"), make_ref("b")) == {Finding.NEW: 2}
    found = await desk.record(make_ref("a"), make_ref("b", version="2"), make_ref("c"))
    assert found == {Finding.UNCHANGED: 1, Finding.CHANGED: 1, Finding.NEW: 1}


async def test_each_image_gets_one_job_however_often_it_is_listed(desk: Desk) -> None:
    for _ in range(3):
        await desk.record(*make_refs(5))
    assert await desk.states() == {"pending": 5}


async def test_unchanged_images_are_not_written(desk: Desk) -> None:
    await desk.record(*make_refs(50))
    async with desk.database.write() as held:  # a second writer would wait for ever
        await held.execute(select(jobs))
        with anyio.fail_after(5):
            assert await desk.record(*make_refs(50)) == {Finding.UNCHANGED: 50}


async def test_a_claimed_job_is_claimed_once(desk: Desk) -> None:
    await desk.record(*make_refs(5))
    first, second = await desk.claim(3), await desk.claim(10)
    assert len({job.id for job in first + second}) == 5
    assert await desk.claim() == []


async def test_two_runs_share_the_work_without_overlap(desk: Desk) -> None:
    await desk.record(*make_refs(100))
    taken: list[int] = []
    async with open_desk(desk.database) as other:

        async def take(who: Desk) -> None:
            while claimed := await who.claim(7):
                taken.extend(job.id for job in claimed)

        async with anyio.create_task_group() as both:
            both.start_soon(take, desk)
            both.start_soon(take, other)
        await other.queue.release(now_ms=NOW)
    assert len(taken) == len(set(taken)) == 100


async def test_runs_that_begin_together_open_one_library(database: Database) -> None:
    opened: list[Scope] = []

    async def begin() -> None:
        opened.extend(await Catalogue(database).open_scopes(("/new/",), is_single=False))

    async with anyio.create_task_group() as beginners:
        for _ in range(3):
            beginners.start_soon(begin)
    assert {scope.root for scope in opened} == {"/new/"}
    assert len({scope.library_id for scope in opened}) == 1


async def test_a_changed_image_is_asked_about_again_and_keeps_its_old_answer(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    opened = await desk.open(job)
    await desk.settle(job, outcome=make_tagged(), attempt_id=opened.attempt_id, request_key=b"key")
    await desk.record(make_ref("a", version="2"))
    [rows] = [rows async for rows in desk.reader.stream_rows(["pending"], None)]
    assert rows[0].answer == '{"title":"a mug"}'


async def test_an_answer_and_its_spend_settle_together(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    opened = await desk.open(job)
    assert isinstance(opened, Opened)
    assert await desk.settle(
        job, outcome=make_tagged(), attempt_id=opened.attempt_id, request_key=b"key", tags=("mug",)
    )
    [[row]] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert (row.state, row.tags, row.cost_nanos, row.input_tokens) == ("done", '["mug"]', 1000, 100)
    spending = await desk.reader.sum_spending(desk.run)
    assert (spending.requests, spending.cost_nanos, spending.cached_tokens) == (1, 1000, 20)


async def test_a_group_of_every_kind_of_outcome_settles_at_once(desk: Desk) -> None:
    await desk.record(*make_refs(8))
    later = datetime.fromtimestamp(NOW / 1000, UTC)
    outcomes = [make_tagged(), make_tagged("a hat"), Failed(cause=Cause.CORRUPT, message="x"),
                Deferred(cause=Cause.TIMEOUT, message="x", not_before=later)] * 2  # fmt: skip

    async def bring_to_end(index: int) -> None:
        key = b"key %d" % index
        opened = await desk.open(claimed[index], key)
        given = {"attempt_id": opened.attempt_id, "request_key": key}
        assert await desk.settle(claimed[index], outcome=outcomes[index], **given)

    claimed = await desk.claim()
    async with anyio.create_task_group() as group:
        for index in range(8):
            group.start_soon(bring_to_end, index)
    assert await desk.states() == {"done": 4, "failed": 2, "pending": 2}
    assert (await desk.reader.sum_spending()).cost_nanos == 4_000


async def test_an_attempt_is_on_record_before_it_is_settled(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    await desk.open(job)
    async with desk.database.read() as connection:
        assert (await connection.scalar(select(attempts.c.state))) == "open"
    await desk.settle(job, outcome=Failed(cause=Cause.REJECTED, message="no"), attempt_id=None)
    await _settle_open_attempts(desk)


async def test_the_same_question_is_not_opened_twice_at_once(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    one, two = await desk.claim()
    opened = await desk.open(one)
    assert isinstance(await desk.open(two), BeingAsked)
    await desk.settle(one, outcome=make_tagged(), attempt_id=opened.attempt_id, request_key=b"key")
    assert isinstance(await desk.open(two), AlreadyAnswered)


async def test_equal_questions_in_one_group_are_opened_once(desk: Desk) -> None:
    await desk.record(*make_refs(20))
    admissions: list[object] = []
    claimed = await desk.claim(20)

    async def open_one(index: int) -> None:
        admissions.append(await desk.open(claimed[index]))

    async with anyio.create_task_group() as group:
        for index in range(20):
            group.start_soon(open_one, index)
    assert sum(isinstance(admission, Opened) for admission in admissions) == 1
    await _settle_open_attempts(desk)


async def test_equal_bytes_find_the_answer_that_is_there(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    one, two = await desk.claim()
    assert await desk.settler.find_answer(b"s" * 32) is None
    opened = await desk.open(one)
    await desk.settle(one, outcome=make_tagged(), attempt_id=opened.attempt_id, request_key=b"key")
    found = await desk.settler.find_answer(b"s" * 32)
    assert found is not None
    assert found.result_id == opened.attempt_id
    await desk.settle(two, outcome=Reused(result_id=found.result_id))
    rows = [row async for rows in desk.reader.stream_rows(["done"], None) for row in rows]
    assert [row.answer for row in rows] == ['{"title":"a mug"}'] * 2
    assert [row.cost_nanos for row in rows] == [1000, 0]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Failed(cause=Cause.CORRUPT, message="bad"), "failed"),
        (Skipped(cause=Cause.TOO_SMALL, message="1x1"), "skipped"),
    ],
)
async def test_an_image_without_an_answer_ends_with_its_cause(
    desk: Desk, outcome: Failed | Skipped, state: str
) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    await desk.settle(job, outcome=outcome)
    [group] = await desk.reader.group_failures()
    assert (group.state, group.cause, group.count) == (state, outcome.cause, 1)
    assert group.examples == (("/photos/a", outcome.message),)


async def test_a_deferred_job_is_not_claimed_before_its_time(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    later = datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(seconds=30)
    await desk.settle(job, outcome=Deferred(cause=Cause.TIMEOUT, message="slow", not_before=later))
    assert await desk.claim() == []
    assert await desk.find_next_due() == NOW + 30_000
    [again] = await desk.claim(now_ms=NOW + 30_000)
    assert again.attempts == 1


async def test_a_late_answer_is_kept_but_does_not_settle(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    async with open_desk(desk.database) as sleeper:
        [job] = await sleeper.claim()
        opened = await sleeper.open(job)
        await _move_elsewhere(desk, sleeper)
        after_the_lease = NOW + 61_000
        await desk.runs.beat(desk.run, now_ms=after_the_lease)
        assert await desk.queue.reclaim_dead(now_ms=after_the_lease) == 1
        [taken] = await desk.claim()
        key = {"attempt_id": opened.attempt_id, "request_key": b"key"}
        assert not await sleeper.settle(job, outcome=make_tagged(), **key)
        admission = await desk.open(taken)
    assert isinstance(admission, AlreadyAnswered)
    await desk.settle(taken, outcome=Reused(result_id=admission.result_id))
    spending = await desk.reader.sum_spending()
    assert (spending.requests, spending.lost, spending.cost_nanos) == (1, 0, 1000)


async def test_a_process_that_is_seen_alive_keeps_its_jobs_past_its_lease(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    async with open_desk(desk.database) as sleeper:
        await sleeper.claim()
        assert await desk.queue.reclaim_dead(now_ms=NOW + 3_600_000) == 0
        await sleeper.queue.release(now_ms=NOW)


async def test_a_run_that_was_thought_dead_is_alive_again_at_its_next_beat(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    async with open_desk(desk.database) as sleeper:
        await _move_elsewhere(desk, sleeper)
        await desk.queue.reclaim_dead(now_ms=NOW + 61_000)
        await sleeper.runs.beat(sleeper.run, now_ms=NOW + 62_000)
        assert len(await sleeper.claim()) == 2
        assert await desk.queue.reclaim_dead(now_ms=NOW + 63_000) == 0
        await sleeper.queue.release(now_ms=NOW)


async def test_what_an_ended_run_left_behind_is_swept_up(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    async with open_desk(desk.database) as careless:
        [job] = await careless.claim()
        await careless.open(job)
        await careless.runs.close(careless.run, RunState.FAULT, {}, now_ms=NOW)
    assert await desk.queue.reclaim_dead(now_ms=NOW) == 1
    assert (await desk.reader.sum_spending()).lost == 1


async def test_images_found_from_outside_belong_to_the_inner_library(desk: Desk) -> None:
    outer = await desk.catalogue.open_scopes(("/",), is_single=False)
    await desk.catalogue.record([make_ref("a")], outer, assignment=desk.assignment, run=desk.run)
    assert [job.image.uri for job in await desk.claim()] == ["/photos/a"]


async def test_a_returned_image_is_asked_about_under_the_version_of_today(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.catalogue.mark_gone(desk.scopes[0], SeenImages(), unlistable=(), now_ms=NOW)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        assert await newer.record(make_ref("a")) == {Finding.RETURNED: 1}
        assert len(await newer.claim()) == 1
        await newer.queue.release(now_ms=NOW)


async def test_jobs_of_a_dead_process_come_back_at_once(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    async with open_desk(desk.database) as dead:
        [job, _] = await dead.claim(2)
        await dead.open(job)
        async with desk.database.write() as connection:
            await connection.execute(
                update(runs).where(runs.c.id == dead.run).values(pid=1, process_started="gone")
            )
    assert await desk.queue.reclaim_dead(now_ms=NOW) == 2
    assert (await desk.reader.sum_spending()).lost == 1
    assert await desk.states() == {"pending": 3}


async def test_a_living_run_keeps_its_jobs(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    async with open_desk(desk.database) as other:
        await other.claim()
        assert await desk.queue.reclaim_dead(now_ms=NOW) == 0
        await other.queue.release(now_ms=NOW)


async def test_a_new_version_of_the_profile_makes_answers_stale(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    for job in await desk.claim():
        await desk.answer(job)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        assert await newer.queue.mark_stale(newer.scopes[0], newer.assignment, chunk=1) == 2
        assert await newer.queue.mark_stale(newer.scopes[0], newer.assignment) == 0
        assert len(await newer.claim()) == 2
        await newer.queue.release(now_ms=NOW)


async def test_a_decision_of_a_person_is_never_stale(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    opened = await desk.open(job)
    await desk.settle(job, outcome=make_tagged(), attempt_id=opened.attempt_id,
                      request_key=b"key", review=ReviewState.APPROVED)  # fmt: skip
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        assert await newer.queue.mark_stale(newer.scopes[0], newer.assignment) == 0


async def test_runs_that_begin_together_agree_on_the_version(desk: Desk) -> None:
    versions = [make_version(f"g{number % 3}") for number in range(12)]
    found: list[tuple[str, int]] = []

    async def assign(version: ProfileVersion) -> None:
        assignment = await desk.runs.assign(version, now_ms=NOW)
        found.append((version.fingerprint, assignment.version_id))

    async with anyio.create_task_group() as together:
        for version in versions:
            together.start_soon(assign, version)
    assert len(found) == 12
    assert len(set(found)) == 3


async def test_another_profile_gives_known_images_a_job_of_their_own(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    async with open_desk(desk.database, version=make_version(name="alt-text")) as other:
        assert await other.record(*make_refs(3)) == {Finding.UNCHANGED: 3}
    assert await desk.states() == {"pending": 6}


async def test_images_that_were_not_seen_are_gone_and_can_return(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    seen = SeenImages()
    _, ids = await desk.catalogue.record(
        make_refs(2), desk.scopes, assignment=desk.assignment, run=desk.run
    )
    for image_id in ids:
        seen.add(image_id)
    gone = await desk.catalogue.mark_gone(desk.scopes[0], seen, unlistable=(), now_ms=NOW, chunk=1)
    assert gone == 1
    assert await desk.states() == {"pending": 2}
    assert await desk.record(*make_refs(3)) == {Finding.UNCHANGED: 2, Finding.RETURNED: 1}
    assert await desk.states() == {"pending": 3}


async def test_what_could_not_be_listed_is_not_gone(desk: Desk) -> None:
    await desk.record(make_ref("locked/a"), make_ref("b"))
    gone = await desk.catalogue.mark_gone(
        desk.scopes[0], SeenImages(), unlistable=("/photos/locked/",), now_ms=NOW
    )
    assert gone == 1


async def test_a_moved_image_is_paired_with_the_one_that_is_gone(desk: Desk) -> None:
    await desk.record(make_ref("old", size=7, version="77"), make_ref("other"))
    async with open_desk(desk.database) as later:
        await later.record(make_ref("new", size=7, version="77"))
        _, ids = await later.catalogue.record(
            [make_ref("new", size=7, version="77"), make_ref("other")],
            later.scopes, assignment=later.assignment, run=later.run,
        )  # fmt: skip
        seen = SeenImages()
        for image_id in ids:
            seen.add(image_id)
        await later.catalogue.mark_gone(later.scopes[0], seen, unlistable=(), now_ms=NOW + 1)
        assert await later.catalogue.match_moved(later.run, now_ms=NOW + 1) == 1


async def test_failed_jobs_are_put_back_by_cause_and_path(desk: Desk) -> None:
    await desk.record(make_ref("shoes/a_1.jpg"), make_ref("shoes/ab1.jpg"), make_ref("hats/c.jpg"))
    for job in await desk.claim():
        cause = Cause.LENGTH if "hats" in job.image.uri else Cause.TIMEOUT
        await desk.settle(job, outcome=Failed(cause=cause, message="x"))
    by_path, by_cause = Selection(path="*/a_1.*"), Selection(causes=(Cause.LENGTH,))
    assert await put_back(desk.database, by_path, states=by_path.ends) == 1
    assert await put_back(desk.database, by_cause, states=by_cause.ends) == 1
    assert await desk.states() == {"pending": 2, "failed": 1}


async def test_a_library_inside_another_is_claimed_with_it(desk: Desk) -> None:
    inner = await desk.catalogue.open_scopes(("/photos/2024/",), is_single=False)
    assert inner[0].library_id == desk.scopes[0].library_id
    assert inner[0].prefixes == ("/photos/2024/",)
    outer = await desk.catalogue.open_scopes(("/",), is_single=False)
    assert [scope.root for scope in outer] == ["/", "/photos/"]


async def test_a_part_of_a_library_claims_only_its_own(desk: Desk) -> None:
    await desk.record(make_ref("2023/a.jpg"), make_ref("2024/b.jpg"), make_ref("2024-b/c.jpg"))
    part = await desk.catalogue.open_scopes(("/photos/2024/",), is_single=False)
    claimed = await desk.queue.claim(part, desk.assignment, limit=9, now_ms=NOW)
    assert [job.image.uri for job in claimed] == ["/photos/2024/b.jpg"]
    single = await desk.catalogue.open_scopes(("/photos/2023/a.jpg",), is_single=True)
    claimed = await desk.queue.claim(single, desk.assignment, limit=9, now_ms=NOW)
    assert [job.image.uri for job in claimed] == ["/photos/2023/a.jpg"]


async def test_an_answer_without_a_price_is_counted_as_such(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    opened = await desk.open(job)
    await desk.settle(
        job, outcome=make_tagged(cost=None), attempt_id=opened.attempt_id, request_key=b"key"
    )
    assert (await desk.reader.sum_spending()).unpriced == 1
    [[row]] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert row.is_unpriced


async def test_states_are_the_five_that_are_named(desk: Desk) -> None:
    counts = await desk.reader.count_jobs()
    assert set(counts) == set(JobState)


async def _move_elsewhere(desk: Desk, other: Desk) -> None:
    """The other run is on a host whose processes nobody here can see."""
    async with desk.database.write() as connection:
        await connection.execute(
            update(runs).where(runs.c.id == other.run).values(host="elsewhere")
        )


async def _settle_open_attempts(desk: Desk) -> None:
    """Leave nothing open: the fixture checks the ledger's rules afterwards."""
    async with desk.database.write() as connection:
        await connection.execute(
            update(attempts).values(state="lost", cause="lost", settled_at=NOW)
        )


async def test_an_export_that_rests_between_chunks_is_not_ended(tmp_path: Path) -> None:
    """A slow disk or a laptop asleep: only what holds locks has to hurry."""
    asked = text("SELECT current_setting('idle_in_transaction_session_timeout')")
    async with (
        open_database("postgres", tmp_path) as database,
        database.read() as reading,
        database.write() as writing,
    ):
        assert await reading.scalar(asked) == "0"
        assert await writing.scalar(asked) == "10s"
