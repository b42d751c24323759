"""The batch desk over real sockets: each call, what it sends, and what each refusal of it means."""

import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web
from openai.types.batch_create_params import BatchCreateParams
from openai.types.batch_list_params import BatchListParams
from openai.types.file_list_params import FileListParams
from pydantic import TypeAdapter
from scripted_api import (
    CHAT_ANSWER,
    PLANTED_KEY,
    Play,
    ScriptedApi,
    answer,
    cut_after,
    dawdle,
    echo_headers,
    in_turn,
    make_settings,
    make_vision_request,
    reset,
    serve,
)

from pipeline.domain.batches import Answered, BatchLine, RemoteState, Unanswered
from pipeline.domain.errors import (
    AskError,
    AttemptTimeout,
    BatchRefused,
    CredentialsRefused,
    CreditExhausted,
    LineExpired,
    PipelineError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    RequestShapeRefused,
    RunPaused,
    TransportError,
)
from pipeline.providers.base import BatchDesk
from pipeline.providers.identity import identify_endpoint
from pipeline.providers.openai_batch import OpenAIBatchDesk, open_batch_desk

pytestmark = pytest.mark.anyio
ENVIRON = {"OPENAI_API_KEY": PLANTED_KEY}
BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-in",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1_790_000_000,
    "metadata": {"tagpipe": "t-1"},
}
CALLS: dict[str, Callable[[OpenAIBatchDesk, Path], Any]] = {
    "upload": lambda desk, file: desk.upload(file, name="n.jsonl"),
    "find_files": lambda desk, _: desk.find_files("n.jsonl"),
    "delete_file": lambda desk, _: desk.delete_file("file-1"),
    "create": lambda desk, _: desk.create("file-in", token="t-1"),
    "read": lambda desk, _: desk.read("batch_1"),
    "list_batches": lambda desk, _: collect(desk.list_batches()),
    "cancel": lambda desk, _: desk.cancel("batch_1"),
    "read_lines": lambda desk, _: collect(desk.read_lines("file-out", model="m")),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    path.write_bytes(b"{}\n")
    return path


async def collect(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


@asynccontextmanager
async def open_desk(
    play: Play, **settings: Any
) -> AsyncIterator[tuple[OpenAIBatchDesk, ScriptedApi]]:
    async with (
        serve(play) as api,
        open_batch_desk(make_settings(base_url=api.url, **settings), ENVIRON) as desk,
    ):
        yield desk, api


async def fail(call: str, play: Play, file: Path, **settings: Any) -> Any:
    """The error that a call to a server ends in."""
    async with open_desk(play, **settings) as (desk, _):
        with pytest.raises(PipelineError) as caught:
            await CALLS[call](desk, file)
    return caught.value


def refuse(status: int, message: str = "no", **facts: Any) -> Play:
    headers = facts.pop("headers", None)
    error = {"message": message, "type": "invalid_request_error", **facts}
    return answer({"error": error}, status=status, headers=headers)


def page(*entries: Any, has_more: bool = False) -> Play:
    return answer({"object": "list", "data": list(entries), "has_more": has_more})


def write_lines(*documents: Any) -> bytes:
    return b"".join(
        (document if isinstance(document, bytes) else orjson.dumps(document)) + b"\n"
        for document in documents
    )


def result(custom_id: str, body: Any = None, *, status: int = 200) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "req_1", "body": body or CHAT_ANSWER}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}


@pytest.mark.parametrize(
    ("api_name", "path"), [("chat", "/v1/chat/completions"), ("responses", "/v1/responses")]
)
async def test_desk_names_its_account_and_path(api_name: str, path: str) -> None:
    settings = make_settings(base_url="http://localhost/other", api=api_name)
    async with open_batch_desk(settings, ENVIRON) as opened:
        desk: BatchDesk = opened
        assert desk.account == identify_endpoint(settings, ENVIRON).account
        assert desk.path == path
        request = make_vision_request()
        line = b"".join(desk.write_line("a-1", request))
    assert orjson.loads(line)["url"] == path
    assert len(line) <= desk.measure_line(request) <= len(line) + 64


