"""Files on the wire: up as a form from disk, down as lines, and every way that can end early."""

import tracemalloc
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from openai import AsyncOpenAI
from scripted_api import (
    PLANTED_KEY,
    answer,
    cut_after,
    dawdle,
    make_settings,
    reset,
    serve,
)

from pipeline.domain.errors import (
    AttemptTimeout,
    EnvironmentFault,
    TransientError,
    TransportError,
)
from pipeline.providers.payloads import FileForm
from pipeline.providers.transport import Reply, open_transport

pytestmark = pytest.mark.anyio
ENVIRON = {"OPENAI_API_KEY": PLANTED_KEY}
FIELDS = {
    "purpose": "batch",
    "expires_after[anchor]": "created_at",
    "expires_after[seconds]": "3600",
}
MEGABYTE = 1024 * 1024


CONTENT = b'{"a":1}\r\n--x\n\x00\xff' * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    path.write_bytes(CONTENT)
    return path


async def upload(url: str, path: Path, *, name: str = "n.jsonl", **settings: Any) -> Reply:
    async with open_transport(make_settings(base_url=url, **settings), ENVIRON) as transport:
        return await transport.upload("files", FileForm(path=path, name=name, fields=FIELDS))


async def download(url: str, **settings: Any) -> list[bytes]:
    lines = []
    async with (
        open_transport(make_settings(base_url=url, **settings), ENVIRON) as transport,
        transport.download("files/f/content") as coming,
    ):
        lines += [line async for line in coming.read_lines()]
    return lines


class Form:
    """Play: reads a form as aiohttp does and keeps it."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.headers: Any = None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.headers = request.headers
        for name, value in (await request.post()).items():
            is_file = isinstance(value, web.FileField)
            self.fields[name] = (value.filename, value.file.read()) if is_file else value
        return web.json_response({"id": "file-1", "object": "file"})


async def test_form_is_the_one_the_official_sdk_sends(file: Path) -> None:
    ours, official = Form(), Form()
    async with serve(ours, is_reading=False) as api:
        reply = await upload(api.url, file)
    async with (
        serve(official, is_reading=False) as api,
        AsyncOpenAI(base_url=api.url, api_key="k", max_retries=0) as sdk,
    ):
        expiry: Any = {"anchor": "created_at", "seconds": 3600}
        content = ("n.jsonl", CONTENT)
        await sdk.files.create(file=content, purpose="batch", expires_after=expiry)
    assert reply.status == 200
    assert ours.fields == official.fields
    assert ours.fields["file"] == ("n.jsonl", CONTENT)


async def test_upload_has_a_length_and_is_never_chunked(file: Path) -> None:
    async with serve(answer({})) as api:
        await upload(api.url, file)
    [received] = api.received
    assert received.headers["Content-Length"] == str(len(received.body))
    assert "Transfer-Encoding" not in received.headers
    assert received.headers["Authorization"] == f"Bearer {PLANTED_KEY}"


@pytest.mark.parametrize("name", ['a"b.jsonl', "a\r\nX-Evil: 1\r\n.jsonl", "a\\b.jsonl", "ä.jsonl"])
async def test_name_cannot_break_out_of_its_quotes(file: Path, name: str) -> None:
    form = Form()
    async with serve(form, is_reading=False) as api:
        await upload(api.url, file, name=name)
    assert form.fields["file"][1] == CONTENT
    assert set(form.fields) == {*FIELDS, "file"}


async def test_empty_file_goes_up(tmp_path: Path) -> None:
    form = Form()
    (tmp_path / "empty").touch()
    async with serve(form, is_reading=False) as api:
        await upload(api.url, tmp_path / "empty")
    assert form.fields["file"] == ("n.jsonl", b"")


async def test_big_file_goes_up_without_being_in_memory(tmp_path: Path) -> None:
    size = 30 * MEGABYTE
    with (tmp_path / "big").open("wb") as big:
        big.truncate(size)
    received = 0

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal received
        async for chunk in request.content.iter_any():
            received += len(chunk)
        return web.json_response({"id": "file-1"})

    async with serve(count, is_reading=False) as api:
        tracemalloc.start()
        try:
            await upload(api.url, tmp_path / "big")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size < received < size + 2000
    assert peak < 8 * MEGABYTE


async def test_upload_may_take_longer_than_an_attempt_as_long_as_it_moves(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 14 * MEGABYTE)

    async def sip(request: web.Request) -> web.StreamResponse:
        for _ in range(12):
            await request.content.read(MEGABYTE)
            await anyio.sleep(0.1)
        async for _ in request.content.iter_any():
            pass
        return web.json_response({})

    async with serve(sip, is_reading=False) as api:
        reply = await upload(api.url, tmp_path / "big", timeout_s=1)
    assert reply.status == 200


async def test_server_that_takes_nothing_more_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 40 * MEGABYTE)
    async with serve(dawdle, is_reading=False) as api:
        with pytest.raises(AttemptTimeout, match="nothing moved") as caught:
            await upload(api.url, tmp_path / "big", timeout_s=0.3)
    assert not caught.value.may_be_billed


async def test_server_that_never_answers_an_upload_is_given_up(file: Path) -> None:
    async with serve(dawdle) as api:
        with pytest.raises(AttemptTimeout, match="nothing moved"):
            await upload(api.url, file, timeout_s=0.2)


async def test_refusal_of_an_upload_is_heard(file: Path) -> None:
    async with serve(answer({"error": {"message": PLANTED_KEY}}, status=400)) as api:
        reply = await upload(api.url, file)
    assert (reply.status, reply.body) == (400, b'{"error":{"message":"*****"}}')


@pytest.mark.parametrize("play", [reset, cut_after(b'{"id":')])
@pytest.mark.parametrize("is_reading", [True, False])
async def test_upload_that_breaks_off_is_billed_to_nobody(
    tmp_path: Path, play: Any, *, is_reading: bool
) -> None:
    (tmp_path / "big").write_bytes(b"x" * 5 * MEGABYTE)
    async with serve(play, is_reading=is_reading) as api:
        with pytest.raises(TransportError) as caught:
            await upload(api.url, tmp_path / "big")
    assert not caught.value.may_be_billed
    assert "billed" not in str(caught.value)


async def test_file_that_is_not_there_is_no_fault_of_the_wire(tmp_path: Path) -> None:
    async with serve(answer({})) as api:
        with pytest.raises(EnvironmentFault, match="missing: No such file"):
            await upload(api.url, tmp_path / "missing")
    assert not api.received


async def test_file_that_shrinks_meanwhile_is_no_fault_of_the_wire(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Grown:
        st_size = len(CONTENT) + 1

    async with serve(answer({})) as api:
        form = FileForm(path=file, name="n", fields=FIELDS)
        async with open_transport(make_settings(base_url=api.url), ENVIRON) as transport:
            monkeypatch.setattr(type(file), "stat", lambda _: Grown)
            with pytest.raises(EnvironmentFault, match="became shorter"):
                await transport.upload("files", form)


@pytest.mark.parametrize("is_reading", [True, False])
async def test_upload_can_be_cancelled(tmp_path: Path, *, is_reading: bool) -> None:
    (tmp_path / "big").write_bytes(b"x" * 20 * MEGABYTE)
    async with serve(dawdle, is_reading=is_reading) as api:
        with anyio.move_on_after(0.2) as scope:
            await upload(api.url, tmp_path / "big")
    assert scope.cancelled_caught


async def test_lines_come_without_breaks_and_key() -> None:
    body = b"one\n\ntwo %b\r\nthree" % PLANTED_KEY.encode()
    async with serve(answer(body=body)) as api:
        assert await download(api.url) == [b"one", b"", b"two *****\r", b"three"]
    assert api.received[0].headers["Accept"] == "*/*"


async def test_compressed_file_is_unpacked() -> None:
    async def squeeze(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"12345\n" * 10_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serve(squeeze) as api:
        assert await download(api.url) == [b"12345"] * 10_000


@pytest.mark.parametrize("sent", [b"", b"one\n", b"one\ntw"])
async def test_file_that_breaks_off_is_a_transport_error(sent: bytes) -> None:
    async with serve(cut_after(sent)) as api:
        with pytest.raises(TransportError, match="cut") as caught:
            await download(api.url)
    assert not caught.value.may_be_billed


async def test_file_without_a_known_end_must_not_end_in_mid_line() -> None:
    async def speak_old_http(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\none\ntw")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, speak_old_http)
        with pytest.raises(TransportError, match="mid-line"):
            await download(f"http://127.0.0.1:{port}/v1")
        tasks.cancel_scope.cancel()


async def trickle(request: web.Request) -> web.StreamResponse:
    """Play: a line now and then."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(6):
        await response.write(b"line\n")
        await anyio.sleep(0.2)
    return response


