"""What a server said when it refused: whatever shape it came in, read into one value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from pipeline.providers.credentials import hide_echoes
from pipeline.providers.loose_json import as_mapping, as_sequence, as_text
from pipeline.providers.retry_after import read_retry_after

_MOST_MESSAGE_CHARACTERS: Final = 300
_MOST_WORD_CHARACTERS: Final = 100
_MOST_READ: Final = 8192
_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_STATUS_OF_REPORTED: Final = 500
_REQUEST_ID_HEADERS: Final = ("x-request-id", "apim-request-id", "request-id")
_WORD_KEYS: Final = ("code", "type", "status", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A refusal, read."""

    status: int
    message: str
    """One line, at most 300 characters, without keys or pictures."""
    labels: frozenset[str]
    """Every code, type and reason in it, in lower case: servers differ in where they put them."""
    code: str | None = None
    param: str = ""
    request_id: str | None = None
    retry_after_seconds: float | None = None
    should_retry: bool | None = None
    """What ``x-should-retry`` says, if it is sent."""
    is_reported: bool = False
    """Whether it came inside an answer with HTTP 200."""

    def describe(self) -> str:
        """The server's words, and the facts beside them."""
        facts = ["inside HTTP 200" if self.is_reported else f"HTTP {self.status}"]
        facts += [f"code {self.code}"] if self.code else []
        facts += [f"param {self.param}"] if self.param else []
        facts += [f"request {self.request_id}"] if self.request_id else []
        return f"{self.message} ({', '.join(facts)})"


def read_complaint(
    status: int, body: bytes, headers: Mapping[str, str], *, now: datetime
) -> Complaint:
    """Read an answer that is no success.

    Args:
        status: HTTP status.
        body: whatever came with it.
        headers: names in lower case.
        now: aware; a ``Retry-After`` date is measured against it.
    """
    error = _find_error(body)
    retry = {"true": True, "false": False}
    message = headers.get("location", "") if status in range(300, 400) else _read_message(error)
    return Complaint(
        status=status,
        message=tidy(message or _describe_body(body)),
        labels=_collect_labels(error),
        code=_read_code(error),
        param=_read_param(error),
        request_id=read_request_id(headers),
        retry_after_seconds=read_retry_after(headers, now=now),
        should_retry=retry.get(headers.get("x-should-retry", "").strip().lower()),
    )


def read_reported(reported: Any, *, request_id: str | None) -> Complaint:
    """Read the ``error`` of an answer that claims success (OpenRouter, failed Responses)."""
    error = as_mapping(reported) or {"message": reported}
    code = _read_code(error)
    is_status = code is not None and re.fullmatch(r"[45]\d\d", code) is not None
    return Complaint(
        status=int(code) if code and is_status else _STATUS_OF_REPORTED,
        message=tidy(_read_message(error) or "no message"),
        labels=_collect_labels(error),
        code=code,
        param=_read_param(error),
        request_id=request_id,
        is_reported=True,
    )


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """The id under which the server's support finds the request."""
    found = (headers.get(name, "").strip() for name in _REQUEST_ID_HEADERS)
    return next((tidy(text, most=_MOST_WORD_CHARACTERS) for text in found if text), None)


def _find_error(body: bytes) -> Mapping[str, Any]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(document, list):  # Gemini's compatible endpoint wraps it in a list
        document = document[0] if document else {}
    outer = as_mapping(document)
    if isinstance(outer.get("error"), str):
        return {"message": outer["error"]}
    # Older vLLM has the facts at the top; FastAPI servers have ``detail`` there.
    return as_mapping(outer.get("error")) or outer


def _read_message(error: Mapping[str, Any]) -> str:
    detail = error.get("detail")
    first = as_mapping(next(iter(as_sequence(detail)), None))
    return as_text(error.get("message")) or as_text(detail) or as_text(first.get("msg")) or ""


def _read_code(error: Mapping[str, Any]) -> str | None:
    code = error.get("code")
    if isinstance(code, int) and not isinstance(code, bool):
        return str(code)
    text = as_text(code)
    return tidy(text, most=_MOST_WORD_CHARACTERS) if text else None


def _read_param(error: Mapping[str, Any]) -> str:
    if param := as_text(error.get("param")):
        return tidy(param, most=_MOST_WORD_CHARACTERS)
    detail = as_mapping(next(iter(as_sequence(error.get("detail"))), None))
    path = [str(step) for step in as_sequence(detail.get("loc"))]
    joined = ".".join(path[1:] if path[:1] == ["body"] else path)
    return tidy(joined, most=_MOST_WORD_CHARACTERS)


def _collect_labels(error: Mapping[str, Any]) -> frozenset[str]:
    nested = [as_mapping(error.get("innererror")), *map(as_mapping, _list_details(error))]
    words = {text.lower() for part in (error, *nested) for text in _list_words(part)}
    if "flagged_input" in as_mapping(error.get("metadata")):  # OpenRouter's moderation
        words.add("content_filter")
    return frozenset(words)


def _list_details(error: Mapping[str, Any]) -> Iterator[Any]:
    yield from as_sequence(error.get("details"))
    yield from as_sequence(error.get("detail"))


def _list_words(part: Mapping[str, Any]) -> Iterator[str]:
    for key in _WORD_KEYS:
        if text := as_text(part.get(key)):
            yield text


def _describe_body(body: bytes) -> str:
    text = body[:_MOST_READ].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        title = _TITLE.search(text)
        return f"an HTML page ({title[1].strip()})" if title else "an HTML page"
    return text or "an empty body"


def tidy(text: str, *, most: int = _MOST_MESSAGE_CHARACTERS) -> str:
    """One printable line without keys or pictures: it goes to terminals, logs and the ledger."""
    printable = "".join(
        character if character.isprintable() else " "
        for character in hide_echoes(text[:_MOST_READ])
    )
    line = " ".join(printable.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
