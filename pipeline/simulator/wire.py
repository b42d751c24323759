"""Bytes on the wire: JSON answers with the API's headers, whole or cut on purpose."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from typing import Final

import anyio
import orjson
from aiohttp import web

from pipeline.simulator.errors import ApiError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLIENT_LEFT: Final = 499
_JSON: Final = "application/json"
_TRICKLES: Final = 20
"""Pieces of an answer that comes slowly."""


def make_headers() -> dict[str, str]:
    """Headers that every answer of the API has."""
    return {"x-request-id": f"req_{secrets.token_hex(16)}", "openai-version": "2020-10-01"}


def send_json(
    document: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return _make_response(orjson.dumps(document), status=status, headers=headers)


def _make_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = _JSON
) -> web.Response:
    return web.Response(
        body=body,
        status=status,
        content_type=kind,
        headers={**make_headers(), **(headers or {})},
    )


@web.middleware
async def speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, ours and aiohttp's, into the API's error documents."""
    try:
        return await handler(request)
    except ApiError as error:
        return _send_error(error)
    except web.HTTPException as error:
        return _send_error(_translate(request, error))


def _send_error(error: ApiError) -> web.Response:
    if error.is_html:
        body = error.message.encode()
        return _make_response(body, status=error.status, headers=error.headers, kind="text/html")
    return send_json(error.document(), status=error.status, headers=error.headers)


def _translate(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ApiError(error.status, "The request is too large.", code="request_too_large")
    return ApiError(
        error.status, f"Invalid URL ({request.method} {request.path})", code="unknown_url"
    )


def is_gone(request: web.Request) -> bool:
    """Whether the client is known to have left."""
    return request.transport is None or request.transport.is_closing()


async def send_whole(
    request: web.Request, body: bytes, *, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send an answer to its last byte.

    Raises:
        ConnectionError: the client has left.
    """
    response = _make_response(body, headers=headers)
    await response.prepare(request)
    await response.write_eof()
    return response


async def send_half(
    request: web.Request, body: bytes, *, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Announce an answer's full length, send half of it, and hang up."""
    response = await _announce(request, len(body), headers)
    response.force_close()
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def send_slowly(
    request: web.Request, body: bytes, *, headers: Mapping[str, str], seconds: float
) -> web.StreamResponse:
    """Send an answer piece by piece over so many seconds.

    Raises:
        ConnectionError: the client has left.
    """
    response = await _announce(request, len(body), headers)
    ends = [len(body) * number // _TRICKLES for number in range(_TRICKLES + 1)]
    for start, end in pairwise(ends):
        await anyio.sleep(seconds / _TRICKLES)
        await response.write(body[start:end])
    await response.write_eof()
    return response


async def _announce(
    request: web.Request, length: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={**make_headers(), **headers})
    response.content_type = _JSON
    response.content_length = length
    await response.prepare(request)
    return response


def hang_up(request: web.Request) -> web.Response:
    """Close the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=CLIENT_LEFT)
