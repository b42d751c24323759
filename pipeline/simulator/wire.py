"""Bytes on the wire: JSON answers with the API's headers, whole or cut on purpose."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline.simulator.errors import ApiError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON = "application/json"


def make_headers() -> dict[str, str]:
    """Headers that every answer of the API has."""
    return {"x-request-id": f"req_{secrets.token_hex(16)}", "openai-version": "2020-10-01"}


def send_json(
    document: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        content_type=_JSON,
        headers={**make_headers(), **(headers or {})},
    )


@web.middleware
async def speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, ours and aiohttp's, into the API's error documents."""
    try:
        return await handler(request)
    except ApiError as error:
        return send_json(error.document(), status=error.status, headers=error.headers)
    except web.HTTPException as error:
        refusal = _translate(request, error)
        return send_json(refusal.document(), status=refusal.status)


def _translate(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ApiError(error.status, "The request is too large.", code="request_too_large")
    return ApiError(
        error.status, f"Invalid URL ({request.method} {request.path})", code="unknown_url"
    )


async def send_whole(request: web.Request, document: Mapping[str, Any]) -> web.StreamResponse:
    """Send an answer to its last byte.

    Raises:
        ConnectionError: the client has left.
    """
    response = send_json(document)
    await response.prepare(request)
    await response.write_eof()
    return response


async def send_half(request: web.Request, document: Mapping[str, Any]) -> web.StreamResponse:
    """Announce an answer's full length, send half of it, and hang up."""
    body = orjson.dumps(document)
    response = web.StreamResponse(headers=make_headers())
    response.content_type = _JSON
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
