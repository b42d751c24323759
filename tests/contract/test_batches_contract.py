"""Batches on record, the same on both databases: nothing of them is lost with their process."""

from pathlib import Path

import pytest
from ledgers import INFO, NOW, WORST, Desk, make_refs, make_tagged, make_terms, open_desk

from pipeline.domain.batches import BatchReport, BatchState, RemoteState
from pipeline.domain.errors import BatchTaken
from pipeline.domain.jobs import AttemptId, ClaimedJob
from pipeline.domain.outcomes import AT_ONCE, UNTIL_NEWS, Cause, Deferred
from pipeline.domain.usage import Quote
from pipeline.ledger.batch_overview import view_batches
from pipeline.ledger.batches import Batch, BatchBook, BatchPlace, Sealed, list_live
from pipeline.ledger.database import Database
from pipeline.ledger.facts import Facts
from pipeline.ledger.opening import BeingAsked, Opened
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio

SEALED = Sealed(sha256=b"f" * 32, lines=2, bytes=99, tokens=500)


def book_of(desk: Desk) -> BatchBook:
    return BatchBook(desk.database, desk.run)


async def open_batch(desk: Desk, account: str = "acc") -> Batch:
    place = BatchPlace(
        version_id=desk.assignment.version_id,
        account=account,
        endpoint="main",
        path="/v1/chat/completions",
        model="sim-1",
        folder=Path("packs"),
    )
    return await book_of(desk).open(place, now_ms=NOW)


async def add_line(desk: Desk, batch: Batch, job: ClaimedJob, key: bytes = b"") -> AttemptId:
    quote = Quote(picture_tokens=70, input=90, output=10)
    admission = await desk.settler.open_attempt(
        job,
        key or b"key %d" % job.id,
        NOW,
        make_terms(batch_id=batch.id, quote=quote),
        facts=Facts(sha256=b"%032d" % job.id, info=INFO),
    )
    assert isinstance(admission, Opened)
    return admission.attempt_id


async def pack(desk: Desk, count: int = 2) -> tuple[Batch, list[AttemptId]]:
    await desk.record(*make_refs(count))
    batch = await open_batch(desk)
    return batch, [await add_line(desk, batch, job) for job in await desk.claim(count)]


async def test_a_batch_goes_its_way_step_by_step(desk: Desk) -> None:
    batch, _ = await pack(desk)
    book = book_of(desk)
    assert batch.state is BatchState.PACKING
    assert batch.file.name == f"tagpipe-{batch.token}.jsonl"
    sealed = await book.seal(batch.id, SEALED)
    assert (sealed.state, sealed.lines, sealed.tokens) == (BatchState.PACKED, 2, 500)
    assert (await book.note_uploaded(batch.id, "file-1")).input_file == "file-1"
    assert (await book.note_submitting(batch.id)).state is BatchState.SUBMITTING
    assert (await book.note_submitted(batch.id, "batch_1", now_ms=NOW)).remote_id == "batch_1"
    report = BatchReport(
        remote_id="batch_1", state=RemoteState.IN_PROGRESS, input_file="file-1", completed=1
    )
    assert (await book.note_report(batch.id, report)).unanswered == 1
    assert [found.id for found in await book.list_ours()] == [batch.id]
    await book.discard(batch.id, now_ms=NOW)


async def test_lines_outlive_the_run_that_sent_them(desk: Desk) -> None:
    batch, ids = await pack(desk)
    await book_of(desk).seal(batch.id, SEALED)
    assert await desk.queue.release(now_ms=NOW) == 0
    assert await desk.states() == {"leased": 2}
    assert set(await book_of(desk).find_lines(batch.id, ids)) == set(ids)
    await book_of(desk).discard(batch.id, now_ms=NOW)


