"""Runs in the batch lane: real ledger, real pictures, a simulator that works on batches."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest
from batch_bench import QUICK, bills, check, make_bench
from pictures import jpeg

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.errors import BatchRefused
from pipeline.providers.openai_batch import OpenAIBatchDesk
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Behavior(**QUICK)) as opened:  # type: ignore[arg-type]
        yield opened


async def test_a_library_is_tagged_by_batch_at_half_price(
    tmp_path: Path, simulator: Simulator
) -> None:
    bench = make_bench(tmp_path / "batch", simulator)
    result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 12)
    assert result.document["requests"]["sent"] == 12
    one_by_one = make_bench(tmp_path / "online", simulator, provider__service_tier="default")
    dearer = await one_by_one.run()
    batch, full = (
        sum(int(float(str(record["cost_usd"])) * 1e9 + 0.5) for record in found.records())
        for found in (bench, one_by_one)
    )
    assert 2 * batch == full
    assert dearer.document["cost_usd"] != "0"
    await check(bench)


async def test_only_lines_that_failed_are_sent_again(tmp_path: Path, simulator: Simulator) -> None:
    simulator.behavior = Behavior(**QUICK, batch_line_errors=0.4, max_faults_per_picture=1)
    bench = make_bench(tmp_path, simulator, 20)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 20
    assert 20 < result.document["requests"]["sent"] < 40
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_batches_wait_for_room_at_the_server(tmp_path: Path, simulator: Simulator) -> None:
    simulator.behavior = Behavior(**QUICK, batch_enqueued_tokens=3_000)
    bench = make_bench(tmp_path, simulator, 20, batch__max_requests=5)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 20
    assert result.document["requests"]["sent"] == 20
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_batch_larger_than_the_quota_is_split(tmp_path: Path, simulator: Simulator) -> None:
    simulator.behavior = Behavior(**QUICK, batch_enqueued_tokens=1_500)
    bench = make_bench(tmp_path, simulator, 20)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 20
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_what_expired_is_sent_again_and_the_rest_is_kept(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**QUICK, stalled_batches=1, batch_window_s=1.5)
    bench = make_bench(tmp_path, simulator, 12)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 12
    assert result.document["requests"]["sent"] == 18
    assert set(bills(simulator).values()) == {1}
    await check(bench)


@pytest.mark.parametrize(
    "faults", [{"lost_batch_creates": 1.0}, {"failed_batch_calls": 0.15}], ids=["lost", "failed"]
)
async def test_nothing_is_submitted_twice_whatever_answer_is_lost(
    tmp_path: Path, simulator: Simulator, faults: dict[str, float]
) -> None:
    simulator.behavior = Behavior(**QUICK, **faults)  # type: ignore[arg-type]
    bench = make_bench(tmp_path, simulator, 12, batch__max_requests=4)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 12
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_run_that_is_stopped_leaves_its_batches_to_the_next(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**{**QUICK, "batch_seconds": 3.0})
    bench = make_bench(tmp_path, simulator, 12, batch__max_requests=6)
    with anyio.fail_after(30):
        async with bench.open(None) as (tagging, _), anyio.create_task_group() as group:

            async def stop_when_submitted() -> None:
                while tagging.tally.requests < 12:  # noqa: ASYNC110  the tally has no event
                    await anyio.sleep(0.01)
                tagging.pool.stop()

            group.start_soon(stop_when_submitted)
            result = await tagging.run()
    assert (result.state, result.document["images"]["leased"]) == ("interrupted", 12)
    again = await bench.run()
    assert (again.state, again.document["images"]["tagged"]) == ("finished", 12)
    assert again.document["requests"]["sent"] == 0
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_who_does_not_wait_collects_with_the_same_command(
    tmp_path: Path, simulator: Simulator
) -> None:
    bench = make_bench(tmp_path, simulator, 12, batch__wait=False, batch__max_requests=6)
    states = []
    for _ in range(100):
        result = await bench.run()
        states.append(result.state)
        if result.state != "paused":
            break
        assert "2 batches" in str(result.pause) or "1 batch " in str(result.pause)
        await anyio.sleep(0.1)
    assert (states[0], states[-1]) == ("paused", "finished")
    assert result.document["images"]["done"] == 12
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_run_one_by_one_collects_what_batches_brought(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**{**QUICK, "batch_seconds": 3.0})
    bench = make_bench(tmp_path, simulator, 8, batch__wait=False)
    assert (await bench.run()).state == "paused"
    bench.flags |= {"provider.service_tier": "default", "batch.wait": True}
    early = await bench.run()
    assert (early.state, early.document["images"]["leased"]) == ("finished", 8)
    assert any("8 pictures are in 1 batch" in text for text in early.document["warnings"])
    simulator.behavior = Behavior(**QUICK)
    await anyio.sleep(3.5)
    late = await bench.run()
    assert (late.document["images"]["done"], late.document["requests"]["sent"]) == (8, 0)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_an_answer_that_was_cut_is_asked_for_with_more_room(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**QUICK, cut_answer=1.0, max_faults_per_picture=1)
    bench = make_bench(tmp_path, simulator, 4)
    result = await bench.run()
    assert result.document["images"]["tagged"] == 4
    async with open_ledger(bench.plan().settings) as ledger:
        assert (await ledger.reader.count_steps())["more_room"] == 4
    await check(bench)


async def test_the_budget_holds_over_batches(tmp_path: Path, simulator: Simulator) -> None:
    bench = make_bench(tmp_path, simulator, 12, limits__budget_usd="0.002")
    result = await bench.run()
    assert result.state == "paused"
    assert "budget" in str(result.pause)
    spent = sum(line["cost_nano"] or 0 for line in simulator.books.list_after(0))
    assert 0 < spent <= 2_000_000
    bench.flags["limits.budget_usd"] = None
    assert (await bench.run()).document["images"]["done"] == 12
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_limit_holds_over_batches(tmp_path: Path, simulator: Simulator) -> None:
    bench = make_bench(tmp_path, simulator, 12)
    with anyio.fail_after(30):
        result = await bench.run(limit=5)
    assert result.document["images"]["tagged"] == 5
    await check(bench)


async def test_copies_and_broken_files_go_into_no_batch(
    tmp_path: Path, simulator: Simulator
) -> None:
    bench = make_bench(tmp_path, simulator, 4)
    for number in range(3):
        bench.put(f"copy{number}.jpg", jpeg(80, 60, seed=0))
    bench.put("broken.jpg", b"no picture")
    result = await bench.run()
    assert result.document["images"]["done"] == 7
    assert result.document["images"]["failed"] == 1
    assert result.document["requests"]["sent"] == 4
    await check(bench)


async def test_what_batches_would_answer_too_late_is_asked_one_by_one(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**QUICK, stalled_batches=1)
    soon = (datetime.now().astimezone() + timedelta(seconds=8)).isoformat()
    bench = make_bench(
        tmp_path, simulator, 12, provider__service_tier="auto", batch__finish_by=soon
    )
    result = await bench.run()
    assert datetime.now().astimezone() < datetime.fromisoformat(soon)
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 12)
    tiers = Counter(line["tier"] for line in simulator.books.list_after(0) if line["is_billed"])
    assert (tiers["batch"], tiers["flex"] + tiers["default"]) == (6, 6)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_limit_holds_when_batches_are_told_to_end(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**QUICK, stalled_batches=1, batch_cancelling_s=1.0)
    soon = (datetime.now().astimezone() + timedelta(seconds=6)).isoformat()
    bench = make_bench(
        tmp_path, simulator, 16, provider__service_tier="auto", batch__finish_by=soon
    )
    with anyio.fail_after(30):
        result = await bench.run(limit=6)
    assert result.document["images"]["tagged"] == 6
    assert sum(bills(simulator).values()) == 6


async def test_a_file_that_the_server_does_not_delete_stops_nothing(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete_file(*_: object) -> None:
        raise BatchRefused("405")

    monkeypatch.setattr(OpenAIBatchDesk, "delete_file", delete_file)
    bench = make_bench(tmp_path, simulator, 4)
    result = await bench.run()
    assert (result.state, result.document["images"]["tagged"]) == ("finished", 4)
    await check(bench)


async def test_figures_hold_for_batches_of_an_earlier_run(
    tmp_path: Path, simulator: Simulator
) -> None:
    slow = {**QUICK, "batch_validating_s": 1.0}
    simulator.behavior = Behavior(**slow, batch_enqueued_tokens=1_000)  # type: ignore[arg-type]
    bench = make_bench(tmp_path, simulator, 10, batch__wait=False, batch__max_requests=5)
    first = await bench.run()
    assert (first.state, first.document["batches"]) == ("paused", {"open": 2, "over": 0})
    assert first.document["requests"]["sent"] == 10
    await anyio.sleep(1.5)  # the server refuses one: both together are too much
    bench.flags["batch.wait"] = True
    second = await bench.run()
    assert (second.state, second.document["batches"]) == ("finished", {"open": 0, "over": 2})
    assert (second.document["images"]["done"], second.document["requests"]["sent"]) == (10, 5)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


@pytest.mark.parametrize("mode", ["no-wait", "live"])
async def test_copies_of_pictures_in_a_batch_hold_nobody_up(
    tmp_path: Path, simulator: Simulator, mode: str
) -> None:
    simulator.behavior = Behavior(**{**QUICK, "batch_seconds": 2.0})
    bench = make_bench(tmp_path, simulator, 4, batch__wait=False)
    if mode == "no-wait":
        bench.put("copy.jpg", jpeg(80, 60, seed=0))
    assert (await bench.run()).state == "paused"
    if mode == "live":
        bench.put("copy.jpg", jpeg(80, 60, seed=0))
        bench.flags |= {"provider.service_tier": "default", "batch.wait": True}
    with anyio.fail_after(10):
        early = await bench.run()
    assert any("1 image waits for an answer" in text for text in early.document["warnings"])
    await anyio.sleep(2.5)
    late = await bench.run()
    assert (late.document["images"]["done"], late.document["requests"]["sent"]) == (5, 0)
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_a_budget_that_is_used_up_ends_a_run_that_does_not_wait(
    tmp_path: Path, simulator: Simulator
) -> None:
    bench = make_bench(tmp_path, simulator, 6, limits__budget_usd="0.003", batch__wait=False)
    states = []
    with anyio.fail_after(60):
        while not states or states[-1] == "paused":
            states.append((await bench.run()).state)
            await anyio.sleep(0.5)
    assert states[-1] == "finished"
    assert set(bills(simulator).values()) == {1}
    await check(bench)


async def test_what_an_older_batch_holds_does_not_stop_a_run_with_a_budget(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**QUICK, stalled_batches=1)
    bench = make_bench(tmp_path, simulator, 6, batch__wait=False)
    assert (await bench.run()).state == "paused"
    bench.flags |= {"provider.service_tier": "default", "limits.budget_usd": "0.01"}
    bench.put("new.jpg", jpeg(200, 60, seed=99))
    with anyio.fail_after(20):
        result = await bench.run(limit=5)
    assert (result.document["images"]["tagged"], result.document["images"]["leased"]) == (1, 6)


async def test_a_batch_of_another_interface_is_left_and_told_of(
    tmp_path: Path, simulator: Simulator
) -> None:
    bench = make_bench(tmp_path, simulator, 3, batch__wait=False, provider__api="responses")
    assert (await bench.run()).state == "paused"
    await anyio.sleep(1.0)
    bench.flags |= {"provider.api": "chat", "batch.wait": True}
    other = await bench.run()
    assert any("another key, server or API" in text for text in other.document["warnings"])
    bench.flags |= {"provider.api": "responses"}
    assert (await bench.run()).document["images"]["done"] == 3
    assert set(bills(simulator).values()) == {1}
    await check(bench)
