"""The server under load, with faults, and at its end."""

import io
import socket
from collections import Counter
from typing import Any

import aiohttp
import anyio
import pybase64
import pytest
from pictures import jpeg

from pipeline.domain.errors import EnvironmentFault
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator, serve

pytestmark = pytest.mark.anyio

PICTURES = [jpeg(64, 48, seed=number) for number in range(16)]


def ask(picture: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{pybase64.b64encode(picture).decode()}"
    image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return {"model": "sim-a", "messages": [{"role": "user", "content": [image]}]}


async def post(session: aiohttp.ClientSession, simulator: Simulator, picture: bytes) -> str:
    """Status of the answer, or that it was cut."""
    try:
        async with session.post(
            f"{simulator.base_url}/chat/completions", json=ask(picture)
        ) as response:
            await response.read()
            return str(response.status)
    except aiohttp.ClientPayloadError:
        return "cut"


async def post_many(simulator: Simulator, *, rounds: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    async def ask_about(picture: bytes) -> None:
        for _ in range(rounds):
            seen[await post(session, simulator, picture)] += 1

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        anyio.create_task_group() as tasks,
    ):
        for picture in PICTURES:
            for _ in range(4):
                tasks.start_soon(ask_about, picture)
    return seen


FAULTY = Behavior(
    seed=3,
    latency_ms=20,
    latency_jitter_ms=20,
    rate_limited=0.1,
    server_error=0.1,
    cut_body=0.1,
    bad_json=0.1,
)


async def test_books_add_up_under_concurrent_requests_with_faults() -> None:
    async with Simulator(FAULTY) as simulator:
        seen = await post_many(simulator, rounds=4)
        await wait_for_inflight(simulator, 0)
        books = simulator.books.summarize()
        lines = simulator.books.list_after(0)
    assert books["requests"] == sum(seen.values()) == len(lines) == 256
    assert books["by_status"]["429"] == seen["429"] > 0
    assert books["by_status"]["500"] == seen["500"] > 0
    assert books["by_status"]["200"] == seen["200"] + seen["cut"]
    assert books["answered"] == seen["200"] - books["by_fault"]["bad_json"]
    assert books["pictures"] == 16
    assert 32 < books["max_inflight"] <= 64
    assert books["tokens"]["input"] == sum(line["input_tokens"] for line in lines)
    assert books["cost_nano"] == {"sim-a": sum(line["cost_nano"] or 0 for line in lines)}


async def wait_for_inflight(simulator: Simulator, count: int) -> None:
    with anyio.fail_after(5):
        # the server hears of a client's coming and leaving a moment later, and tells nobody
        while simulator.books.summarize()["inflight"] != count:  # noqa: ASYNC110 - see above
            await anyio.sleep(0.01)


async def test_faults_are_the_same_whatever_the_order() -> None:
    runs = []
    for _ in range(2):
        async with Simulator(Behavior(seed=3, server_error=0.4, rate_limited=0.2)) as simulator:
            await post_many(simulator, rounds=2)
            lines = simulator.books.list_after(0)
            runs.append(Counter((line["sha256"], line["fault"]) for line in lines))
    assert runs[0] == runs[1]
    assert len({fault for _, fault in runs[0]}) == 3


async def test_pictures_sent_again_after_an_answer_are_counted() -> None:
    async with Simulator(Behavior(cut_body=1, max_faults_per_picture=1)) as simulator:
        async with aiohttp.ClientSession() as session:
            seen = [await post(session, simulator, PICTURES[0]) for _ in range(4)]
        assert seen == ["cut", "200", "200", "200"]
        assert simulator.books.sent_again == 2


async def test_behavior_and_books_are_controlled_over_http() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/__behavior", json={"server_error": 1}) as answer:
            assert (await answer.json())["server_error"] == 1
        assert await post(session, simulator, PICTURES[0]) == "500"
        async with session.post(f"{simulator.url}/__behavior", json={"hang": 2}) as answer:
            assert answer.status == 400
        async with session.get(f"{simulator.url}/__books") as answer:
            assert (await answer.json())["by_status"] == {"500": 1}
        async with session.get(f"{simulator.url}/__requests?after=0") as answer:
            lines = (await answer.json())["requests"]
            assert [line["fault"] for line in lines] == ["server_error"]
        async with session.post(f"{simulator.url}/__reset") as answer:
            assert (await answer.json())["requests"] == 0


async def test_large_bodies_are_read_and_larger_ones_refused() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        for size, status in ((50_000_000, 400), (70_000_000, 413)):
            url = f"{simulator.base_url}/responses"
            async with session.post(url, data=io.BytesIO(b" " * size)) as answer:
                assert answer.status == status
                assert "error" in await answer.json()


async def test_end_of_the_server_ends_hung_and_slow_requests() -> None:
    async with (
        aiohttp.ClientSession() as session,
        anyio.create_task_group() as tasks,
        Simulator(Behavior(hang=0.5, latency_ms=60_000)) as simulator,
    ):
        for picture in PICTURES:
            tasks.start_soon(expect_disconnect, session, simulator, picture)
        await wait_for_inflight(simulator, len(PICTURES))
    assert simulator.books.summarize()["by_status"] == {"none": len(PICTURES)}
    # slow ones were worth their money, hung ones were never begun
    hung = simulator.books.by_fault["hang"]
    billed = [line for line in simulator.books.list_after(0) if line["cost_nano"]]
    assert 0 < len(billed) == len(PICTURES) - hung < len(PICTURES)


async def expect_disconnect(
    session: aiohttp.ClientSession, simulator: Simulator, picture: bytes
) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with session.post(f"{simulator.base_url}/chat/completions", json=ask(picture)):
            pass


async def test_serving_ends_when_cancelled_and_frees_the_port() -> None:
    ready = anyio.Event()
    servers: list[Simulator] = []

    def remember(simulator: Simulator) -> None:
        servers.append(simulator)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve(Behavior(hang=1), on_ready=remember))
        await ready.wait()
        async with aiohttp.ClientSession() as session:
            tasks.start_soon(post, session, servers[0], PICTURES[0])
            await wait_for_inflight(servers[0], 1)
            tasks.cancel_scope.cancel()
    with socket.create_server(("127.0.0.1", servers[0].port)) as free:
        assert free


async def test_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match="another port"):
            async with Simulator(port=port):
                pass
