"""Why images are asked about, and choosing among those that wait: the same on every database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from ledgers import NOW, Desk, make_ref, make_refs, make_version, open_desk
from sqlalchemy import select, update

from pipeline.domain.jobs import ClaimedJob, JobState, Reason, ReviewState
from pipeline.domain.outcomes import Cause, Deferred, Failed, Skipped
from pipeline.ledger.catalogue import Finding, SeenImages
from pipeline.ledger.jobs import count_wanted
from pipeline.ledger.returns import put_back
from pipeline.ledger.selection import EVERYTHING, Selection
from pipeline.ledger.tables import jobs

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TOO_LONG = Failed(cause=Cause.LENGTH, message="cut")


async def test_an_image_that_was_never_asked_about_is_new(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    assert await desk.waiting() == {"new": 1}
    await desk.record(make_ref("a", version="2"))
    assert await desk.waiting() == {"new": 1}


async def test_an_answered_image_whose_file_changed_is_changed(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim())
    await desk.record(make_ref("a", version="2"))
    assert await desk.waiting() == {"changed": 1}


async def test_only_what_was_answered_is_stale(desk: Desk) -> None:
    await desk.record(*make_refs(4))
    answered, failed, changed = await desk.claim(3)
    await desk.answer(answered)
    await desk.answer(changed)
    await desk.settle(failed, outcome=TOO_LONG)
    await desk.record(replace(changed.image, version="new"))
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        assert await newer.mark_stale() == 1
        assert await newer.mark_stale() == 0
        assert await newer.waiting() == {"new": 1, "changed": 1, "stale": 1, "failed": 1}
        assert len(await newer.claim()) == 4
        await newer.queue.release(now_ms=NOW)


async def test_a_stale_image_whose_file_changes_is_changed(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim())
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        await newer.mark_stale()
        await newer.record(make_ref("a", version="2"))
        assert await newer.waiting() == {"changed": 1}


async def test_what_failed_and_is_put_back_is_failed_also_when_its_file_was_mended(
    desk: Desk,
) -> None:
    await desk.record(make_ref("a"))
    await desk.settle(*await desk.claim(), outcome=TOO_LONG)
    assert await put_back(desk.database, states=[JobState.FAILED]) == 1
    await desk.record(make_ref("a", version="2"))
    assert await desk.waiting() == {"failed": 1}


async def test_an_image_that_returns_waits_for_its_old_reason(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim())
    await desk.record(make_ref("a", version="2"))
    await desk.catalogue.mark_gone(desk.scopes[0], SeenImages(), unlistable=(), now_ms=NOW)
    assert await desk.waiting() == {}
    await desk.record(make_ref("a", version="2"))
    assert await desk.waiting() == {"changed": 1}


async def test_jobs_that_a_paused_run_puts_back_wait_for_what_they_waited_for(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    await desk.settle(job, outcome=TOO_LONG)
    assert await desk.queue.put_back([job.id]) == 1
    assert await desk.waiting() == {"new": 1}


async def test_waiting_images_are_counted_by_reason_and_scope(desk: Desk) -> None:
    await desk.record(make_ref("x/a"), make_ref("y/b"), make_ref("y/c"))
    await desk.catalogue.mark_gone(
        desk.scopes[0], SeenImages(), unlistable=["/photos/y/"], now_ms=NOW
    )
    part = await desk.catalogue.open_scopes(("/photos/y/",), is_single=False)
    assert await desk.reader.count_waiting() == {**dict.fromkeys(Reason, 0), Reason.NEW: 2}
    assert (await desk.reader.count_waiting(part))[Reason.NEW] == 2
    assert (await desk.reader.count_waiting(profile="nobody's"))[Reason.NEW] == 0
    departures = await desk.reader.count_departures()
    assert (departures.gone, departures.moved) == (1, 0)
    assert (await desk.reader.count_departures(part)).gone == 0


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"reasons": (Reason.NEW,)}, {"new.jpg", "late[1].jpg"}),
        ({"reasons": (Reason.CHANGED, Reason.STALE)}, {"Changed.jpg", "stale.jpg"}),
        ({"causes": (Cause.TIMEOUT, Cause.LENGTH)}, {"failed.jpg", "late[1].jpg"}),
        ({"path": "*/c*"}, set()),
        ({"path": "*/C*"}, {"Changed.jpg"}),
        ({"path": "/photos/?????.jpg"}, {"stale.jpg"}),
        ({"path": "*[1]*"}, {"late[1].jpg"}),
        ({"path": "%"}, set()),
        ({"path": "*_*"}, set()),
        ({"settled_before_ms": NOW - DAY_MS}, {"stale.jpg"}),
        ({"settled_after_ms": NOW - DAY_MS}, {"Changed.jpg", "failed.jpg"}),
        ({"reasons": (Reason.STALE,), "path": "*new*"}, set()),
    ],
)
async def test_only_the_images_that_meet_the_selection_are_claimed(
    desk: Desk, wanted: dict[str, Any], names: set[str]
) -> None:
    await _make_one_of_each(desk)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        await newer.mark_stale()
        newer.choose(**wanted)
        assert await _count(newer, Selection(**wanted)) == len(names)
        claimed = [job.image.uri for job in await newer.claim()]
        assert {uri.removeprefix("/photos/") for uri in claimed} == names
        assert await newer.claim() == []
        assert await newer.find_next_due() is None
        await newer.queue.release(now_ms=NOW)


async def test_whoever_asks_for_failed_images_has_them_put_back_first(desk: Desk) -> None:
    await desk.record(*make_refs(3), make_ref("elsewhere/a"))
    small, cut, late, other = await desk.claim()
    await desk.settle(small, outcome=Skipped(cause=Cause.TOO_SMALL, message="1x1"))
    await desk.settle(cut, outcome=TOO_LONG)
    await desk.settle(other, outcome=TOO_LONG)
    await desk.settle(late, outcome=Failed(cause=Cause.TIMEOUT, message="slow"))
    assert await desk.queue.put_back_failed(desk.scopes[0], desk.assignment) == 0
    wanted = Selection(reasons=(Reason.FAILED,), causes=(Cause.LENGTH,), path="/photos/0*")
    assert await _count(desk, wanted) == 1
    desk.choose(reasons=wanted.reasons, causes=wanted.causes, path=wanted.path)
    assert await desk.queue.put_back_failed(desk.scopes[0], desk.assignment) == 1
    assert await _count(desk, wanted) == 1
    assert await _names(desk) == [cut.image.uri]
    assert await desk.states() == {"leased": 1, "failed": 2, "skipped": 1}


async def test_skipped_images_are_put_back_for_their_cause_alone(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.settle(*await desk.claim(), outcome=Skipped(cause=Cause.TOO_SMALL, message="1x1"))
    assert await _count(desk, Selection(reasons=(Reason.FAILED,))) == 0
    assert await _count(desk, Selection(reasons=(Reason.FAILED,), causes=(Cause.TOO_SMALL,))) == 1


async def test_images_are_put_back_by_profile_and_age(desk: Desk) -> None:
    async with open_desk(desk.database, version=make_version(name="alt-text")) as other:
        for one, day in ((desk, 40), (other, 5)):
            await one.record(make_ref("a"))
            [job] = await one.claim()
            await one.settle(job, outcome=TOO_LONG, settled_at_ms=NOW - day * DAY_MS)
        old, failed = Selection(settled_before_ms=NOW - 30 * DAY_MS), (JobState.FAILED,)
        assert await put_back(desk.database, old, states=failed, profile="alt-text") == 0
        assert await put_back(desk.database, old, states=failed) == 1
        assert await put_back(desk.database, states=failed, profile="alt-text") == 1


async def test_why_an_image_failed_is_known_until_it_has_an_answer(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.settle(*await desk.claim(), outcome=TOO_LONG)
    await put_back(desk.database, states=[JobState.FAILED])
    desk.choose(causes=(Cause.LENGTH,))
    [job] = await desk.claim()
    # put off for another cause, it is still one of those that were chosen
    await desk.settle(job, outcome=_put_off(Cause.RATE_LIMITED, NOW))
    [job] = await desk.claim()
    await desk.answer(job)
    [[row]] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert (row.cause, row.message) == (None, None)


async def test_an_image_put_off_keeps_the_age_of_its_answer(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim(), settled_at_ms=NOW - 40 * DAY_MS)
    await desk.record(make_ref("a", version="2"))
    desk.choose(settled_before_ms=NOW - 30 * DAY_MS)
    [job] = await desk.claim()
    await desk.settle(job, outcome=_put_off(Cause.TIMEOUT, NOW))
    assert len(await desk.claim()) == 1


@pytest.mark.parametrize("decision", [ReviewState.APPROVED, ReviewState.EDITED])
async def test_no_later_answer_takes_the_place_of_one_that_a_person_let_stand(
    desk: Desk, decision: ReviewState
) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim(), review=decision)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        assert await newer.mark_stale() == 0
        assert await put_back(newer.database, states=[JobState.FAILED, JobState.SKIPPED]) == 0
        newer.choose(reasons=(Reason.STALE, Reason.FAILED))
        assert await newer.queue.put_back_failed(newer.scopes[0], newer.assignment) == 0
        assert await newer.record(make_ref("a")) == {Finding.UNCHANGED: 1}
        assert await newer.claim() == []
    [[row]] = [rows async for rows in desk.reader.stream_rows(["done"], None)]
    assert (row.review, row.answer) == (decision, '{"title":"a mug"}')


async def test_a_decision_is_found_with_the_bytes_it_was_made_about(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    one, two = await desk.claim()
    await desk.answer(one, sha256=b"s" * 32)
    await desk.answer(two, sha256=b"s" * 32, review=ReviewState.APPROVED)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        found = await newer.settler.find_answer(b"s" * 32)
    assert found is not None
    assert (found.review, found.result_id) == (ReviewState.APPROVED, await _result_of(desk, two))


async def test_a_part_of_a_library_is_claimed_to_its_last_image(desk: Desk) -> None:
    await desk.record(*(make_ref(f"{n % 7}/{n:03}.jpg") for n in range(70)))
    part = await desk.catalogue.open_scopes(("/photos/3/",), is_single=False)
    taken: list[int] = []
    while claimed := await desk.queue.claim(part, desk.assignment, limit=3, now_ms=NOW):
        taken += [job.id for job in claimed]
    assert len(set(taken)) == len(taken) == 10
    # found later, while the run goes on
    await desk.record(make_ref("3/later.jpg"))
    assert len(await desk.queue.claim(part, desk.assignment, limit=3, now_ms=NOW)) == 1


async def test_two_runs_with_a_selection_share_the_work_without_overlap(desk: Desk) -> None:
    await desk.record(*(make_ref(f"{n % 3}/{n:03}.jpg") for n in range(150)))
    taken: list[int] = []

    async def take(who: Desk) -> None:
        who.choose(path="*/1/*")
        while claimed := await who.claim(3):
            taken.extend(job.id for job in claimed)

    async with open_desk(desk.database) as other:
        async with anyio.create_task_group() as both:
            both.start_soon(take, desk)
            both.start_soon(take, other)
        await other.queue.release(now_ms=NOW)
    assert len(taken) == len(set(taken)) == 50


async def test_what_comes_back_behind_the_last_claim_is_found_again(desk: Desk) -> None:
    await desk.record(*map(make_ref, ("a1", "a2", "b1", "b2")))
    desk.choose(path="*/a*")
    first, _ = await desk.claim()
    assert await desk.claim() == []
    await _give_back(desk, first)
    assert await desk.claim() == []  # nobody said that there is anything to look for
    assert await desk.claim(now_ms=NOW + 10_000) == [first]
    await desk.queue.release(now_ms=NOW)
    assert len(await desk.claim()) == 2


async def test_what_a_run_makes_stale_itself_is_claimed_at_once(desk: Desk) -> None:
    await desk.record(*map(make_ref, ("a1", "a2", "b1", "b2")))
    for job in await desk.claim(1):
        await desk.answer(job)
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        newer.choose(path="*/b*")
        assert await newer.claim() == []
        await newer.mark_stale()
        assert len(await newer.claim()) == 2
        newer.choose(path="*")
        assert len(await newer.claim()) == 2
        await newer.queue.release(now_ms=NOW)


async def test_a_run_does_not_end_while_something_it_wants_is_behind_it(desk: Desk) -> None:
    await desk.record(*map(make_ref, ("a1", "a2", "b1", "b2")))
    desk.choose(path="*/a*")
    first, _ = await desk.claim()
    await _give_back(desk, first)
    assert await desk.claim() == []
    assert await desk.find_next_due() == 0
    assert await desk.claim() == [first]


async def test_an_image_put_off_is_claimed_in_its_turn_under_a_selection(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    desk.choose(path="*")
    one, two, _ = await desk.claim()
    await desk.settle(one, outcome=_put_off(Cause.TIMEOUT, NOW + 2_000))
    await desk.settle(two, outcome=_put_off(Cause.TIMEOUT, NOW + 1_000))
    assert await desk.claim() == []
    assert await desk.find_next_due() == NOW + 1_000
    assert [job.id for job in await desk.claim(now_ms=NOW + 1_000)] == [two.id]
    await desk.record(make_ref("later"))
    assert len(await desk.claim(now_ms=NOW + 2_000)) == 2


async def test_what_is_to_be_tried_again_does_not_wait_for_the_end(desk: Desk) -> None:
    await desk.record(*make_refs(10))
    [job] = await desk.claim(1)
    await desk.settle(job, outcome=_put_off(Cause.TIMEOUT, NOW + 1_000))
    await desk.claim(2)
    claimed = await desk.claim(2, now_ms=NOW + 1_000)
    assert job.id in {one.id for one in claimed}


async def test_waits_counted_from_a_clock_that_was_ahead_are_over(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    one, _ = await desk.claim()
    async with open_desk(desk.database, now_ms=NOW + HOUR_MS):
        await desk.settle(one, outcome=_put_off(Cause.TIMEOUT, NOW + HOUR_MS + 5_000))
        assert await desk.queue.correct_waits(now_ms=NOW) == 1
        assert await desk.find_next_due() == NOW
        assert [job.id for job in await desk.claim()] == [one.id]


async def test_waits_counted_from_a_clock_that_agrees_stay(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    [job] = await desk.claim()
    async with open_desk(desk.database, now_ms=NOW + 1_000):  # and its lease is ahead of us
        await desk.settle(job, outcome=_put_off(Cause.TIMEOUT, NOW + 5_000))
        assert await desk.queue.correct_waits(now_ms=NOW) == 0
        assert await desk.find_next_due() == NOW + 5_000


async def _make_one_of_each(desk: Desk) -> None:
    """A new image, a changed, a stale, a failed one, and one that was put off."""
    names = ("Changed.jpg", "stale.jpg", "failed.jpg", "late[1].jpg")
    await desk.record(*map(make_ref, names))
    by_name = {job.image.uri.rsplit("/")[-1]: job for job in await desk.claim()}
    await desk.answer(by_name["Changed.jpg"], settled_at_ms=NOW)
    await desk.answer(by_name["stale.jpg"], settled_at_ms=NOW - 2 * DAY_MS)
    await desk.settle(by_name["failed.jpg"], outcome=TOO_LONG)
    await desk.settle(by_name["late[1].jpg"], outcome=_put_off(Cause.TIMEOUT, NOW))
    await desk.record(make_ref("Changed.jpg", version="2"), make_ref("new.jpg"))


def _put_off(cause: Cause, until_ms: int) -> Deferred:
    moment = datetime.fromtimestamp(until_ms / 1000, UTC)
    return Deferred(cause=cause, message="slow", not_before=moment)


async def _count(desk: Desk, selection: Selection = EVERYTHING) -> int:
    return await count_wanted(
        desk.database, desk.scopes, desk.assignment, selection, is_begun=False
    )


async def _names(desk: Desk) -> list[str]:
    return [job.image.uri for job in await desk.claim()]


async def _result_of(desk: Desk, job: ClaimedJob) -> int | None:
    async with desk.database.read() as connection:
        found = await connection.scalars(select(jobs.c.result_id).where(jobs.c.id == job.id))
        return found.one()


async def _give_back(desk: Desk, job: ClaimedJob) -> None:
    """As another process does when it finds that the one that held the job is dead."""
    async with desk.database.write() as connection:
        back = {"state": "pending", "run_id": None}
        await connection.execute(update(jobs).where(jobs.c.id == job.id).values(**back))