async def test_another_run_takes_over_what_an_ended_one_left(database: Database) -> None:
    async with open_desk(database) as first:
        batch, ids = await pack(first)
        await book_of(first).note_submitted(batch.id, "batch_1", now_ms=NOW)
        async with open_desk(database) as other:
            assert await book_of(other).adopt("acc", now_ms=NOW) == []  # it lives
        await first.runs.close(first.run, "finished", {}, now_ms=NOW)  # type: ignore[arg-type]
    assert await check_ledger(database) == []
    async with open_desk(database) as second:
        assert await book_of(second).adopt("another key", now_ms=NOW) == []
        assert await second.queue.reclaim_dead(now_ms=NOW) == 0
        [taken] = await book_of(second).adopt("acc", now_ms=NOW)
        assert (taken.id, taken.run_id) == (batch.id, second.run)
        lines = await book_of(second).find_lines(batch.id, ids)
        for line in lines.values():
            assert await second.settle(
                line.job,
                outcome=make_tagged(),
                attempt_id=line.attempt_id,
                request_key=line.request_key,
                sha256=None,
                info=None,
            )
        assert (await book_of(second).close(batch.id, now_ms=NOW)).state is BatchState.HARVESTED
        assert await second.states() == {"done": 2}
        assert await book_of(second).find_lines(batch.id, ids) == {}
        assert await list_live(database) == []


async def test_a_run_with_batches_of_its_own_is_told_only_what_it_took(database: Database) -> None:
    async with open_desk(database) as first:
        batch, _ = await pack(first)
        await book_of(first).note_submitted(batch.id, "batch_1", now_ms=NOW)
        async with open_desk(database) as second:
            own = await open_batch(second)
            assert await book_of(second).take_over("acc", now_ms=NOW) == []  # it lives
            await first.runs.close(first.run, "finished", {}, now_ms=NOW)  # type: ignore[arg-type]
            [taken] = await book_of(second).take_over("acc", now_ms=NOW)
            assert (taken.id, taken.run_id) == (batch.id, second.run)
            assert await book_of(second).take_over("acc", now_ms=NOW) == []
            await book_of(second).discard(own.id, now_ms=NOW)


async def test_what_was_never_sent_leaves_no_trace_and_waits_again(desk: Desk) -> None:
    batch, ids = await pack(desk)
    assert await book_of(desk).discard(batch.id, now_ms=NOW) == 2
    assert await desk.states() == {"pending": 2}
    assert await book_of(desk).find_lines(batch.id, ids) == {}
    assert (await desk.reader.sum_spending()).requests == 0
    desk.queue.look_again()
    assert len(await desk.claim()) == 2


async def test_a_picture_in_a_batch_is_asked_about_by_nobody_else(desk: Desk) -> None:
    await desk.record(*make_refs(2))
    batch = await open_batch(desk)
    first, copy = await desk.claim(2)
    await add_line(desk, batch, first, b"same")
    assert await desk.open(copy, b"same") == BeingAsked(is_in_batch=True)
    waits = Deferred(cause=Cause.ASKED_ELSEWHERE, message="", not_before=UNTIL_NEWS, counts=False)
    await desk.settle(copy, outcome=waits)
    assert await desk.claim() == []
    assert await desk.find_next_due() is None
    assert await desk.queue.count_copies() == 1
    assert await desk.queue.hurry_copies() == 1
    assert [job.id for job in await desk.claim()] == [copy.id]
    await book_of(desk).discard(batch.id, now_ms=NOW)


async def test_a_batch_that_was_not_taken_can_be_told_of_again(desk: Desk) -> None:
    batch, _ = await pack(desk)
    book = book_of(desk)
    await book.note_uploaded(batch.id, "file-1")
    await book.note_submitting(batch.id)
    await book.note_submitted(batch.id, "batch_1", now_ms=NOW)
    again = await book.put_off(batch.id, not_before_ms=NOW + 5, message="too much waits")
    assert (again.state, again.remote_id, again.input_file) == (
        BatchState.UPLOADED, None, "file-1",
    )  # fmt: skip
    assert (again.not_before_ms, again.message) == (NOW + 5, "too much waits")
    await book.discard(batch.id, now_ms=NOW)


async def test_what_is_known_of_a_file_is_written_with_its_line(desk: Desk) -> None:
    batch, _ = await pack(desk, 1)
    rows = [row async for rows in desk.reader.stream_rows(["leased"], None) for row in rows]
    assert [(row.width, row.height, row.format) for row in rows] == [(640, 480, "jpeg")]
    await book_of(desk).discard(batch.id, now_ms=NOW)


async def test_what_can_be_lost_is_the_worst_of_every_open_line(desk: Desk) -> None:
    batch, _ = await pack(desk)
    assert await book_of(desk).sum_reserved(batch.id) == 2 * make_terms().reserved_nanos
    await book_of(desk).discard(batch.id, now_ms=NOW)
    assert await book_of(desk).sum_reserved(batch.id) == 0


