"""The wire: headers, bodies, and every way a connection can fail, over real sockets."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.abc
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from scripted_api import (
    PLANTED_KEY,
    answer,
    cut_after,
    dawdle,
    make_settings,
    reset,
    serve,
)
from yarl import URL

from pipeline import __version__
from pipeline.domain.errors import AttemptTimeout, ConfigurationError, TransportError
from pipeline.providers.credentials import Secret, make_key_headers, read_key
from pipeline.providers.endpoint import choose_base_url, choose_proxy
from pipeline.providers.transport import (
    Reply,
    choose_timeout_seconds,
    open_transport,
)
from pipeline.providers.wire_faults import find_safe_origin, translate_fault

pytestmark = pytest.mark.anyio
KEYED = {"OPENAI_API_KEY": PLANTED_KEY}
REST_OF_KEY: Any = {
    name: None
    for name in ConnectionKey._fields
    if name not in {"host", "port", "is_ssl", "ssl", "proxy"}
}


async def post(
    url: str, body: bytes = b"{}", *, environ: Mapping[str, str] = KEYED, **settings: Any
) -> Reply:
    made = make_settings(base_url=url, **settings)
    async with open_transport(made, environ) as transport:
        return await transport.post("chat/completions", [body])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_request_carries_key_account_and_our_name() -> None:
    environ = {**KEYED, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}
    async with serve(answer({})) as api:
        await post(api.url, b'{"a":1}', environ=environ)
    [received] = api.received
    assert received.path == "/v1/chat/completions"
    assert received.body == b'{"a":1}'
    expected = {
        "Authorization": f"Bearer {PLANTED_KEY}",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
        "User-Agent": f"tagpipe/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": "7",
    }
    assert {name: received.headers.get(name) for name in expected} == expected


async def test_server_without_a_key_gets_no_key_header() -> None:
    async with serve(answer({})) as api:
        await post(api.url, environ={})
    assert "Authorization" not in api.received[0].headers


@pytest.mark.parametrize("size", [10, 300_000, 5_000_000])
async def test_body_of_any_size_has_a_length_and_is_never_chunked(size: int) -> None:
    body = b'"' + b"x" * size + b'"'
    async with serve(answer({})) as api:
        await post(api.url, body)
    [received] = api.received
    assert received.body == body
    assert received.headers["Content-Length"] == str(len(body))
    assert "Transfer-Encoding" not in received.headers


async def test_query_of_the_base_url_is_kept_and_never_shown() -> None:
    async with serve(answer({})) as api:
        settings = make_settings(base_url=f"{api.url}?api-version=1")
        async with open_transport(settings, {}) as transport:
            await transport.post("chat/completions", [b"{}"])
            assert transport.server == api.url
    assert api.received[0].path == "/v1/chat/completions?api-version=1"


async def test_answers_of_one_session_share_a_connection() -> None:
    ports = []

    async def note_port(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.json_response({})

    async with (
        serve(note_port) as api,
        open_transport(make_settings(base_url=api.url), {}) as transport,
    ):
        for _ in range(3):
            await transport.post("x", [b"{}"])
    assert len(set(ports)) == 1


async def test_key_without_a_telling_shape_is_blotted_out_of_everything() -> None:
    key = "planted/5f1d=="
    play = answer({"error": key}, status=400, headers={"X-Request-Id": f"r-{key}"})
    async with serve(play) as api:
        reply = await post(api.url, environ={"OPENAI_API_KEY": key})
    assert reply.body == b'{"error":"*****"}'
    assert reply.headers["x-request-id"] == "r-*****"


async def test_redirect_is_not_followed() -> None:
    async with serve(answer({}, status=307, headers={"Location": "/elsewhere"})) as api:
        reply = await post(api.url)
    assert (reply.status, reply.headers["location"]) == (307, "/elsewhere")
    assert len(api.received) == 1


@pytest.mark.parametrize(
    "play", [cut_after(b'{"choices":['), cut_after(b""), reset], ids=["cut", "empty", "reset"]
)
async def test_broken_answer_is_a_transport_error(play: Any) -> None:
    async with serve(play) as api:
        with pytest.raises(TransportError, match="billed"):
            await post(api.url)


async def test_endless_answer_is_given_up() -> None:
    async with serve(answer(body=b" " * (9 * 1024 * 1024))) as api:
        with pytest.raises(TransportError, match="without end"):
            await post(api.url)


async def test_garbled_compression_is_a_transport_error() -> None:
    async with serve(answer(body=b"no gzip", headers={"Content-Encoding": "gzip"})) as api:
        with pytest.raises(TransportError, match="cut"):
            await post(api.url)


async def test_server_that_speaks_no_http_is_named() -> None:
    async def talk(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        with pytest.raises(TransportError, match="does not speak proper HTTP") as caught:
            await post(f"http://127.0.0.1:{port}")
        tasks.cancel_scope.cancel()
    # aiohttp's error holds the request's headers, and so the key.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_slow_answer_is_a_timeout() -> None:
    async with serve(dawdle) as api:
        with pytest.raises(AttemptTimeout, match=r"provider\.timeout_s"):
            await post(api.url, timeout_s=0.1)


async def begin_only(request: web.Request) -> web.StreamResponse:
    """Play: headers at once, and no end."""
    response = web.StreamResponse(headers={"Content-Length": "10"})
    await response.prepare(request)
    await response.write(b"{")
    await anyio.sleep(30)
    return response


@pytest.mark.parametrize(
    ("play", "deadlines", "setting"),
    [
        (dawdle, {"timeout_s": 0.1}, "provider.timeout_s"),
        (dawdle, {"first_byte_timeout_s": 0.1}, "provider.first_byte_timeout_s"),
        (dawdle, {"first_byte_timeout_s": 5, "timeout_s": 0.1}, "provider.timeout_s"),
        (begin_only, {"first_byte_timeout_s": 0.7, "timeout_s": 1}, "provider.timeout_s"),
    ],
)
async def test_deadline_that_struck_is_named(
    play: Any, deadlines: dict[str, float], setting: str
) -> None:
    async with serve(play) as api:
        with pytest.raises(AttemptTimeout, match=f"within {setting}$") as caught:
            await post(api.url, **deadlines)
    assert caught.value.may_be_billed


async def test_answer_in_time_is_not_touched_by_the_first_deadline() -> None:
    async with serve(answer({"a": 1})) as api:
        assert (await post(api.url, first_byte_timeout_s=30)).body == b'{"a":1}'


@pytest.mark.parametrize(("size", "may_be_billed"), [(10, True), (40_000_000, False)])
async def test_request_that_never_went_out_whole_cannot_be_billed(
    size: int, may_be_billed: bool
) -> None:
    # Nobody accepts: what fits into the system's buffers goes out, and no more.
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(AttemptTimeout) as caught:
        await post(f"http://127.0.0.1:{deaf.getsockname()[1]}", b" " * size, timeout_s=1)
    assert caught.value.may_be_billed is may_be_billed


@pytest.mark.parametrize(("is_out", "words"), [(True, "billed"), (False, "before all was sent")])
def test_broken_connection_says_whether_all_was_sent(is_out: bool, words: str) -> None:
    fault = translate_fault(aiohttp.ServerDisconnectedError(), server="h", is_out=is_out)
    assert fault.may_be_billed is is_out
    assert words in str(fault)


async def test_connection_that_never_stood_cannot_be_billed() -> None:
    with pytest.raises(TransportError) as caught:
        await post(f"http://127.0.0.1:{free_port()}")
    assert not caught.value.may_be_billed


@pytest.mark.parametrize(
    ("tier", "wanted", "seconds"),
    [("auto", 30, 30), ("default", 2000, 2000), ("flex", 30, 900), ("flex", 2000, 2000)],
)
async def test_flex_lane_is_given_its_time(tier: str, wanted: float, seconds: float) -> None:
    settings = make_settings(
        base_url="http://localhost",
        service_tier=tier,
        timeout_s=wanted,
        first_byte_timeout_s=wanted,
    )
    assert choose_timeout_seconds(settings) == seconds
    async with open_transport(settings, {}) as transport:
        assert transport._session.timeout.total == seconds
        assert transport._first_byte_seconds == seconds


async def test_cancellation_passes_through() -> None:
    async with serve(dawdle) as api:
        with anyio.move_on_after(0.1) as scope:
            await post(api.url)
    assert scope.cancelled_caught


async def test_refused_connection_names_host_and_port() -> None:
    port = free_port()
    with pytest.raises(TransportError, match=f"127.0.0.1:{port}: .*refused|Connect call failed"):
        await post(f"http://127.0.0.1:{port}")


async def test_unknown_host_is_named() -> None:
    with pytest.raises(TransportError, match=r"nowhere\.invalid:80 cannot be resolved \(DNS\)"):
        await post("http://nowhere.invalid/v1")


async def test_tls_asked_of_a_plain_server_is_explained() -> None:
    async with serve(answer({})) as api:
        with pytest.raises(TransportError, match=r"no TLS with 127\.0\.0\.1"):
            await post(api.url.replace("http:", "https:"))


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A TLS server's context whose certificate nobody vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_untrusted_certificate_is_said_plainly(self_signed: ssl.SSLContext) -> None:
    async with serve(answer({}), tls=self_signed) as api:
        with pytest.raises(TransportError, match=r"certificate of 127\.0\.0\.1:\d+ .*self.signed"):
            await post(api.url)
    assert not api.received


def test_connect_timeout_is_told_from_a_slow_answer() -> None:
    fault = translate_fault(aiohttp.ConnectionTimeoutError(), server="h")
    assert isinstance(fault, AttemptTimeout)
    assert "provider.connect_timeout_s" in str(fault)
    assert not fault.may_be_billed


async def test_proxy_of_the_environment_is_used_with_its_password() -> None:
    async with serve(answer({"from": "proxy"})) as proxy:
        port = proxy.url.split(":")[2].removesuffix("/v1")
        environ = {**KEYED, "http_proxy": f"http://user:pass@127.0.0.1:{port}"}
        reply = await post("http://vision.invalid/v1", environ=environ)
    assert reply.body == b'{"from":"proxy"}'
    [received] = proxy.received
    assert received.headers["Host"] == "vision.invalid"
    assert received.headers["Proxy-Authorization"] == "Basic dXNlcjpwYXNz"


async def test_dead_proxy_is_named_without_its_password() -> None:
    environ = {"HTTP_PROXY": f"http://user:pa55word@127.0.0.1:{free_port()}"}
    with pytest.raises(TransportError, match=r"the proxy on the way to vision\.invalid") as caught:
        await post("http://vision.invalid/v1", environ=environ)
    assert "pa55word" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_fault_behind_a_proxy_is_chained_without_the_password() -> None:
    proxy = URL("http://user:pa55word@proxy:3128")
    key = ConnectionKey("h", 443, is_ssl=True, ssl=True, proxy=proxy, **REST_OF_KEY)
    fault = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
    assert "pa55word" in repr(fault)
    assert "pa55word" not in repr(find_safe_origin(fault))


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "http://low:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"ALL_PROXY": "p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other, .openai.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "openai.org"}, "http://p:1"),
    ],
)
def test_proxy_is_chosen_as_elsewhere(environ: dict[str, str], proxy: str | None) -> None:
    chosen = choose_proxy(URL("https://api.openai.com/v1"), environ)
    assert chosen == (URL(proxy) if proxy else None)


def test_proxy_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ALL_PROXY"):
        choose_proxy(URL("https://api.openai.com"), {"ALL_PROXY": "socks5://p:1"})


@pytest.mark.parametrize(
    ("setting", "variable", "url"),
    [
        (None, None, "https://api.openai.com/v1"),
        (None, " ", "https://api.openai.com/v1"),
        (None, "http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("http://a/v1", "http://b/v1", "http://a/v1"),
        ("http://a", None, "http://a"),
    ],
)
def test_base_url_is_chosen_as_the_sdk_does(
    setting: str | None, variable: str | None, url: str
) -> None:
    environ = {} if variable is None else {"OPENAI_BASE_URL": variable}
    assert str(choose_base_url(make_settings(base_url=setting), environ)) == url


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "localhost:8000", "http://", "http://u:pa55@h/v1", "http://h:99999"]
)
def test_base_url_that_cannot_work_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL") as caught:
        choose_base_url(make_settings(), {"OPENAI_BASE_URL": url})
    assert "pa55" not in str(caught.value)


async def test_missing_key_for_openai_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="MY_KEY"):
        async with open_transport(make_settings(api_key_env="MY_KEY"), {}):
            pass


def test_key_comes_from_a_file_when_the_variable_is_unset(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{PLANTED_KEY}\n")
    key = read_key(make_settings(), {"OPENAI_API_KEY_FILE": str(file)}, host="h")
    assert key is not None
    assert key.reveal() == PLANTED_KEY


def test_key_may_have_white_space_around_it() -> None:
    key = read_key(make_settings(), {"OPENAI_API_KEY": f" {PLANTED_KEY}\n"}, host="h")
    assert key is not None
    assert key.reveal() == PLANTED_KEY


@pytest.mark.parametrize("content", [None, b"\xff\xfesk-planted"])
def test_key_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY_FILE.*key") as caught:
        read_key(make_settings(), {"OPENAI_API_KEY_FILE": str(file)}, host="h")
    assert "planted" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("bad", ["sk-pl\nanted", "sk planted", "sk-plänted", "sk-\u200bplanted"])
def test_key_that_cannot_be_sent_is_refused_unshown(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY holds") as caught:
        read_key(make_settings(), {"OPENAI_API_KEY": bad}, host="h")
    assert bad not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "name"),
    [("h", "Authorization"), ("x.openai.azure.com", "api-key"), ("openai.azure.com.org", None)],
)
def test_azure_takes_the_key_in_its_own_header(host: str, name: str | None) -> None:
    assert list(make_key_headers(Secret("k"), host=host)) == [name or "Authorization"]


def test_secret_shows_as_stars() -> None:
    secret = Secret(PLANTED_KEY)
    assert PLANTED_KEY not in f"{secret} {secret!r} {[secret]}"
    assert secret.hide_in(f"x {PLANTED_KEY} y".encode()) == b"x ***** y"
