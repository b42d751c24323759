"""Runs in the batch lane against servers that say what is not so: real ledger, twisted answers."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch_bench import QUICK, bills, check, make_bench

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.batches import (
    BatchFault,
    BatchLine,
    BatchReport,
    RemoteState,
    Unanswered,
)
from pipeline.domain.errors import AskError, LineExpired, ProviderUnavailable, RequestRejected
from pipeline.providers.openai_batch import OpenAIBatchDesk
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

Twist = pytest.MonkeyPatch


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Behavior(**QUICK)) as opened:  # type: ignore[arg-type]
        yield opened


def twist_lines(twist: Twist, change: Callable[[list[BatchLine]], list[BatchLine]]) -> None:
    """Have all that is read of a file pass through ``change``."""
    honest = OpenAIBatchDesk.read_lines

    async def read_lines(self: OpenAIBatchDesk, file_id: str, *, model: str) -> Any:
        for line in change([line async for line in honest(self, file_id, model=model)]):
            yield line

    twist.setattr(OpenAIBatchDesk, "read_lines", read_lines)


def twist_reports(twist: Twist, change: Callable[[BatchReport], BatchReport]) -> None:
    honest = OpenAIBatchDesk.read

    async def read(self: OpenAIBatchDesk, remote_id: str) -> BatchReport:
        return change(await honest(self, remote_id))

    twist.setattr(OpenAIBatchDesk, "read", read)


async def test_strange_custom_ids_harm_nothing(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    strange = ["9" * 30, "9" * 5000, "٣", "-1", "", "1e3", "0"]

    def add(lines: list[BatchLine]) -> list[BatchLine]:
        return [*(replace(lines[0], custom_id=one) for one in strange), *lines]

    twist_lines(monkeypatch, add)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 6)
    await check(bench)


async def test_a_line_of_another_batch_settles_nothing(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    """Each batch's file names the attempts of the others, too, and says that they expired."""

    def add(lines: list[BatchLine]) -> list[BatchLine]:
        ids = [int(line.custom_id) for line in lines]
        others = [str(i) for i in range(min(ids) - 20, max(ids) + 20) if i not in ids]
        return [
            *(Unanswered(custom_id=i, error=LineExpired("foreign")) for i in others),
            *lines,
        ]

    twist_lines(monkeypatch, add)
    bench = make_bench(tmp_path, simulator, 12, batch__max_requests=3)
    with anyio.fail_after(20):
        result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 12)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_an_answer_is_kept_though_its_line_comes_again_without_one(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    def add(lines: list[BatchLine]) -> list[BatchLine]:
        echo = [Unanswered(custom_id=line.custom_id, error=LineExpired("echo")) for line in lines]
        return [*lines, *lines, *echo]

    twist_lines(monkeypatch, add)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert result.document["images"]["tagged"] == 6
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_file_that_ends_early_is_read_again(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    reads = Counter[str]()

    def cut(lines: list[BatchLine]) -> list[BatchLine]:
        reads["all"] += 1
        return lines[:2] if reads["all"] == 1 else lines

    twist_lines(monkeypatch, cut)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 6)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


@pytest.mark.parametrize("state", [RemoteState.COMPLETED, RemoteState.CANCELLED])
async def test_a_batch_whose_files_come_late_is_read_when_they_are_there(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist, state: RemoteState
) -> None:
    looks = Counter[str]()

    def hide(report: BatchReport) -> BatchReport:
        if not report.state.is_over:
            return report
        looks[report.remote_id] += 1
        late = looks[report.remote_id] == 1
        return replace(report, state=state, output_file=None if late else report.output_file)

    twist_reports(monkeypatch, hide)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert result.document["images"]["tagged"] == 6
    assert set(bills(simulator).values()) == {1}


async def test_answers_of_an_ended_batch_that_nobody_finds_are_held_as_lost(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    looks = Counter[str]()

    def hide(report: BatchReport) -> BatchReport:
        if not report.state.is_over or (looks and report.remote_id not in looks):
            return report
        looks[report.remote_id] += 1
        return replace(report, state=RemoteState.EXPIRED, output_file=None)

    twist_reports(monkeypatch, hide)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        first = await bench.run()
        assert "was expired at the server" in str(first.pause)
        assert (await bench.run()).document["images"]["tagged"] == 6
    async with open_ledger(bench.plan().settings) as ledger:
        assert (await ledger.reader.sum_spending()).lost == 6
    await check(bench)


async def test_a_failed_batch_that_has_answers_is_collected(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    def fail(report: BatchReport) -> BatchReport:
        if not report.state.is_over:
            return report
        return replace(
            report,
            state=RemoteState.FAILED,
            faults=(BatchFault(code="token_limit_exceeded", message="too much"),),
        )

    twist_reports(monkeypatch, fail)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert result.document["images"]["tagged"] == 6
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_counts_that_cannot_be_harm_nothing(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    twist_reports(monkeypatch, lambda r: replace(r, completed=999_999, failed=999_999, total=0))
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(30):
        result = await bench.run()
    assert result.document["images"]["tagged"] == 6
    await check(bench)


async def test_a_full_server_that_names_no_limit_is_asked_now_and_then(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    """Others fill the quota: nothing fits, whatever its size; then there is room."""
    uploads, refused = Counter[str](), set[str]()
    honest = OpenAIBatchDesk.upload

    async def upload(self: OpenAIBatchDesk, file: Path, *, name: str) -> str:
        uploads["all"] += 1
        return await honest(self, file, name=name)

    def refuse(report: BatchReport) -> BatchReport:
        if len(refused) == 8 and report.remote_id not in refused:
            return report
        refused.add(report.remote_id)
        fault = BatchFault(code="token_limit_exceeded", message="too many tokens are enqueued")
        return BatchReport(
            remote_id=report.remote_id,
            state=RemoteState.FAILED,
            input_file=report.input_file,
            faults=(fault,),
        )

    monkeypatch.setattr(OpenAIBatchDesk, "upload", upload)
    twist_reports(monkeypatch, refuse)
    bench = make_bench(tmp_path, simulator, 4, batch__poll_s=0.02)
    with anyio.fail_after(40):
        result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 4)
    assert uploads["all"] < 12
    await check(bench)


async def test_a_server_that_makes_no_batch_makes_the_run_pause(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    calls = Counter[str]()

    async def create(*_: object, **__: object) -> BatchReport:
        calls["create"] += 1
        raise ProviderUnavailable("internal error", status=500, may_be_billed=True)

    monkeypatch.setattr(OpenAIBatchDesk, "create", create)
    bench = make_bench(tmp_path, simulator, 3)
    with anyio.fail_after(40):
        result = await bench.run()
    assert result.state == "paused"
    assert calls["create"] == 8
    monkeypatch.undo()
    assert (await bench.run()).document["images"]["done"] == 3
    await check(bench)


async def test_a_batch_whose_file_is_gone_is_packed_again(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    honest = OpenAIBatchDesk.create
    gone: list[str] = []

    async def create(self: OpenAIBatchDesk, input_file: str, *, token: str) -> BatchReport:
        if not gone:
            gone.append(input_file)
            raise RequestRejected("No such File object", status=404)
        return await honest(self, input_file, token=token)

    monkeypatch.setattr(OpenAIBatchDesk, "create", create)
    bench = make_bench(tmp_path, simulator, 3)
    with anyio.fail_after(20):
        first = await bench.run()
        assert (first.state, first.document["images"]["pending"]) == ("paused", 3)
        assert "is gone at the server" in str(first.pause)
        result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 3)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_batch_that_somebody_else_cancels_is_not_sent_again_at_once(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    simulator.behavior = Behavior(**{**QUICK, "batch_seconds": 1.0})
    cancelled = Counter[str]()
    honest = OpenAIBatchDesk.read

    async def read(self: OpenAIBatchDesk, remote_id: str) -> BatchReport:
        if not cancelled:
            cancelled["it"] += 1
            await self.cancel(remote_id)
        return await honest(self, remote_id)

    monkeypatch.setattr(OpenAIBatchDesk, "read", read)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert result.state == "paused"
    assert "cancelled" in str(result.pause)
    assert (await bench.run()).document["images"]["done"] == 6
    await check(bench)


async def test_a_gone_output_file_says_how_to_go_on(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    async def read_lines(*_: object, **__: object) -> AsyncIterator[BatchLine]:
        raise RequestRejected("no such file", status=404)
        yield

    monkeypatch.setattr(OpenAIBatchDesk, "read_lines", read_lines)
    bench = make_bench(tmp_path, simulator, 6)
    with anyio.fail_after(20):
        result = await bench.run()
    assert result.state == "paused"
    assert "batch forget 1 --force" in str(result.pause)


@pytest.mark.parametrize(
    "error",
    [
        RequestRejected("Invalid schema", status=400),
        ProviderUnavailable("internal error", status=500),
    ],
    ids=["rejected", "failed"],
)
async def test_a_fault_of_all_lines_makes_the_run_pause_and_fails_no_picture(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist, error: AskError
) -> None:
    twist_lines(
        monkeypatch,
        lambda lines: [Unanswered(custom_id=line.custom_id, error=error) for line in lines],
    )
    bench = make_bench(tmp_path, simulator, 12, limits__max_attempts=1)
    with anyio.fail_after(20):
        result = await bench.run()
    assert (result.state, result.document["images"]["pending"]) == ("paused", 12)
    assert result.document["batches"] == {"open": 0, "over": 1}
    await check(bench)


async def test_a_batch_made_twice_because_a_list_lags_goes_on_once(
    tmp_path: Path, simulator: Simulator, monkeypatch: Twist
) -> None:
    simulator.behavior = Behavior(**{**QUICK, "batch_seconds": 3.0}, lost_batch_creates=1.0)
    lists = Counter[str]()
    honest = OpenAIBatchDesk.list_batches

    async def list_batches(self: OpenAIBatchDesk) -> AsyncIterator[BatchReport]:
        lists["all"] += 1
        if lists["all"] > 2:
            async for report in honest(self):
                yield report

    monkeypatch.setattr(OpenAIBatchDesk, "list_batches", list_batches)
    bench = make_bench(tmp_path, simulator, 4)
    with anyio.fail_after(30):
        result = await bench.run()
    assert result.document["images"]["tagged"] == 4
    assert any("twice" in text for text in result.document["warnings"])
    assert sum(bills(simulator).values()) < 8
    await check(bench)