async def test_the_next_step_is_kept_until_there_is_an_answer(desk: Desk) -> None:
    await desk.record(*make_refs(1))
    [job] = await desk.claim()
    assert job.next_step is None
    cut = Deferred(cause=Cause.LENGTH, message="cut", not_before=AT_ONCE, next_step="more_room")
    await desk.settle(job, outcome=cut)
    desk.queue.look_again()
    [again] = await desk.claim()
    assert again.next_step == "more_room"
    assert await desk.answer(again)
    await desk.record(make_refs(1)[0].__class__(uri="/photos/000000.jpg", size=7, version="9"))
    [changed] = await desk.claim()
    assert changed.next_step is None


async def test_a_step_of_a_batch_that_another_run_took_is_not_taken(database: Database) -> None:
    """A process that stood still for longer than its lease wakes up: it tells no server twice."""
    async with open_desk(database) as first:
        batch, ids = await pack(first)
        old = book_of(first)
        await old.note_uploaded(batch.id, "file-1")
        await first.runs.close(first.run, "died", {}, now_ms=NOW)  # type: ignore[arg-type]
        async with open_desk(database) as second:
            new = book_of(second)
            assert len(await new.adopt("acc", now_ms=NOW)) == 1
            with pytest.raises(BatchTaken, match="another run took batch"):
                await old.note_submitting(batch.id)
            assert await old.discard(batch.id, now_ms=NOW) == 0
            assert await old.lose(batch.id, now_ms=NOW) == 0
            assert set(await new.find_lines(batch.id, ids)) == set(ids)
            assert (await new.note_submitting(batch.id)).state is BatchState.SUBMITTING
            assert await new.discard(batch.id, now_ms=NOW) == 2
            assert await check_ledger(database) == []


async def test_lines_are_found_in_their_own_batch_alone(desk: Desk) -> None:
    batch, ids = await pack(desk)
    other = await open_batch(desk)
    assert await book_of(desk).find_lines(other.id, ids) == {}
    assert await book_of(desk).count_lines(other.id) == 0
    assert await book_of(desk).count_lines(batch.id) == 2
    await book_of(desk).discard(batch.id, now_ms=NOW)
    await book_of(desk).discard(other.id, now_ms=NOW)


async def test_what_is_forgotten_waits_again_and_stays_on_record_as_lost(desk: Desk) -> None:
    batch, ids = await pack(desk)
    book = book_of(desk)
    await book.note_submitted(batch.id, "batch_1", now_ms=NOW)
    assert await book.lose(batch.id, now_ms=NOW, message="gone") == 2
    over = await book.read(batch.id)
    assert (over.state, over.ended_at_ms, over.message) == (BatchState.FORGOTTEN, NOW, "gone")
    assert await desk.states() == {"pending": 2}
    assert await book.find_lines(batch.id, ids) == {}
    spending = await desk.reader.sum_spending()
    assert (spending.requests, spending.lost) == (2, 2)
    assert spending.maybe_billed_nanos == 2 * WORST
    assert await check_ledger(desk.database) == []
    desk.queue.look_again()
    assert len(await desk.claim()) == 2


async def test_who_looks_sees_what_is_under_way_and_who_looks_after_it(database: Database) -> None:
    async with open_desk(database) as first:
        batch, _ = await pack(first)
        [view] = await first.reader.list_batches(NOW)
        assert (view.batch.id, view.lines, view.batch.lines) == (batch.id, 2, 0)
        assert (view.keeper or "").startswith(f"run {first.run} (process ")
        await book_of(first).seal(batch.id, SEALED)
        await first.runs.close(first.run, "finished", {}, now_ms=NOW)  # type: ignore[arg-type]
        [view] = await first.reader.list_batches(NOW)
        assert (view.keeper, view.lines) == (None, 2)
        await book_of(first).discard(batch.id, now_ms=NOW)
        assert await first.reader.list_batches(NOW) == []
        [named] = await view_batches(database, now_ms=NOW, ids=[batch.id])
        [over] = await view_batches(database, now_ms=NOW, has_over=True)
        assert named == over
        assert over.batch.state is BatchState.DISCARDED
