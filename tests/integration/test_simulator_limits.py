"""The server's limits, plan, capacity and outages, as a client meets them."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from pictures import jpeg
from test_simulator_server import ask, wait_for_inflight

from pipeline.domain.errors import ConfigurationError
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.exchange import Thought, think
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

PICTURES = [jpeg(64, 48, seed=number) for number in range(8)]
REMAINING = "x-ratelimit-remaining-requests"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Asks one server and keeps status, headers and body of the last answer."""

    def __init__(self, session: aiohttp.ClientSession, simulator: Simulator) -> None:
        self.session = session
        self.simulator = simulator
        self.headers: dict[str, str] = {}
        self.body = b""

    async def ask(self, picture: bytes = PICTURES[0], *, key: str = "k", **more: Any) -> int:
        async with self.session.post(
            f"{self.simulator.base_url}/chat/completions",
            json={**ask(picture), **more},
            headers={"Authorization": f"Bearer {key}"},
        ) as answer:
            self.headers = {name.lower(): value for name, value in answer.headers.items()}
            self.body = await answer.read()
            return answer.status

    async def change(self, **behavior: Any) -> int:
        url = f"{self.simulator.url}/__behavior"
        async with self.session.post(url, json=behavior) as answer:
            return answer.status

    async def read_books(self) -> dict[str, Any]:
        async with self.session.get(f"{self.simulator.url}/__books") as answer:
            return dict(await answer.json())


async def wait_for_verdicts(simulator: Simulator, count: int) -> None:
    with anyio.fail_after(5):
        # the server tells nobody what it has decided
        while simulator.books.let_through != count:  # noqa: ASYNC110 - see above
            await anyio.sleep(0.01)


async def test_refused_request_is_let_in_after_the_wait_it_was_told() -> None:
    clock = Clock()
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(requests_per_minute=2), clock=clock) as simulator,
    ):
        client = Client(session, simulator)
        assert [await client.ask() for _ in range(3)] == [200, 200, 429]
        assert client.headers["retry-after"] == "30"
        assert client.headers["retry-after-ms"] == "30000"
        assert (client.headers[REMAINING], client.headers["x-ratelimit-reset-requests"]) == (
            "0",
            "1m0s",
        )
        assert json.loads(client.body)["error"]["type"] == "requests"
        assert await client.ask(key="another") == 200
        clock.now += 29.9
        assert await client.ask() == 429
        clock.now += 0.1
        assert await client.ask() == 200
        books = await client.read_books()
    assert books["refused"] == books["refused_by"]["requests"] == 2
    assert (books["admitted"]["requests"], books["admitted"]["seconds"]) == (4, 30.0)
    assert books["by_fault"] == {}


async def test_input_and_most_output_are_drawn_beforehand() -> None:
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(tokens_per_minute=1000), clock=Clock()) as simulator,
    ):
        client = Client(session, simulator)
        assert await client.ask(max_tokens=500) == 200
        line = simulator.books.list_after(0)[0]
        assert line["reserved_tokens"] == line["input_tokens"] + 500
        left = 1000 - line["reserved_tokens"]
        assert client.headers["x-ratelimit-remaining-tokens"] == str(left)
        assert await client.ask(max_tokens=500) == 429
        assert json.loads(client.body)["error"]["type"] == "tokens"
        assert await client.ask(max_tokens=5000) == 429
        assert b"Request too large" in client.body
        assert "retry-after" not in client.headers


@pytest.mark.parametrize(
    ("behavior", "request_of", "status"),
    [
        ({"server_error": 1}, {}, 500),
        ({"bad_gateway": 1}, {}, 502),
        ({"error_in_200": 1}, {}, 200),
        ({"rate_limited": 1}, {}, 429),
        ({}, {"response_format": {"type": "yaml"}}, 400),
        ({}, {"model": "gpt-0"}, 404),
    ],
)
async def test_errors_carry_the_limits_too(
    behavior: dict[str, Any], request_of: dict[str, Any], status: int
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(requests_per_minute=60, **behavior), clock=Clock()) as simulator,
    ):
        client = Client(session, simulator)
        assert await client.ask(**request_of) == status
        is_html = client.headers["content-type"].startswith("text/html")
        assert is_html == (status == 502)
        # only who was let in has drawn
        assert client.headers[REMAINING] == ("60" if status in {400, 404, 429} else "59")


async def test_silent_server_limits_but_says_nothing() -> None:
    behavior = Behavior(requests_per_minute=1, rate_headers=False)
    async with aiohttp.ClientSession() as session, Simulator(behavior) as simulator:
        client = Client(session, simulator)
        assert [await client.ask(), await client.ask()] == [200, 429]
        assert not [name for name in client.headers if "ratelimit" in name or "retry" in name]
        assert b"try again in" not in client.body


@pytest.mark.parametrize(("moment", "remaining"), [("admission", "58"), ("answer", "57")])
async def test_headers_tell_of_their_moment(moment: str, remaining: str) -> None:
    # the first answer waits until the second request has been let in
    behavior: Any = {"requests_per_minute": 60, "headers_at": moment}
    slow = Behavior(**behavior, latency_ms=1000)
    async with aiohttp.ClientSession() as session, Simulator(slow, clock=Clock()) as simulator:
        first, second = Client(session, simulator), Client(session, simulator)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.ask)
            tasks.start_soon(second.ask, PICTURES[1])
            await wait_for_inflight(simulator, 2)
            simulator.behavior = Behavior(**behavior)
            tasks.start_soon(Client(session, simulator).ask, PICTURES[2])
    told = sorted(client.headers[REMAINING] for client in (first, second))
    assert told[0] == remaining


