"""Runs against a server with limits: they are kept, learned from what it says, and waited for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from engines import Bench
from pictures import jpeg

from pipeline.engine.tagging import RunResult
from pipeline.ledger.runs import RunState
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.books import LogLine
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000
FEW = 4
"""In flight at once: where more are let in beside one that is refused, no limit is behind it."""
REQUEST_TOKENS = 700
"""More than one request here is counted for: about 100 of input, and 500 that it may answer."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, flags={"provider.model": "gpt-5.4-mini", "limits.max_concurrency": 16})


@asynccontextmanager
async def serve(bench: Bench, *, pictures: int, behavior: Behavior) -> AsyncIterator[Simulator]:
    for number in range(pictures):
        bench.put(f"{number:03}.jpg", jpeg(64, 48, seed=number))
    async with Simulator(behavior) as server:
        bench.flags["provider.base_url"] = server.base_url
        yield server


def plan_refusal(bench: Bench, *, request: int) -> Path:
    """Of that request only, as one too many."""
    path = bench.folder / "plan.jsonl"
    path.write_text(f'{{"request": {request}, "fault": "rate_limited"}}\n')
    return path


def list_arrivals(server: Simulator) -> list[LogLine]:
    return sorted(server.books.log, key=lambda line: line.when)


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 1_200},
        {"tokens_per_minute": 1_200 * REQUEST_TOKENS},
        {"requests_per_minute": 2_400, "project_tokens_per_minute": 1_200 * REQUEST_TOKENS},
    ],
    ids=["requests", "tokens", "project"],
)
async def test_a_small_bucket_that_is_told_of_is_overdrawn_once_at_most(
    bench: Bench, limits: dict[str, int]
) -> None:
    behavior = Behavior(bucket_s=0.5, latency_ms=20, latency_jitter_ms=40, **limits)  # type: ignore[arg-type]
    async with serve(bench, pictures=50, behavior=behavior) as server:
        result = await bench.run()
        assert result.document["images"]["done"] == 50
        assert server.books.refused_by.total() <= 1
        assert server.books.sent_again == 0


async def test_a_rate_that_is_set_is_kept_where_the_server_tells_none(bench: Bench) -> None:
    bench.flags |= {"limits.requests_per_minute": 1_200, "limits.burst_s": 0.25}
    behavior = Behavior(requests_per_minute=1_200, bucket_s=0.5, rate_headers=False, latency_ms=20)
    async with serve(bench, pictures=45, behavior=behavior) as server:
        result = await bench.run()
        assert result.document["images"]["done"] == 45
        assert server.books.refused_by.total() == 0
        arrivals = list_arrivals(server)
        # the bucket holds five, so forty come at twenty a second
        assert arrivals[-1].when - arrivals[0].when >= 40 / 20 - 0.25


async def test_one_refusal_with_a_wait_holds_all(bench: Bench) -> None:
    bench.flags["limits.max_concurrency"] = FEW
    behavior = Behavior(
        fault_plan=plan_refusal(bench, request=12), retry_after_ms=1_000, latency_ms=20
    )
    async with serve(bench, pictures=40, behavior=behavior) as server:
        result = await bench.run()
        assert result.document["images"]["done"] == 40
        arrivals = list_arrivals(server)
        refused = next(line for line in arrivals if line.status == 429)
        since = [line.when - refused.when for line in arrivals if line.when > refused.when]
        # what was on its way before the refusal was read may still arrive
        assert [seconds for seconds in since if 0.4 < seconds < 1.0] == []
        assert sum(seconds < 1.0 for seconds in since) <= FEW
        assert sum(seconds >= 1.0 for seconds in since) >= 12


async def test_an_hour_of_waiting_ends_when_the_run_is_stopped(bench: Bench) -> None:
    bench.flags["limits.max_concurrency"] = FEW
    behavior = Behavior(
        fault_plan=plan_refusal(bench, request=6), retry_after_ms=HOUR_MS, latency_ms=5
    )
    results: list[RunResult] = []
    async with (
        serve(bench, pictures=40, behavior=behavior) as server,
        bench.open(None) as (tagging, _),
        anyio.create_task_group() as group,
    ):

        async def run() -> None:
            results.append(await tagging.run())

        with anyio.fail_after(30):
            group.start_soon(run)
            while not server.books.by_fault["rate_limited"]:  # noqa: ASYNC110  the server tells nobody
                await anyio.sleep(0.01)
            await anyio.sleep(0.3)  # what was on its way settles, and nothing follows
            assert not results
            sent = server.books.requests
            tagging.pool.stop()
            while not results:  # noqa: ASYNC110  within the time to fail, unlike the group
                await anyio.sleep(0.01)
    assert server.books.requests == sent < 40
    assert results[0].state is RunState.INTERRUPTED
    images = results[0].document["images"]
    assert images["done"] + images["pending"] == 40
    assert images["failed"] == images["leased"] == 0
