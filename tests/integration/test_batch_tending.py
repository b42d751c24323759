"""Ending and forgetting batches in every state, on a real ledger, at a server that is scripted."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledgers import INFO, NOW, Desk, make_refs, make_terms, open_desk, open_sqlite

from pipeline.domain.batches import BatchFault, BatchReport, BatchState, RemoteState
from pipeline.domain.errors import RequestRejected, ServerDown, TransportError, UsageError
from pipeline.engine.batch.courier import Address, Courier
from pipeline.engine.batch.tending import Fate, Tending, ask_again, lose
from pipeline.engine.stages import Clock
from pipeline.ledger.batch_overview import BatchView
from pipeline.ledger.batches import Batch, BatchBook, BatchPlace, Sealed
from pipeline.ledger.facts import Facts
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio

REPORT = BatchReport(
    remote_id="batch_1", state=RemoteState.IN_PROGRESS, input_file="file-1", total=2, completed=1
)


@dataclass
class ScriptedDesk:
    """Knows one batch, or none."""

    report: BatchReport | None = REPORT
    after_cancel: RemoteState = RemoteState.CANCELLING
    is_listed: bool = True
    fault: Exception | None = None
    account: str = "acc"
    path: str = "/v1/chat/completions"
    cancelled: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def read(self, remote_id: str) -> BatchReport:
        if self.fault is not None:
            raise self.fault
        if self.report is None:
            raise RequestRejected(f"No batch found with id {remote_id}")
        return self.report

    async def cancel(self, remote_id: str) -> BatchReport:
        self.cancelled.append(remote_id)
        assert self.report is not None
        self.report = replace(self.report, state=self.after_cancel)
        return self.report

    async def delete_file(self, file_id: str) -> None:
        self.deleted.append(file_id)

    async def list_batches(self) -> AsyncIterator[BatchReport]:
        if self.report is not None and self.is_listed:
            yield self.report


@dataclass
class Hours:
    """A monotonic clock on which an hour passes between two looks."""

    seconds: float = 0.0

    def read(self) -> float:
        self.seconds += 3_600
        return self.seconds


@dataclass
class Scene:
    desk: Desk
    book: BatchBook
    server: ScriptedDesk
    tending: Tending
    batch: Batch


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_sqlite(tmp_path) as database, open_desk(database) as desk:
        book = BatchBook(database, desk.run)
        server = ScriptedDesk()
        clock = Clock(
            now=lambda: datetime.fromtimestamp(NOW / 1000, UTC),
            monotonic=Hours().read,
            chance=lambda: 0.0,
        )
        address = Address(name="main", desk=server, poll_seconds=0.01, keeps_files=False)  # type: ignore[arg-type]
        courier = Courier(address, book=book, clock=clock, patience_seconds=1.0)
        batch = await pack(desk, book, tmp_path)
        yield Scene(desk, book, server, Tending(courier, book=book, clock=clock), batch)
        assert await check_ledger(database) == []


async def pack(desk: Desk, book: BatchBook, folder: Path) -> Batch:
    await desk.record(*make_refs(2))
    place = BatchPlace(
        version_id=desk.assignment.version_id, account="acc", endpoint="main",
        path="/v1/chat/completions", model="sim-1", folder=folder,
    )  # fmt: skip
    batch = await book.open(place, now_ms=NOW)
    for job in await desk.claim(2):
        await desk.settler.open_attempt(
            job,
            b"key %d" % job.id,
            NOW,
            make_terms(batch_id=batch.id),
            facts=Facts(sha256=b"%032d" % job.id, info=INFO),
        )
    batch.file.write_text("lines")
    return await book.seal(batch.id, Sealed(sha256=b"f" * 32, lines=2, bytes=5, tokens=9))


async def submit(scene: Scene) -> Batch:
    await scene.book.note_uploaded(scene.batch.id, "file-1")
    return await scene.book.note_submitted(scene.batch.id, "batch_1", now_ms=NOW)


async def test_what_was_not_submitted_is_given_up_with_its_files(scene: Scene) -> None:
    uploaded = await scene.book.note_uploaded(scene.batch.id, "file-1")
    done = await scene.tending.cancel(uploaded)
    assert (done.fate, done.freed, done.batch.state) == (Fate.GIVEN_UP, 2, BatchState.DISCARDED)
    assert (scene.server.deleted, scene.server.cancelled) == (["file-1"], [])
    assert not scene.batch.file.exists()
    assert (await scene.desk.reader.sum_spending()).requests == 0


async def test_what_is_at_the_server_is_ended_there(scene: Scene) -> None:
    done = await scene.tending.cancel(await submit(scene))
    assert (done.fate, done.batch.completed, scene.server.cancelled) == (
        Fate.ENDING, 1, ["batch_1"],
    )  # fmt: skip
    assert done.batch.state is BatchState.SUBMITTED
    assert await scene.desk.states() == {"leased": 2}


async def test_what_is_over_is_not_ended_again(scene: Scene) -> None:
    scene.server.report = replace(REPORT, state=RemoteState.COMPLETED, completed=2)
    done = await scene.tending.cancel(await submit(scene))
    assert (done.fate, scene.server.cancelled) == (Fate.ENDED, [])


async def test_what_the_server_refused_was_never_worked_on(scene: Scene) -> None:
    fault = BatchFault(code="invalid", message="line 1 is no JSON")
    scene.server.report = replace(REPORT, state=RemoteState.FAILED, completed=0, faults=(fault,))
    done = await scene.tending.cancel(await submit(scene))
    assert (done.fate, done.batch.message) == (
        Fate.GIVEN_UP, "the server refused it: line 1 is no JSON",
    )  # fmt: skip


@pytest.mark.parametrize("is_listed", [True, False])
async def test_whether_it_was_submitted_is_found_out_first(scene: Scene, is_listed: bool) -> None:
    scene.server.is_listed = is_listed
    await scene.book.note_uploaded(scene.batch.id, "file-1")
    doubtful = await scene.book.note_submitting(scene.batch.id)
    done = await scene.tending.cancel(doubtful)
    assert done.fate is (Fate.ENDING if is_listed else Fate.GIVEN_UP)
    assert scene.server.cancelled == (["batch_1"] if is_listed else [])


async def test_what_the_server_does_not_know_is_told_and_left(scene: Scene) -> None:
    scene.server.report = None
    done = await scene.tending.cancel(await submit(scene))
    assert (done.fate, "No batch found" in done.told) == (Fate.UNKNOWN, True)
    assert done.batch.state is BatchState.SUBMITTED


async def test_waiting_ends_with_the_batch_or_with_the_time_it_may_take(scene: Scene) -> None:
    looks: list[int] = []
    ending = await scene.tending.cancel(await submit(scene))
    [late] = await scene.tending.wait([ending], lambda now: looks.append(len(now)))
    assert (late.fate, looks) == (Fate.ENDING, [1])
    over = replace(ending, fate=Fate.ENDED)
    assert await scene.tending.wait([over], lambda now: looks.append(len(now))) == [over]
    assert looks == [1]


async def test_what_the_server_knows_is_not_forgotten(scene: Scene) -> None:
    batch = await submit(scene)
    with pytest.raises(UsageError, match=r"still knows batch 1 .*1 of 2 answered"):
        await scene.tending.forget(batch)
    assert await scene.desk.states() == {"leased": 2}


async def test_what_it_does_not_know_waits_again_and_may_have_been_billed(scene: Scene) -> None:
    batch = await submit(scene)
    scene.server.report = None
    done = await scene.tending.forget(batch)
    assert (done.fate, done.freed, done.batch.state) == (Fate.FORGOTTEN, 2, BatchState.FORGOTTEN)
    spending = await scene.desk.reader.sum_spending()
    assert (spending.lost, spending.maybe_billed_nanos > 0) == (2, True)


async def test_a_server_that_does_not_answer_knows_it_perhaps(scene: Scene) -> None:
    scene.server.fault = TransportError("no route")
    with pytest.raises(ServerDown):
        await scene.tending.forget(await submit(scene))
    assert await scene.desk.states() == {"leased": 2}


async def test_by_force_nothing_that_was_not_sent_counts_as_billed(scene: Scene) -> None:
    done = await lose(scene.batch, scene.book, now_ms=NOW, message="by force")
    assert (done.fate, done.freed) == (Fate.GIVEN_UP, 2)
    assert (await scene.desk.reader.sum_spending()).lost == 0


async def test_a_look_puts_nothing_on_record(scene: Scene) -> None:
    view = BatchView(batch=await submit(scene), lines=2, keeper=None)
    seen = await ask_again(view, scene.server)  # type: ignore[arg-type]
    assert (seen.batch.completed, seen.batch.remote_state) == (1, RemoteState.IN_PROGRESS)
    assert (await scene.book.read(scene.batch.id)).completed == 0
    scene.server.account = "other"
    assert await ask_again(view, scene.server) == view  # type: ignore[arg-type]