async def test_upload_returns_the_id(file: Path) -> None:
    async with open_desk(answer({"id": "file-7", "object": "file"})) as (desk, api):
        assert await desk.upload(file, name="n.jsonl") == "file-7"
    [received] = api.received
    assert received.path == "/v1/files"
    assert b'name="purpose"\r\n\r\nbatch\r\n' in received.body
    assert b'name="expires_after[anchor]"\r\n\r\ncreated_at\r\n' in received.body
    assert b'name="expires_after[seconds]"\r\n\r\n1209600\r\n' in received.body
    assert b'name="file"; filename="n.jsonl"\r\n' in received.body


async def test_files_of_a_name_are_found_on_all_pages_and_no_others() -> None:
    names = [("f1", "n.jsonl"), ("f2", "N.jsonl"), ("f3", "n.jsonl.old"), ("f4", "n.jsonl")]
    files = [{"id": file_id, "filename": name} for file_id, name in names]
    play = in_turn(page(*files[:2], has_more=True), page(*files[2:]))
    async with open_desk(play) as (desk, api):
        assert await desk.find_files("n.jsonl") == ["f1", "f4"]
    first = {"purpose": "batch", "limit": "10000", "order": "asc"}
    assert [queries(api, place) for place in (0, 1)] == [first, {**first, "after": "f2"}]
    TypeAdapter(FileListParams).validate_python(first)
    assert set(first) | {"after"} <= set(FileListParams.__annotations__)


def queries(api: ScriptedApi, place: int) -> dict[str, str]:
    query = api.received[place].path.partition("?")[2]
    return dict(pair.split("=") for pair in query.split("&"))


@pytest.mark.parametrize("status", [200, 404])
async def test_file_that_is_gone_is_deleted(status: int) -> None:
    async with open_desk(answer({"id": "f", "deleted": True}, status=status)) as (desk, api):
        await desk.delete_file("file-1")
    assert api.received[0].path == "/v1/files/file-1"


async def test_batch_is_created_as_the_api_describes() -> None:
    async with open_desk(answer(BATCH)) as (desk, api):
        report = await desk.create("file-in", token="t-1")
    [received] = api.received
    assert received.path == "/v1/batches"
    assert received.document == {
        "input_file_id": "file-in",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"tagpipe": "t-1"},
    }
    TypeAdapter(BatchCreateParams).validate_python(received.document, strict=True)
    assert set(received.document) <= set(BatchCreateParams.__annotations__)
    assert (report.remote_id, report.state) == ("batch_1", RemoteState.VALIDATING)
    assert (report.input_file, report.token) == ("file-in", "t-1")


async def test_all_batches_are_listed_page_by_page() -> None:
    batches = [{**BATCH, "id": f"batch_{number}"} for number in range(5)]
    play = in_turn(page(*batches[:3], has_more=True), page(None, {}, *batches[3:]))
    async with open_desk(play) as (desk, api):
        reports = await collect(desk.list_batches())
    assert [report.remote_id for report in reports] == [batch["id"] for batch in batches]
    assert queries(api, 0) == {"limit": "100"}
    assert queries(api, 1) == {"limit": "100", "after": "batch_2"}
    assert {"limit", "after"} <= set(BatchListParams.__annotations__)


@pytest.mark.parametrize("call", ["find_files", "list_batches"])
@pytest.mark.parametrize(
    "play",
    [
        answer({}),
        answer({"data": None}),
        answer([]),
        answer(body=b"<html>"),
        page({"id": "x"}, has_more=True),
        page(has_more=True),
        page({"no": "id"}, has_more=True),
    ],
)
async def test_list_that_cannot_be_read_to_its_end_is_never_taken_for_whole(
    call: str, play: Play, file: Path
) -> None:
    assert type(await fail(call, play, file)) is TransportError


async def test_batch_is_read_by_its_id() -> None:
    async with open_desk(answer({**BATCH, "status": "completed"})) as (desk, api):
        assert (await desk.read("batch_1")).state is RemoteState.COMPLETED
    assert api.received[0].path == "/v1/batches/batch_1"


async def test_batch_is_cancelled() -> None:
    async with open_desk(answer({**BATCH, "status": "cancelling"})) as (desk, api):
        assert (await desk.cancel("batch_1")).state is RemoteState.CANCELLING
    assert [received.path for received in api.received] == ["/v1/batches/batch_1/cancel"]


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("state", ["completed", "failed", "expired", "finalizing", "cancelling"])
async def test_cancelling_too_late_tells_how_it_stands(status: int, state: str) -> None:
    play = in_turn(refuse(status, "too late"), answer({**BATCH, "status": state}))
    async with open_desk(play) as (desk, _):
        assert (await desk.cancel("batch_1")).state == state