async def test_limits_changed_in_mid_run_refill_nothing() -> None:
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(requests_per_minute=100), clock=Clock()) as simulator,
    ):
        client = Client(session, simulator)
        assert await client.ask() == 200
        assert await client.change(requests_per_minute=3) == 200
        assert await client.change(requests_per_minute=100) == 200
        assert [await client.ask() for _ in range(4)] == [200, 200, 200, 429]


async def test_outage_comes_and_goes_in_mid_run() -> None:
    async with aiohttp.ClientSession() as session, Simulator() as simulator:
        client = Client(session, simulator)
        assert await client.ask() == 200
        for outage, status in (("bad_key", 401), ("no_model", 404), ("spend_limit", 429)):
            assert await client.change(refuse_all=outage) == 200
            assert await client.ask() == status
        assert await client.change() == 200
        assert await client.ask() == 200
        books = await client.read_books()
    assert books["by_fault"] == {"bad_key": 1, "no_model": 1, "spend_limit": 1}
    assert books["delivered"]["requests"] == books["answered"] == 2


async def test_latency_is_that_of_the_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[int] = []

    def answer_at_once(_: Behavior, *, in_flight: int) -> float:
        met.append(in_flight)
        return 0.0

    monkeypatch.setattr("pipeline.simulator.asking.overload_factor", answer_at_once)
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(hang=1)) as simulator,
        anyio.create_task_group() as tasks,
    ):
        client = Client(session, simulator)
        for picture in PICTURES[:3]:
            tasks.start_soon(client.ask, picture)
        await wait_for_inflight(simulator, 3)
        simulator.behavior = Behavior(latency_ms=60_000, capacity=1)
        with anyio.fail_after(5):
            assert await client.ask(PICTURES[4]) == 200
        tasks.cancel_scope.cancel()
    assert met[-1] == 4


async def test_request_sent_again_is_not_thought_about_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thoughts: list[bytes] = []

    def count(body: bytes, *args: Any, **more: Any) -> Thought:
        thoughts.append(body)
        return think(body, *args, **more)

    monkeypatch.setattr("pipeline.simulator.asking.think", count)
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(server_error=0.5)) as simulator,
    ):
        for picture in (0, 0, 1, 0, 1):
            await Client(session, simulator).ask(PICTURES[picture])
    assert len(thoughts) == len(set(thoughts)) == 2


async def test_plan_strikes_the_requests_it_names(tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    lines: list[dict[str, Any]] = [
        {"request": 2, "fault": "server_error"},
        {"request": 3, "fault": "slow_down"},
        {"time": 4, "fault": "refused"},
    ]
    plan.write_text("\n".join(map(json.dumps, lines)))
    async with (
        aiohttp.ClientSession() as session,
        Simulator(Behavior(fault_plan=plan)) as simulator,
    ):
        client = Client(session, simulator)
        assert [await client.ask() for _ in range(4)] == [200, 500, 429, 200]
        assert simulator.books.list_after(3)[0]["fault"] == "refused"
        assert await client.change(fault_plan=str(tmp_path / "none")) == 400
        assert await client.ask() == 200


async def test_wrong_plan_is_told_before_the_server_opens(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Simulator(Behavior(fault_plan=tmp_path / "none"))


async def test_reset_answer_was_billed_but_not_delivered() -> None:
    async with aiohttp.ClientSession() as session, Simulator(Behavior(reset=1)) as simulator:
        with pytest.raises(aiohttp.ClientError):
            await Client(session, simulator).ask()
        await wait_for_inflight(simulator, 0)
        books = simulator.books.summarize()
    assert books["undelivered"]["requests"] == 1
    assert books["undelivered"]["cost_nano"] == books["cost_nano"]["sim-a"] > 0
    assert (books["by_status"], books["answered"]) == ({"none": 1}, 0)


async def test_slow_answer_is_delivered_to_who_waits_and_lost_on_who_leaves() -> None:
    behavior = Behavior(slow_body=1, slow_body_ms=10)
    async with aiohttp.ClientSession() as session, Simulator(behavior) as simulator:
        client = Client(session, simulator)
        assert await client.ask() == 200
        assert json.loads(client.body)["choices"]
        simulator.behavior = Behavior(slow_body=1, slow_body_ms=60_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.ask)
            await wait_for_verdicts(simulator, 2)
            tasks.cancel_scope.cancel()
        await wait_for_inflight(simulator, 0)
        books = simulator.books.summarize()
    assert (books["delivered"]["requests"], books["undelivered"]["requests"]) == (1, 1)
    assert books["bill_by_fault"]["slow_body"]["requests"] == 2
    assert books["pictures_answered"] == 1


async def test_bodies_that_lie_about_their_status() -> None:
    async with aiohttp.ClientSession() as session, Simulator(Behavior(bad_body=1)) as simulator:
        client = Client(session, simulator)
        assert await client.ask() == 200
        with pytest.raises(ValueError, match="line 1"):
            json.loads(client.body)
        await client.change(error_in_200=1)
        assert await client.ask() == 200
        assert json.loads(client.body)["error"]["code"] == 502
        books = await client.read_books()
    assert books["undelivered"]["requests"] == 1
    assert books["delivered"]["requests"] == books["answered"] == 0


async def test_request_sent_again_is_answered_the_same_under_each_seed() -> None:
    async with aiohttp.ClientSession() as session, Simulator() as simulator:
        client = Client(session, simulator)
        texts = []
        for seed in (0, 0, 1, 0):
            await client.change(seed=seed)
            for _ in range(2):
                await client.ask()
                texts.append(json.loads(client.body)["choices"][0]["message"]["content"])
    assert len(set(texts[:4] + texts[6:])) == len(set(texts[4:6])) == 1
    assert texts[0] != texts[4]
