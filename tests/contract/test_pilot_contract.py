"""What a sample is drawn from, and claiming nothing but what was drawn: on every database."""

from datetime import UTC, datetime
from typing import Any

import pytest
from ledgers import NOW, Desk, make_ref, make_refs, make_version, open_desk

from pipeline.domain.jobs import JobId, Reason
from pipeline.domain.outcomes import Cause, Deferred, Failed
from pipeline.ledger.candidates import Candidates
from pipeline.ledger.selection import EVERYTHING, Selection

pytestmark = pytest.mark.anyio

LATE = Deferred(
    cause=Cause.TIMEOUT, message="slow", not_before=datetime.fromtimestamp(NOW / 1000 + 1, UTC)
)


async def list_candidates(
    desk: Desk, selection: Selection = EVERYTHING, *, is_begun: bool = True, scopes: Any = None
) -> list[Any]:
    candidates = Candidates(
        desk.database, scopes or desk.scopes, desk.assignment, selection, is_begun=is_begun
    )
    return [row async for rows in candidates.stream() for row in rows]


async def list_names(desk: Desk, selection: Selection = EVERYTHING, **given: Any) -> list[str]:
    rows = await list_candidates(desk, selection, **given)
    return sorted(row.uri.removeprefix("/photos/") for row in rows)


async def test_nothing_but_the_listed_jobs_is_claimed(desk: Desk) -> None:
    await desk.record(*make_refs(40))
    ids = [JobId(row.id) for row in await list_candidates(desk)]
    wanted = ids[31:2:-7]
    desk.queue.narrow(wanted)
    assert await desk.queue.count_wanted(desk.scopes, desk.assignment) == len(wanted)
    claimed = [job.id for job in await desk.claim(3)]
    assert await desk.queue.count_wanted(desk.scopes, desk.assignment) == len(wanted)
    claimed += [job.id for job in await desk.claim(10)]
    assert claimed == sorted(wanted)
    assert await desk.claim() == []
    assert await desk.find_next_due() is None


async def test_a_queue_narrowed_to_nothing_has_nothing(desk: Desk) -> None:
    await desk.record(*make_refs(3))
    desk.queue.narrow(())
    assert await desk.claim() == []
    assert await desk.find_next_due() is None
    assert await desk.queue.count_wanted(desk.scopes, desk.assignment) == 0


async def test_a_listed_job_that_was_put_off_is_claimed_in_its_turn(desk: Desk) -> None:
    await desk.record(*make_refs(6))
    first, second, *_ = (JobId(row.id) for row in await list_candidates(desk))
    desk.queue.narrow([first, second])
    late, other = await desk.claim()
    await desk.settle(late, outcome=LATE)
    await desk.answer(other)
    assert await desk.claim() == []
    assert await desk.find_next_due() == NOW + 1_000
    assert [job.id for job in await desk.claim(now_ms=NOW + 1_000)] == [late.id]


async def test_a_listed_job_that_another_run_holds_is_not_claimed_twice(desk: Desk) -> None:
    await desk.record(*make_refs(4))
    ids = [JobId(row.id) for row in await list_candidates(desk)]
    async with open_desk(desk.database) as other:
        held = await other.claim(2)
        desk.queue.narrow(ids)
        assert {job.id for job in await desk.claim()} == set(ids) - {job.id for job in held}
        await other.queue.release(now_ms=NOW)


async def test_a_list_and_a_selection_hold_both(desk: Desk) -> None:
    await desk.record(*map(make_ref, ("a1", "a2", "b1")))
    ids = {row.uri[-2:]: JobId(row.id) for row in await list_candidates(desk)}
    desk.choose(path="*/a*")
    desk.queue.narrow([ids["a2"], ids["b1"]])
    assert [job.id for job in await desk.claim()] == [ids["a2"]]


async def test_all_that_waits_is_drawn_from_put_off_or_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ledger.candidates._CHUNK_ROWS", 3)
    await desk.record(*make_refs(11))
    jobs = await desk.claim(7)
    for job in jobs[:4]:
        await desk.settle(job, outcome=LATE)
    await desk.answer(jobs[4])
    await desk.queue.release(now_ms=NOW)
    names = await list_names(desk)
    assert len(names) == len(set(names)) == 10
    assert jobs[4].image.uri.removeprefix("/photos/") not in names


async def test_what_a_run_would_put_back_is_drawn_from_when_looking_ahead(desk: Desk) -> None:
    await desk.record(make_ref("new"), make_ref("failed"))
    failed = next(job for job in await desk.claim() if job.image.uri.endswith("failed"))
    await desk.settle(failed, outcome=Failed(cause=Cause.LENGTH, message="cut"))
    await desk.queue.release(now_ms=NOW)
    wanted = Selection(reasons=(Reason.FAILED, Reason.NEW))
    assert await list_names(desk, wanted) == ["new"]
    assert await list_names(desk, wanted, is_begun=False) == ["failed", "new"]
    assert await list_names(desk, Selection(path="*/f*"), is_begun=False) == []


async def test_an_image_that_lies_in_two_places_is_drawn_from_once(desk: Desk) -> None:
    inner = await desk.catalogue.open_scopes(("/photos/in/",), is_single=False)
    await desk.record(make_ref("in/a"), make_ref("b"))
    for scopes in ([*desk.scopes, *inner], [*inner, *desk.scopes]):
        assert await list_names(desk, scopes=scopes) == ["b", "in/a"]


async def test_libraries_inside_one_another_are_drawn_from_together(desk: Desk) -> None:
    inner = await desk.catalogue.open_scopes(("/photos/in/",), is_single=False)
    outer = await desk.catalogue.open_scopes(("/",), is_single=False)
    assert {scope.library_id for scope in outer} > {scope.library_id for scope in inner}
    await desk.record(make_ref("in/a"), make_ref("b"))
    assert await list_names(desk, scopes=outer) == ["b", "in/a"]


async def test_stale_images_are_drawn_from_for_the_version_that_asks(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim())
    assert await list_names(desk) == []
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        await newer.mark_stale()
        assert await list_names(newer) == ["a"]


async def test_rows_of_jobs_come_in_order_whatever_became_of_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ledger.reading._CHUNK_ROWS", 2)
    await desk.record(*make_refs(5))
    done, failed, *_ = await desk.claim(3)
    await desk.answer(done)
    await desk.settle(failed, outcome=Failed(cause=Cause.LENGTH, message="cut"))
    ids = [JobId(row.id) for row in await list_candidates(desk)]
    ids = [*reversed(ids), done.id, failed.id]
    rows = [row async for chunk in desk.reader.stream_jobs(ids) for row in chunk]
    assert [row.job_id for row in rows] == sorted(ids)
    found = {row.job_id: row for row in rows}
    assert (found[done.id].state, found[done.id].cost_nanos) == ("done", 1_000)
    assert (found[done.id].size, found[done.id].version) == (100, done.image.version)
    assert (found[failed.id].state, found[failed.id].cause) == ("failed", "length")