async def test_refusal_to_cancel_what_goes_on_is_an_error(file: Path) -> None:
    play = in_turn(refuse(409, "busy"), answer({**BATCH, "status": "in_progress"}))
    assert isinstance(await fail("cancel", play, file), ProviderUnavailable)


async def test_lines_of_a_file_are_told(caplog: pytest.LogCaptureFixture) -> None:
    expired = {"custom_id": "a-3", "response": None, "error": {"code": "batch_expired"}}
    money = {"error": {"code": "insufficient_quota", "message": "none"}}
    body = write_lines(
        result("a-2"), b"", b"{broken", result("a-1"), {"id": "x"}, expired,
        result("a-4", money, status=429),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        async with open_desk(answer(body=body)) as (desk, api):
            lines: list[BatchLine] = await collect(desk.read_lines("file-out", model="asked"))
    assert api.received[0].path == "/v1/files/file-out/content"
    assert [line.custom_id for line in lines] == ["a-2", "a-1", "a-3", "a-4"]
    kinds = [
        type(line.error if isinstance(line, Unanswered) else line.response.service_tier)
        for line in lines
    ]
    assert kinds == [str, str, LineExpired, CreditExhausted]
    facts = [
        (vars(record)["file"], vars(record)["line"])
        for record in caplog.records
        if record.msg == "batch.line_unreadable"
    ]
    assert facts == [("file-out", 3), ("file-out", 5)]


async def test_empty_file_has_no_lines() -> None:
    async with open_desk(answer(body=b"\n")) as (desk, _):
        assert await collect(desk.read_lines("file-out", model="m")) == []


async def test_file_without_one_readable_line_is_not_taken_for_empty(file: Path) -> None:
    page_of_a_proxy = answer(body=b"<html>\nSign in\n</html>\n")
    assert type(await fail("read_lines", page_of_a_proxy, file)) is TransportError


async def test_lines_that_came_before_the_cut_hold_and_come_again() -> None:
    body = write_lines(result("a-1"), result("a-2"))
    play = in_turn(cut_after(body[:-40], promised=len(body)), answer(body=body))
    async with open_desk(play) as (desk, _):
        lines = desk.read_lines("file-out", model="m")
        first = await anext(lines)
        with pytest.raises(TransportError):
            await anext(lines)
        again = await collect(desk.read_lines("file-out", model="m"))
    assert first == again[0]
    assert [line.custom_id for line in again] == ["a-1", "a-2"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (refuse(401, "bad key", code="invalid_api_key"), CredentialsRefused),
        (refuse(403, "not yours"), CredentialsRefused),
        (refuse(429, "pay", code="insufficient_quota"), CreditExhausted),
        (refuse(400, "pay", code="billing_hard_limit_reached"), CreditExhausted),
        (refuse(429, "slow", headers={"Retry-After": "7"}), RateLimited),
        (refuse(500, "oops"), ProviderUnavailable),
        (refuse(502, "oops"), ProviderUnavailable),
        (answer({}, status=307, headers={"Location": "/x"}), RequestShapeRefused),
        (reset, TransportError),
    ],
)
async def test_what_is_no_matter_of_batches_is_told_as_ever(
    call: str, play: Play, kind: type[PipelineError], file: Path
) -> None:
    error = await fail(call, play, file)
    assert type(error) is kind
    if kind is RateLimited:
        assert error.retry_after_seconds == 7


@pytest.mark.parametrize("call", ["upload", "find_files", "create", "list_batches", "read"])
@pytest.mark.parametrize(
    "play",
    [
        answer({"detail": "Not Found"}, status=404),
        answer(body=b"404 page not found", status=404),
        answer({"error": {"message": "Invalid URL (POST /v1/batches)"}}, status=404),
        answer(body=b"<html><title>Cannot POST /v1/files</title>", status=404),
        answer({"error": "Unexpected endpoint or method. (GET /v1/batches/batch_1)"}, status=404),
        refuse(405, "Method Not Allowed"),
        refuse(501, "Not Implemented"),
    ],
)
async def test_server_without_a_batch_api_is_said_to_have_none(
    call: str, play: Play, file: Path
) -> None:
    error = await fail(call, play, file)
    assert type(error) is BatchRefused
    assert "has no Batch API" in str(error)
    assert "Without --mode batch" in str(error)


