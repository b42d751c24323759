"""The official SDK takes the simulator's files, uploads and batches for the API's."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import openai
import orjson
import pybase64
import pytest
from openai import AsyncOpenAI
from openai.types import Batch
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pictures import jpeg

from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

KEY = "sk-of-the-tests"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
AT_ONCE: dict[str, Any] = {
    "batch_validating_s": 0,
    "batch_seconds": 0,
    "batch_finalizing_s": 0,
    "batch_cancelling_s": 0,
}
OVER = {"completed", "failed", "expired", "cancelled"}


def make_body(number: int, *, model: str = "gpt-5.6-luna", endpoint: str = CHAT) -> dict[str, Any]:
    picture = pybase64.b64encode(jpeg(64, 48, seed=number)).decode()
    url = f"data:image/jpeg;base64,{picture}"
    if endpoint == CHAT:
        text: dict[str, Any] = {"type": "text", "text": "Tag this."}
        image: dict[str, Any] = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        return {"model": model, "messages": [{"role": "user", "content": [text, image]}]}
    text = {"type": "input_text", "text": "Tag this."}
    image = {"type": "input_image", "image_url": url, "detail": "low"}
    return {"model": model, "input": [{"role": "user", "content": [text, image]}]}


def make_line(number: int, *, endpoint: str = CHAT, **changes: Any) -> dict[str, Any]:
    body = make_body(number, endpoint=endpoint)
    line = {"custom_id": f"img-{number}", "method": "POST", "url": endpoint, "body": body}
    return line | changes


def make_lines(count: int, *, endpoint: str = CHAT) -> list[dict[str, Any]]:
    return [make_line(number, endpoint=endpoint) for number in range(count)]


def write(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def open_client(
    clock: Clock | None = None, **behavior: Any
) -> AsyncIterator[tuple[AsyncOpenAI, Simulator]]:
    chosen = Behavior(**AT_ONCE | behavior)
    async with (
        Simulator(chosen, clock=clock) if clock else Simulator(chosen) as simulator,
        AsyncOpenAI(
            api_key=KEY,
            base_url=simulator.base_url,
            max_retries=0,
            timeout=20,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client, simulator


async def upload(client: AsyncOpenAI, content: bytes) -> str:
    file = await client.files.create(file=("lines.jsonl", content), purpose="batch")
    return file.id


async def start(
    client: AsyncOpenAI,
    lines: Sequence[dict[str, Any]] | bytes,
    *,
    endpoint: Any = CHAT,
    **more: Any,
) -> Batch:
    content = lines if isinstance(lines, bytes) else write(lines)
    file_id = await upload(client, content)
    return await client.batches.create(
        input_file_id=file_id, endpoint=endpoint, completion_window="24h", **more
    )


async def wait_until(
    client: AsyncOpenAI, batch: Batch, is_reached: Callable[[Batch], bool]
) -> Batch:
    with anyio.fail_after(20):
        while not is_reached(batch):
            await anyio.sleep(0.005)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def wait_for(is_true: Callable[[], bool]) -> None:
    """For what the server does by itself and tells nobody."""
    with anyio.fail_after(20):
        while not is_true():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.001)


async def wait_for_end(client: AsyncOpenAI, batch: Batch) -> Batch:
    return await wait_until(client, batch, lambda one: one.status in OVER)


async def download(client: AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    content = await client.files.content(file_id)
    return [orjson.loads(line) for line in content.content.splitlines()]


async def run(
    client: AsyncOpenAI, lines: Sequence[dict[str, Any]] | bytes, *, endpoint: str = CHAT
) -> tuple[Batch, list[dict[str, Any]], list[dict[str, Any]]]:
    """A batch at its end, its output and its errors."""
    batch = await wait_for_end(client, await start(client, lines, endpoint=endpoint))
    output = await download(client, batch.output_file_id)
    return batch, output, await download(client, batch.error_file_id)


def list_ids(lines: Iterable[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def find_codes(batch: Batch) -> list[str | None]:
    return [fault.code for fault in batch.errors.data or []] if batch.errors else []


@pytest.mark.parametrize(("endpoint", "kind"), [(CHAT, ChatCompletion), (RESPONSES, Response)])
async def test_batch_is_answered_as_the_lines_would_be(endpoint: str, kind: Any) -> None:
    lines = make_lines(12, endpoint=endpoint)
    async with open_client() as (client, _):
        batch, output, errors = await run(client, lines, endpoint=endpoint)
        answers = {
            line["custom_id"]: kind.model_validate(line["response"]["body"]) for line in output
        }
        for line in lines:
            answer = answers[line["custom_id"]]
            if kind is ChatCompletion:
                chat = await client.chat.completions.create(**line["body"])
                assert answer.choices[0].message.content == chat.choices[0].message.content
                assert answer.usage == chat.usage
            else:
                response = await client.responses.create(**line["body"])
                assert answer.output_text == response.output_text
                assert answer.usage == response.usage
    assert batch.status == "completed"
    assert errors == []
    assert batch.error_file_id is None
    assert sorted(list_ids(output)) == sorted(list_ids(lines)) != list_ids(output)
    assert list_ids(output) != list_ids(lines)
    assert {line["response"]["status_code"] for line in output} == {200}
    assert all(line["id"].startswith("batch_req_") and line["error"] is None for line in output)


async def test_finished_batch_tells_all_about_itself() -> None:
    async with open_client() as (client, simulator):
        batch = await start(
            client,
            make_lines(3),
            metadata={"token": "t1"},
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (batch.status, batch.request_counts) == (
            "validating",
            openai.types.BatchRequestCounts(total=0, completed=0, failed=0),
        )
        batch = await wait_for_end(client, batch)
        output = await client.files.retrieve(str(batch.output_file_id))
        usage = simulator.books.usage
    assert batch.request_counts
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    assert batch.model == "gpt-5.6-luna"
    assert batch.metadata == {"token": "t1"}
    assert batch.expires_at == batch.created_at + 86_400
    assert None not in (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert (batch.failed_at, batch.cancelled_at, batch.expired_at) == (None, None, None)
    assert batch.usage
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (usage.input, usage.output)
    assert output.purpose == "batch_output"
    assert output.expires_at == output.created_at + 3600


@pytest.mark.parametrize("model", ["gpt-5.6-luna", "gpt-4o", "gpt-5.4-mini"])
async def test_batch_costs_exactly_half(model: str) -> None:
    lines = make_lines(6)
    for line in lines:
        line["body"]["model"] = model
    async with open_client() as (client, simulator):
        for line in lines:
            await client.chat.completions.create(**line["body"])
        single = simulator.books.delivered.cost_nano
        await run(client, lines)
        lanes = simulator.books.by_lane
    assert 0 < single == lanes[model, "default"].cost_nano == 2 * lanes[model, "batch"].cost_nano
    assert simulator.books.delivered.cost_nano * 2 == single * 3
    assert lanes[model, "default"].usage == lanes[model, "batch"].usage


async def test_books_know_how_often_each_line_was_billed() -> None:
    lines = [*make_lines(3), make_line(1, custom_id="copy")]
    async with open_client() as (client, simulator):
        await run(client, lines)
        await run(client, lines[:1])
        books = simulator.books
        shas = [line["sha256"] for line in books.list_after(0) if line["custom_id"] == "copy"]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{simulator.url}/__batches") as answer:
                shown = (await answer.json())["batches"]
            async with session.get(f"{simulator.url}/__books") as answer:
                told = (await answer.json())["batch_lines"]
    assert books.lines.billed == {"img-0": 2, "img-1": 1, "img-2": 1, "copy": 1}
    assert books.lines.list_repeated() == told["repeated"] == ["img-0"]
    assert sorted(books.lines.find_custom_ids(shas[0])) == ["copy", "img-1"]
    assert len(told["repeated_pictures"]) == 2
    assert (told["billed"], books.requests, books.max_inflight) == (5, 5, 0)
    assert [one["bill"]["requests"] for one in shown] == [1, 4]
    assert sum(one["bill"]["cost_nano"] for one in shown) == books.delivered.cost_nano


async def test_counts_grow_evenly_while_it_is_worked_on() -> None:
    clock = Clock()
    async with open_client(clock, batch_seconds=100) as (client, _):
        batch = await start(client, make_lines(10))
        seen = []
        for moment in (0, 35, 70):
            clock.now = 1000.0 + moment
            done = moment // 10
            batch = await wait_until(
                client,
                batch,
                lambda one, done=done: (  # type: ignore[misc]
                    one.status == "in_progress" and one.request_counts.completed >= done
                ),
            )
            seen.append(batch.request_counts.completed if batch.request_counts else None)
    assert seen == [0, 3, 7]


async def test_batch_goes_on_though_nobody_asks() -> None:
    async with open_client() as (client, simulator):
        await start(client, make_lines(3))
        await wait_for(lambda: simulator.batches[0].state.is_over)
    assert simulator.books.delivered.requests == 3


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"custom_id": "img-0"}, "duplicate_custom_id", "custom_id"),
        ({"custom_id": None}, "missing_required_parameter", "custom_id"),
        ({"method": "GET"}, "invalid_method", "method"),
        ({"method": None}, "missing_required_parameter", "method"),
        ({"url": RESPONSES}, "url_mismatch", "url"),
        ({"body": None}, "missing_required_parameter", "body"),
        ({"body": make_body(1, model="gpt-4o")}, "mismatched_model", "body.model"),
        ({"body": {}}, "missing_required_parameter", "body.model"),
    ],
)
async def test_one_wrong_line_fails_the_whole(
    change: dict[str, Any], code: str, param: str
) -> None:
    lines = [make_line(0), make_line(1, **change), make_line(2)]
    async with open_client() as (client, simulator):
        batch, output, errors = await run(client, lines)
    assert batch.status == "failed"
    assert batch.failed_at
    assert batch.errors
    assert [(f.code, f.line, f.param) for f in batch.errors.data or []] == [(code, 2, param)]
    assert (output, errors, simulator.books.requests) == ([], [], 0)


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"\n\n", ["empty_file"]),
        (write(make_lines(1)) + b"{\n[]\n", ["invalid_json_line"] * 2),
        (write([make_line(0, body={"model": "gpt-0"})]), ["model_not_found"]),
        (b"{}\n" * 1000, ["missing_required_parameter"] * 100),
        (b" " * 200_000_001, ["file_too_large"]),
    ],
)
async def test_unusable_input_fails_the_batch(content: bytes, codes: list[str]) -> None:
    async with open_client() as (client, _):
        batch, *_ = await run(client, content)
    assert (batch.status, find_codes(batch)) == ("failed", codes)


async def test_too_many_lines_fail_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.simulator.batch_input.MAX_LINES", 2)
    async with open_client() as (client, _):
        batch, *_ = await run(client, make_lines(3))
        fine, *_ = await run(client, make_lines(2))
    assert (find_codes(batch), fine.status) == (["too_many_tasks"], "completed")


async def test_input_that_is_not_there_fails_the_batch() -> None:
    async with open_client() as (client, _):
        batch = await client.batches.create(
            input_file_id="file-none", endpoint=CHAT, completion_window="24h"
        )
        batch = await wait_for_end(client, batch)
    assert batch.errors
    assert [fault.param for fault in batch.errors.data or []] == ["input_file_id"]


async def test_input_deleted_meanwhile_is_still_worked_on() -> None:
    async with open_client(batch_validating_s=0.05) as (client, _):
        batch = await start(client, make_lines(3))
        await client.files.delete(batch.input_file_id)
        batch = await wait_for_end(client, batch)
    assert batch.status == "completed"


@pytest.mark.parametrize(
    "change",
    [
        {"completion_window": "1h"},
        {"endpoint": "/v1/embeddings"},
        {"metadata": {f"k{number}": "" for number in range(17)}},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {"k" * 65: "v"}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
        {"extra_body": {"priority": 1}},
    ],
)
async def test_wrong_wishes_are_refused_at_once(change: dict[str, Any]) -> None:
    async with open_client() as (client, simulator):
        wish: dict[str, Any] = {
            "input_file_id": await upload(client, write(make_lines(1))),
            "endpoint": CHAT,
            "completion_window": "24h",
        }
        with pytest.raises(openai.BadRequestError):
            await client.batches.create(**wish | change)
    assert simulator.batches == []


async def test_failed_lines_are_in_the_error_file_and_cost_nothing() -> None:
    bad = make_line(9)
    bad["body"]["messages"][0]["content"][1]["image_url"]["url"] = "data:image/jpeg;base64,QUJD"
    async with open_client(batch_line_errors=0.5, seed=1) as (client, simulator):
        batch, output, errors = await run(client, [*make_lines(9), bad])
    statuses = {line["custom_id"]: line["response"]["status_code"] for line in errors}
    assert batch.status == "completed"
    assert statuses.pop("img-9") == 400
    assert set(statuses.values()) == {500}
    assert all(line["response"]["body"]["error"]["message"] for line in errors)
    assert {line["error"] for line in errors} == {None}
    assert sorted(list_ids(output + errors)) == [f"img-{number}" for number in range(10)]
    assert batch.request_counts
    assert batch.request_counts.completed == len(output) == simulator.books.delivered.requests > 0
    assert batch.request_counts.failed == len(errors)
    assert set(simulator.books.lines.billed) == set(list_ids(output))


async def test_batch_without_any_answer_has_no_output_file() -> None:
    async with open_client(batch_line_errors=1) as (client, _):
        batch, _, errors = await run(client, make_lines(2))
    assert (batch.status, batch.output_file_id, len(errors)) == ("completed", None, 2)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("rate_limited", 429),
        ("no_quota", 429),
        ("overloaded", 503),
        ("bad_gateway", 500),
        ("hang", 500),
        ("reset", 500),
        ("cut_body", 500),
        ("bad_body", 500),
    ],
)
async def test_faults_that_leave_no_answer_fail_the_line(fault: str, status: int) -> None:
    async with open_client(**{fault: 1}) as (client, simulator):
        _, output, errors = await run(client, make_lines(1))
    assert output == []
    assert errors[0]["response"]["status_code"] == status
    assert simulator.books.by_fault == {fault: 1}
    assert simulator.books.cost_nano == {}


@pytest.mark.parametrize(
    "fault", ["refused", "cut_answer", "wrong_schema", "bad_json", "slow_body", "error_in_200"]
)
async def test_faults_that_spoil_an_answer_leave_it_in_the_output(fault: str) -> None:
    async with open_client(**{fault: 1}) as (client, simulator):
        _, output, errors = await run(client, make_lines(1))
    assert errors == []
    assert output[0]["response"]["status_code"] == 200
    assert simulator.books.by_fault == {fault: 1}


async def test_line_sent_again_is_answered_after_its_share_of_faults() -> None:
    async with open_client(batch_line_errors=1, server_error=1, max_faults_per_picture=2) as (
        client,
        simulator,
    ):
        seen = [len((await run(client, make_lines(2)))[1]) for _ in range(4)]
    assert seen == [0, 0, 2, 2]
    assert simulator.books.sent_again == 2


async def test_faults_of_a_picture_are_those_of_the_other_lane() -> None:
    lines = make_lines(12)
    async with open_client(server_error=0.5, seed=4) as (client, simulator):
        _, _, errors = await run(client, lines)
    struck = []
    async with open_client(server_error=0.5, seed=4) as (client, _):
        for line in lines:
            try:
                await client.chat.completions.create(**line["body"])
            except openai.InternalServerError:
                struck.append(line["custom_id"])
    assert 0 < len(struck) < 12
    assert sorted(list_ids(errors)) == sorted(struck)
    assert simulator.books.by_fault == {"server_error": len(struck)}


async def test_expired_batch_delivers_what_was_answered() -> None:
    clock = Clock()
    async with open_client(clock, stalled_batches=1) as (client, simulator):
        batch = await start(client, make_lines(10))
        batch = await wait_until(
            client, batch, lambda one: bool(one.request_counts and one.request_counts.completed > 4)
        )
        assert batch.status == "in_progress"
        clock.now += 86_400
        batch = await wait_for_end(client, batch)
        output = await download(client, batch.output_file_id)
        errors = await download(client, batch.error_file_id)
    assert (batch.status, len(output), len(errors)) == ("expired", 5, 5)
    assert batch.expired_at
    assert batch.expired_at >= (batch.expires_at or 0)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert {line["response"] for line in errors} == {None}
    assert simulator.books.delivered.requests == 5
    assert set(list_ids(output)).isdisjoint(list_ids(errors))


async def test_cancelled_batch_delivers_what_was_answered() -> None:
    async with open_client(stalled_batches=1, stalled_at=0.25, batch_cancelling_s=0.02) as (
        client,
        simulator,
    ):
        batch = await start(client, make_lines(8))
        await wait_until(
            client, batch, lambda one: bool(one.request_counts and one.request_counts.completed > 1)
        )
        cancelling = await client.batches.cancel(batch.id)
        again = await client.batches.cancel(batch.id)
        batch = await wait_for_end(client, batch)
        output = await download(client, batch.output_file_id)
        errors = await download(client, batch.error_file_id)
        with pytest.raises(openai.ConflictError):
            await client.batches.cancel(batch.id)
        later, *_ = await run(client, make_lines(1))
    assert (cancelling.status, again.status, batch.status) == (
        "cancelling",
        "cancelling",
        "cancelled",
    )
    assert batch.cancelling_at
    assert batch.cancelled_at
    assert (len(output), len(errors)) == (2, 6)
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert later.status == "completed"
    assert simulator.books.delivered.requests == 3


async def test_batch_cancelled_before_it_began_has_no_files() -> None:
    async with open_client(batch_validating_s=3600) as (client, simulator):
        batch = await start(client, make_lines(2))
        await client.batches.cancel(batch.id)
        batch = await wait_for_end(client, batch)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)
    assert simulator.books.requests == 0


async def test_enqueued_tokens_over_the_quota_fail_a_batch_late() -> None:
    async with open_client(batch_enqueued_tokens=100, stalled_batches=1) as (client, simulator):
        first = await start(client, make_lines(3))
        first = await wait_until(client, first, lambda one: one.status == "in_progress")
        second, *_ = await run(client, make_lines(3))
        await client.batches.cancel(first.id)
        await wait_for_end(client, first)
        third, *_ = await run(client, make_lines(3))
        tokens = simulator.batches[0].enqueued_tokens
    assert 50 < tokens <= 100
    assert (second.status, find_codes(second)) == ("failed", ["token_limit_exceeded"])
    assert second.errors
    assert "Limit: 100 enqueued tokens" in str((second.errors.data or [])[0].message)
    assert third.status == "completed"


async def test_creations_within_an_hour_are_limited() -> None:
    clock = Clock()
    async with open_client(clock, batch_creates_per_hour=2) as (client, simulator):
        for _ in range(2):
            await start(client, make_lines(1))
        with pytest.raises(openai.RateLimitError) as caught:
            await start(client, make_lines(1))
        wait_ms = int(caught.value.response.headers["retry-after-ms"])
        clock.now += wait_ms / 1000
        await start(client, make_lines(1))
    assert 3_599_000 < wait_ms <= 3_600_001
    assert len(simulator.batches) == 3


async def test_lost_create_leaves_a_batch_that_can_be_found() -> None:
    async with open_client(lost_batch_creates=1) as (client, simulator):
        with pytest.raises(openai.APIConnectionError):
            await start(client, make_lines(2), metadata={"token": "t7"})
        found = [batch async for batch in client.batches.list() if batch.metadata]
        batch = await wait_for_end(client, found[0])
    assert len(found) == 1
    assert batch.metadata == {"token": "t7"}
    assert (batch.status, simulator.books.delivered.requests) == ("completed", 2)


async def test_lost_upload_leaves_a_file_that_can_be_found() -> None:
    async with open_client(lost_file_uploads=1) as (client, _):
        with pytest.raises(openai.APIConnectionError):
            await upload(client, b"{}\n")
        found = [file async for file in client.files.list(purpose="batch")]
    assert [(file.filename, file.bytes) for file in found] == [("lines.jsonl", 3)]


async def test_failed_call_has_done_nothing() -> None:
    async with open_client(failed_batch_calls=1) as (client, simulator):
        with pytest.raises(openai.InternalServerError):
            await upload(client, b"{}\n")
        with pytest.raises(openai.InternalServerError):
            await client.batches.create(
                input_file_id="file-1", endpoint=CHAT, completion_window="24h"
            )
        simulator.behavior = Behavior()
        assert [file async for file in client.files.list()] == []
        assert simulator.batches == []


async def test_batches_are_listed_page_by_page_newest_first() -> None:
    async with open_client() as (client, _):
        ids = [(await start(client, make_lines(1))).id for _ in range(5)]
        page = await client.batches.list(limit=2)
        listed = [batch.id async for batch in client.batches.list(limit=2)]
        with pytest.raises(openai.BadRequestError):
            await client.batches.list(limit=101)
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_none")
    assert listed == ids[::-1]
    assert page.has_more
    assert [batch.id for batch in page.data] == ids[:2:-1]


async def test_files_are_kept_listed_and_deleted() -> None:
    async with open_client() as (client, _):
        kept = [
            await client.files.create(
                file=(f"{purpose}.jsonl", b"abc"),
                purpose=purpose,
                expires_after={"anchor": "created_at", "seconds": 7200},
            )
            for purpose in ("batch", "vision", "batch")
        ]
        batch_files = [file.id async for file in client.files.list(purpose="batch", limit=1)]
        oldest_first = [file.id async for file in client.files.list(order="asc", limit=2)]
        shown = await client.files.retrieve(kept[0].id)
        content = await client.files.content(kept[0].id)
        deleted = await client.files.delete(kept[0].id)
        with pytest.raises(openai.NotFoundError):
            await client.files.content(kept[0].id)
        with pytest.raises(openai.BadRequestError, match="jsonl"):
            await client.files.create(file=("lines.txt", b"abc"), purpose="batch")
    assert batch_files == [kept[2].id, kept[0].id]
    assert oldest_first == [file.id for file in kept]
    assert shown == kept[0]
    assert (shown.bytes, shown.expires_at) == (3, shown.created_at + 7200)
    assert content.content == b"abc"
    assert deleted.deleted


async def test_file_is_gone_after_its_time() -> None:
    clock = Clock()
    async with open_client(clock) as (client, _):
        file = await client.files.create(file=("lines.jsonl", b"abc"), purpose="batch")
        clock.now += 30 * 24 * 3600 - 1
        assert await client.files.retrieve(file.id)
        clock.now += 1
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)
        assert [one async for one in client.files.list()] == []


async def test_files_larger_than_a_request_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"0123456789abcdef" * (5 * 1024 * 1024)
    async with open_client() as (client, _):
        file_id = await upload(client, content)
        assert (await client.files.content(file_id)).content == content
        monkeypatch.setattr("pipeline.simulator.lane.MAX_FILE_BYTES", 1000)
        with pytest.raises(openai.APIStatusError) as caught:
            await upload(client, b"x" * 1001)
        assert len([file async for file in client.files.list()]) == 1
    assert caught.value.status_code == 413


async def test_upload_in_parts_makes_a_file_a_batch_can_use() -> None:
    content = write(make_lines(4))
    half = len(content) // 2
    async with open_client() as (client, _):
        whole = await client.uploads.create(
            bytes=len(content), filename="in.jsonl", mime_type="application/jsonl", purpose="batch"
        )
        last = await client.uploads.parts.create(whole.id, data=content[half:])
        first = await client.uploads.parts.create(whole.id, data=content[:half])
        with pytest.raises(openai.BadRequestError, match="bytes"):
            await client.uploads.complete(whole.id, part_ids=[first.id])
        with pytest.raises(openai.BadRequestError, match="md5"):
            await client.uploads.complete(whole.id, part_ids=[first.id, last.id], md5="0" * 32)
        done = await client.uploads.complete(whole.id, part_ids=[first.id, last.id])
        assert done.file
        batch = await client.batches.create(
            input_file_id=done.file.id, endpoint=CHAT, completion_window="24h"
        )
        batch = await wait_for_end(client, batch)
        chunked = await client.uploads.upload_file_chunked(
            file=content,
            filename="in.jsonl",
            bytes=len(content),
            mime_type="application/jsonl",
            purpose="batch",
            part_size=1000,
        )
        assert chunked.file
        assert (await client.files.content(chunked.file.id)).content == content
        with pytest.raises(openai.BadRequestError, match="completed"):
            await client.uploads.cancel(whole.id)
    assert (whole.status, done.status, batch.status) == ("pending", "completed", "completed")


async def test_uploads_end_cancelled_or_expired() -> None:
    clock = Clock()
    async with open_client(clock) as (client, _):
        one, two = [
            await client.uploads.create(
                bytes=3, filename="in.jsonl", mime_type="application/jsonl", purpose="batch"
            )
            for _ in range(2)
        ]
        part = await client.uploads.parts.create(two.id, data=b"abc")
        assert (await client.uploads.cancel(one.id)).status == "cancelled"
        with pytest.raises(openai.BadRequestError, match="cancelled"):
            await client.uploads.parts.create(one.id, data=b"abc")
        clock.now += 3600
        with pytest.raises(openai.BadRequestError, match="expired"):
            await client.uploads.complete(two.id, part_ids=[part.id])
    assert one.expires_at == one.created_at + 3600


async def test_reset_forgets_files_and_batches() -> None:
    async with open_client(stalled_batches=1) as (client, simulator):
        batch = await start(client, make_lines(4))
        await wait_until(
            client, batch, lambda one: bool(one.request_counts and one.request_counts.completed)
        )
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{simulator.url}/__reset") as answer:
                assert (await answer.json())["batch_lines"]["billed"] == 0
            async with session.get(f"{simulator.url}/__batches") as answer:
                assert (await answer.json()) == {"batches": []}
        assert [file async for file in client.files.list()] == []
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve(batch.id)


async def test_nothing_of_before_a_reset_is_booked_after_it() -> None:
    async with open_client() as (client, simulator):
        await start(client, make_lines(400))
        await wait_for(lambda: simulator.books.requests > 0)
        async with aiohttp.ClientSession() as session:
            await session.post(f"{simulator.url}/__reset")
        await anyio.sleep(0.05)
        assert simulator.books.requests == 0
        after, *_ = await run(client, make_lines(2))
    assert after.status == "completed"
    assert simulator.books.requests == 2


async def test_upload_that_breaks_off_leaves_nothing() -> None:
    async def break_off() -> AsyncIterator[bytes]:
        head = (
            b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        )
        yield head + b"x" * 3_000_000
        await wait_for(lambda: any(folder.iterdir()))
        raise OSError("the disk is gone")

    async with open_client() as (client, simulator), aiohttp.ClientSession() as session:
        folder = simulator._lane.shelf.make_path().parent
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        with pytest.raises((OSError, aiohttp.ClientError)):
            await session.post(f"{simulator.base_url}/files", data=break_off(), headers=kind)
        await wait_for(lambda: not any(folder.iterdir()))
        assert [file async for file in client.files.list()] == []


async def test_key_is_asked_for_at_every_door() -> None:
    async with open_client(require_key="sk-other") as (client, _):
        with pytest.raises(openai.AuthenticationError):
            await upload(client, b"{}\n")
        with pytest.raises(openai.AuthenticationError):
            await client.batches.list()


async def test_end_of_the_server_ends_batches_and_leaves_nothing_on_disk() -> None:
    async with open_client(batch_seconds=3600) as (client, simulator):
        batch = await start(client, make_lines(4))
        await wait_until(client, batch, lambda one: one.status == "in_progress")
        folder = simulator._lane.shelf.make_path().parent
        assert any(folder.iterdir())
    assert not folder.exists()
    assert simulator.batches[0].state == "in_progress"
