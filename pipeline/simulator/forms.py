"""What the calls about files and batches say: forms, JSON objects and questions for a page."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import BodyPartReader, web

from pipeline.simulator.errors import (
    bad_request,
    missing,
    unknown_parameter,
    wrong_type,
    wrong_value,
)
from pipeline.simulator.files import Paper, Shelf

LIFETIME_SECONDS: Final = (3_600, 2_592_000)
"""Least and most that may be asked for a file (API reference, 2026-09)."""
_PIECE_BYTES: Final = 256 * 1024
_MOST_FIELD_BYTES: Final = 64 * 1024
_EXPIRY: Final = "expires_after"


@dataclass(slots=True, kw_only=True)
class Form:
    """A multipart form, read to its end."""

    fields: dict[str, str] = field(default_factory=dict)
    paper: Paper | None = None
    filename: str = ""

    def require_paper(self, name: str) -> Paper:
        """The bytes that came with it.

        Raises:
            ApiError: 400, there are none.
        """
        if self.paper is None:
            raise missing(name)
        return self.paper


async def read_form(request: web.Request, shelf: Shelf, *, name: str, most_bytes: int) -> Form:
    """Read a form; the part called ``name`` goes straight to disk.

    Raises:
        ApiError: 400, it is no such form; 413, the part is too large.
    """
    if request.content_type != "multipart/form-data":
        raise bad_request("The request must be multipart/form-data.")
    form, is_whole = Form(), False
    try:
        await _read_parts(request, shelf, form, name=name, most_bytes=most_bytes)
        is_whole = True
    except ValueError as error:
        raise bad_request(f"The form cannot be read ({error}).") from error
    finally:
        if form.paper and not is_whole:
            form.paper.path.unlink(missing_ok=True)
    return form


async def _read_parts(
    request: web.Request, shelf: Shelf, form: Form, *, name: str, most_bytes: int
) -> None:
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            raise bad_request("The form has a part without a name.")
        if part.name != name:
            form.fields[part.name] = await _read_field(part)
        elif form.paper is None:
            form.filename = part.filename or "upload"
            form.paper = await shelf.write(_read_pieces(part), most_bytes=most_bytes)
        else:
            raise bad_request(f"There may be one '{name}'.", param=name)


async def _read_pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_PIECE_BYTES):
        yield piece


async def _read_field(part: BodyPartReader) -> str:
    text = bytearray()
    async for piece in _read_pieces(part):
        text += piece
        if len(text) > _MOST_FIELD_BYTES:
            raise bad_request(f"'{part.name}' is too long.", param=part.name)
    return text.decode(errors="replace")


def require_text(document: Mapping[str, Any], param: str) -> str:
    """Return what must be there and be a text.

    Raises:
        ApiError: 400.
    """
    value = document.get(param)
    if value is None:
        raise missing(param)
    if not isinstance(value, str) or not value:
        raise wrong_type(param, "a string")
    return value


def read_object(body: bytes, *, known: frozenset[str]) -> dict[str, Any]:
    """Read a JSON object with no other keys than those.

    Raises:
        ApiError: 400.
    """
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is not valid JSON ({error}).") from error
    if not isinstance(document, dict):
        raise bad_request("The JSON body must be an object.")
    for name in document:
        if name not in known:
            raise unknown_parameter(name)
    return document


def read_lifetime(document: Mapping[str, Any], param: str) -> float | None:
    """Seconds a file is to live, from ``{"anchor": "created_at", "seconds": N}``; None: not asked.

    Raises:
        ApiError: 400.
    """
    asked = document.get(param)
    if asked is None:
        return None
    if not isinstance(asked, dict) or asked.get("anchor") != "created_at":
        raise wrong_value(f"{param}.anchor", asked, ("created_at",))
    seconds = asked.get("seconds")
    least, most = LIFETIME_SECONDS
    if not isinstance(seconds, int) or not least <= seconds <= most:
        raise bad_request(
            f"Invalid '{param}.seconds': expected an integer from {least} to {most}.",
            code="invalid_value",
            param=f"{param}.seconds",
        )
    return float(seconds)


def read_form_lifetime(fields: Mapping[str, str]) -> float | None:
    """The same from the fields of a form.

    Raises:
        ApiError: 400.
    """
    anchor, seconds = fields.get(f"{_EXPIRY}[anchor]"), fields.get(f"{_EXPIRY}[seconds]")
    if anchor is None and seconds is None:
        return None
    number = int(seconds) if seconds and seconds.isdecimal() else seconds
    return read_lifetime({_EXPIRY: {"anchor": anchor, "seconds": number}}, _EXPIRY)


def make_page(
    documents: Sequence[dict[str, Any]], query: Mapping[str, str], *, limit: int, most: int
) -> dict[str, Any]:
    """One page of a list, as ``limit`` and ``after`` in the query ask for it.

    Args:
        documents: all there are, in order; each with its ``id``.
        query: of the request.
        limit: without one in the query.
        most: that a limit may be.

    Raises:
        ApiError: 400, the limit is none, or nothing has the id that ``after`` names.
    """
    text = query.get("limit", str(limit))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise bad_request(
            f"Invalid 'limit': expected an integer from 1 to {most}.",
            code="invalid_value",
            param="limit",
        )
    start, after = 0, query.get("after")
    if after:
        ids = [document["id"] for document in documents]
        if after not in ids:
            raise bad_request(f"Invalid 'after': no such object: {after}.", param="after")
        start = ids.index(after) + 1
    page = documents[start : start + int(text)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(documents),
    }