async def test_download_may_take_longer_than_an_attempt_as_long_as_it_moves() -> None:
    async with serve(trickle) as api:
        assert await download(api.url, timeout_s=1) == [b"line"] * 6


async def begin_only(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"one\n")
    await anyio.sleep(30)
    return response


@pytest.mark.parametrize("play", [dawdle, begin_only])
async def test_download_that_stands_still_is_given_up(play: Any) -> None:
    async with serve(play) as api:
        with pytest.raises(AttemptTimeout, match="nothing moved"):
            await download(api.url, timeout_s=0.2)


async def test_download_can_be_left_in_the_middle() -> None:
    async with (
        serve(begin_only) as api,
        open_transport(make_settings(base_url=api.url), ENVIRON) as transport,
    ):
        async with (
            transport.download("files/f/content") as coming,
            aclosing(coming.read_lines()) as lines,
        ):
            assert await anext(lines) == b"one"
        with anyio.move_on_after(0.2) as scope:
            async with transport.download("files/f/content") as coming:
                [line async for line in coming.read_lines()]
    assert scope.cancelled_caught


async def test_big_file_comes_down_without_being_in_memory() -> None:
    block = b"x" * 999 + b"\n"

    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(300):
            await response.write(block * 100)
        return response

    count = 0
    async with (
        serve(pour) as api,
        open_transport(make_settings(base_url=api.url), ENVIRON) as transport,
    ):
        tracemalloc.start()
        try:
            async with transport.download("files/f/content") as coming:
                async for line in coming.read_lines():
                    count += len(line) == 999
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == 30_000
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_request_without_a_body_says_so_and_bills_nobody(method: str) -> None:
    async with serve(answer({"a": 1})) as api:
        settings = make_settings(base_url=f"{api.url}?api-version=1")
        async with open_transport(settings, ENVIRON) as transport:
            reply = await transport.send(method, "files", query={"limit": "2"})
            api.play = reset
            with pytest.raises(TransientError) as caught:
                await transport.send(method, "files")
    assert (reply.status, reply.body) == (200, b'{"a":1}')
    assert api.received[0].path == "/v1/files?api-version=1&limit=2"
    assert not caught.value.may_be_billed
    assert "billed" not in str(caught.value)
