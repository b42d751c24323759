"""A real HTTP server on this machine that plays back scripted answers, and questions to send it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
from aiohttp import web

from pipeline.config.settings import ProviderSettings
from pipeline.domain.images import ImageFormat, ImageInfo, PreparedImage
from pipeline.domain.vision import Detail, Question, Repair, ServiceTier, VisionRequest

PLANTED_KEY = "sk-planted-7f3c9a2e51b84d06"
SCHEMA = (
    b'{"type":"object","properties":{"title":{"type":"string"}},'
    b'"required":["title"],"additionalProperties":false}'
)

Play = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)


@dataclass(slots=True)
class ScriptedApi:
    """Answers with ``play`` and keeps what it was sent."""

    url: str
    play: Play
    is_reading: bool = True
    """Whether bodies are read and kept, or left to the play."""
    received: list[Received] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read() if self.is_reading else b""
        self.received.append(Received(str(request.rel_url), request.headers, body))
        return await self.play(request)


@asynccontextmanager
async def serve(
    play: Play, *, tls: ssl.SSLContext | None = None, is_reading: bool = True
) -> AsyncIterator[ScriptedApi]:
    """Serve on a free port of 127.0.0.1."""
    api = ScriptedApi(url="", play=play, is_reading=is_reading)
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        api.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        yield api
    finally:
        await runner.cleanup()


def answer(
    document: Any = None,
    *,
    status: int = 200,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Play:
    """Play: this JSON document, or these bytes."""

    async def play(_: web.Request) -> web.StreamResponse:
        data = orjson.dumps(document) if body is None else body
        return web.Response(status=status, body=data, headers=headers)

    return play


def in_turn(*plays: Play) -> Play:
    """Play: each of these once."""
    left = iter(plays)

    async def play(request: web.Request) -> web.StreamResponse:
        return await next(left)(request)

    return play


def cut_after(sent: bytes, *, promised: int = 1000) -> Play:
    """Play: headers that promise more than comes before the line goes dead."""

    async def play(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(promised)})
        await response.prepare(request)
        await response.write(sent)
        assert request.transport is not None
        request.transport.close()
        return response

    return play


async def reset(request: web.Request) -> web.StreamResponse:
    """Play: the connection is dropped without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def dawdle(_: web.Request) -> web.StreamResponse:
    """Play: no answer within any timeout a test sets."""
    await anyio.sleep(30)
    return web.Response()


async def echo_headers(request: web.Request) -> web.StreamResponse:
    """Play: a careless server that puts the request's headers into its error."""
    said = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    key = request.headers.get("Authorization", "")
    document = {"error": {"message": f"bad request with {said}", "code": key, "param": key}}
    return web.Response(
        status=400, body=orjson.dumps(document), headers={"x-request-id": key, "x-debug": said}
    )


CHAT_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-mini-2025-04-14",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"title":"a cat"}', "refusal": None},
        }
    ],
    "usage": {
        "prompt_tokens": 500,
        "completion_tokens": 20,
        "total_tokens": 520,
        "prompt_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 300},
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
}
RESPONSES_ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5-mini",
    "service_tier": "flex",
    "output": [
        {"type": "reasoning", "content": [{"type": "text", "text": "hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": '{"title":"a cat"}'}],
        },
    ],
    "usage": {
        "input_tokens": 500,
        "output_tokens": 20,
        "total_tokens": 520,
        "input_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 300},
        "output_tokens_details": {"reasoning_tokens": 7},
    },
}


def make_question(**overrides: Any) -> Question:
    facts: dict[str, Any] = {
        "name": "product",
        "instructions": "Say what you see.",
        "schema": SCHEMA,
        "fields": (),
        "model": "gpt-4.1-mini",
        "detail": Detail.LOW,
        "max_output_tokens": 300,
        "fingerprint": "f" * 64,
    }
    return Question(**facts | overrides)


def make_image(data: bytes = b"\xff\xd8picture\xff\xd9", media_type: str = "image/jpeg") -> Any:
    info = ImageInfo(format=ImageFormat.JPEG, width=8, height=8)
    return PreparedImage(
        data=data, media_type=media_type, width=8, height=8, fingerprint=b"f" * 32, info=info
    )


def make_vision_request(
    *,
    question: Question | None = None,
    image: PreparedImage | None = None,
    tier: ServiceTier = ServiceTier.AUTO,
    note: str = "",
    repair: Repair | None = None,
) -> VisionRequest:
    return VisionRequest(
        question=question or make_question(),
        image=image or make_image(),
        service_tier=tier,
        note=note,
        repair=repair,
    )


def make_settings(**overrides: Any) -> ProviderSettings:
    return ProviderSettings(**{"kind": "openai", "model": "gpt-4.1-mini"} | overrides)