@pytest.mark.parametrize("call", ["create", "read", "read_lines", "cancel"])
@pytest.mark.parametrize(
    "play",
    [
        refuse(404, "No such File object: file-in", param="id"),
        refuse(404, "No batch found with id 'batch_1'."),
        answer({"detail": "Input file not found"}, status=404),
        refuse(404, "The file has expired."),
    ],
)
async def test_thing_the_server_does_not_know_concerns_nothing_else(
    call: str, play: Play, file: Path
) -> None:
    error = await fail(call, play, file)
    assert type(error) is RequestRejected
    assert (error.status, error.may_be_billed) == (404, False)


@pytest.mark.parametrize("call", ["upload", "create"])
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_whole_refusal_pauses_with_the_servers_words(
    call: str, status: int, file: Path
) -> None:
    play = refuse(status, "Must have fewer than 50,000 lines", code="too_many_tasks")
    error = await fail(call, play, file)
    assert type(error) is BatchRefused
    assert isinstance(error, RunPaused)
    assert "Must have fewer than 50,000 lines" in str(error)
    assert "too_many_tasks" in str(error)
    assert "Without --mode batch" in str(error)


@pytest.mark.parametrize(
    ("play", "may_be_billed"),
    [
        (reset, True),
        (cut_after(b'{"id":'), True),
        (answer(body=b'{"id":'), True),
        (answer({"object": "batch"}), True),
        (refuse(500), True),
        (refuse(502), True),
        (refuse(504), True),
        (refuse(408), True),
        (refuse(429), False),
        (refuse(409), False),
        (refuse(404, "No such File object: x"), False),
    ],
)
async def test_creation_that_may_have_been_heard_says_so(
    play: Play, may_be_billed: bool, file: Path
) -> None:
    error = await fail("create", play, file)
    assert isinstance(error, AskError)
    assert error.may_be_billed is may_be_billed


async def test_creation_without_an_answer_may_have_been_heard(file: Path) -> None:
    error = await fail("create", dawdle, file, timeout_s=0.2)
    assert isinstance(error, AttemptTimeout)
    assert error.may_be_billed


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"create"}))
@pytest.mark.parametrize(
    "play", [reset, cut_after(b'{"data":['), answer(body=b"{"), answer({}), refuse(503)]
)
async def test_no_other_call_is_ever_billed(call: str, play: Play, file: Path) -> None:
    async with open_desk(play) as (desk, _):
        try:
            await CALLS[call](desk, file)
        except AskError as error:
            assert not error.may_be_billed  # noqa: PT017  not every call minds every answer
            assert "billed" not in str(error)  # noqa: PT017  same


@pytest.mark.parametrize("call", CALLS)
async def test_no_error_and_no_log_shows_the_key(
    call: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        errors = [await fail(call, play, file) for play in (echo_headers, reset)]
    told = "".join("".join(traceback.format_exception(error)) for error in errors)
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert PLANTED_KEY not in told + logged + json.dumps(
        [vars(error) for error in errors], default=repr
    )


async def test_key_in_a_line_or_report_is_blotted_out() -> None:
    echo = {"error": {"code": "x", "message": f"you sent {PLANTED_KEY}"}}
    body = write_lines(result(PLANTED_KEY, echo, status=400))
    async with open_desk(answer(body=body)) as (desk, api):
        [line] = await collect(desk.read_lines("file-out", model="m"))
        api.play = answer({**BATCH, "errors": {"data": [{"message": PLANTED_KEY}]}})
        report = await desk.read("batch_1")
    assert isinstance(line, Unanswered)
    assert PLANTED_KEY not in f"{line!r} {line.error} {report}"


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_can_be_cancelled(call: str, file: Path) -> None:
    async with open_desk(dawdle) as (desk, _):
        with anyio.move_on_after(0.1) as scope:
            await CALLS[call](desk, file)
    assert scope.cancelled_caught


async def test_answers_are_read_as_they_come() -> None:
    gate = anyio.Event()

    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(write_lines(result("a-1")))
        await gate.wait()
        await response.write(write_lines(result("a-2")))
        return response

    told = []
    async with open_desk(pour) as (desk, _):
        async for line in desk.read_lines("file-out", model="m"):
            assert isinstance(line, Answered)
            told.append(line.custom_id)
            gate.set()
    assert told == ["a-1", "a-2"]
