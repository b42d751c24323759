"""The lines of a batch's files: what is asked in one, what came of it in another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson

from pipeline.domain.batches import Answered, BatchLine, Unanswered
from pipeline.domain.errors import AskError, LineExpired, PipelineError, RunPaused
from pipeline.domain.vision import ServiceTier, VisionRequest, VisionResponse
from pipeline.providers.complaint import tidy
from pipeline.providers.errors_map import classify, classify_reported
from pipeline.providers.loose_json import as_count, as_mapping, as_text
from pipeline.providers.openai_dialect import OpenAIDialect

MOST_ID_BYTES: Final = 64
"""As JSON. The API names no limit; 64 is the least that has been told of one."""
_EXPIRED: Final = frozenset({"batch_expired", "batch_cancelled"})
_SUCCESS: Final = range(200, 300)
_STATUSES: Final = range(100, 600)


class UnreadableLineError(ValueError):
    """A line that tells nothing, or not of what."""


def write_line(
    custom_id: str, request: VisionRequest, *, dialect: OpenAIDialect, path: str
) -> tuple[bytes, ...]:
    """One request as a line, in pieces, with its line break.

    Raises:
        ValueError: the id is longer than ``MOST_ID_BYTES``.
    """
    shown = orjson.dumps(custom_id)
    if len(shown) > MOST_ID_BYTES:
        raise ValueError(f"custom_id has more than {MOST_ID_BYTES} bytes: {custom_id}")
    body = dialect.write(_name_lane(request))
    return (_open_line(shown, path), *map(_keep_on_line, body), b"}\n")


def measure_line(request: VisionRequest, *, dialect: OpenAIDialect, path: str) -> int:
    """At most so many bytes will its line have; the picture is not encoded for it."""
    around = len(_open_line(b"", path)) + MOST_ID_BYTES + len(b"}\n")
    return around + dialect.measure(_name_lane(request))


def _open_line(custom_id: bytes, path: str) -> bytes:
    url = orjson.dumps(path)
    return b'{"custom_id":%b,"method":"POST","url":%b,"body":' % (custom_id, url)


def _name_lane(request: VisionRequest) -> VisionRequest:
    """The file is the lane: a line in it must name none."""
    return replace(request, service_tier=ServiceTier.BATCH)


def _keep_on_line(piece: bytes) -> bytes:
    # JSON escapes what is within strings, so a raw break is white space between two tokens.
    return piece.replace(b"\n", b" ").replace(b"\r", b" ")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReader:
    """Reads what came of each line. Its errors are values: one line's is no reason to stop."""

    dialect: OpenAIDialect
    server: str
    """For the text of errors."""
    model: str
    """Taken for the one that answered where a line does not say."""
    now: datetime

    def read(self, line: bytes) -> BatchLine:
        """One line of an output or error file.

        Raises:
            UnreadableLineError: it is no JSON object with a ``custom_id``.
        """
        document = as_mapping(_parse(line))
        custom_id = as_text(document.get("custom_id"))
        if custom_id is None:
            raise UnreadableLineError("no custom_id" if document else "no JSON object")
        try:
            response = self._read_outcome(document)
        except (AskError, RunPaused) as error:
            return Unanswered(custom_id=custom_id, error=_tell_lane(error))
        return Answered(custom_id=custom_id, response=_set_lane(response))

    def _read_outcome(self, document: Mapping[str, Any]) -> VisionResponse:
        response = as_mapping(document.get("response"))
        status = as_count(response.get("status_code"))
        request_id = as_text(response.get("request_id"))
        body = response.get("body")
        if status in _SUCCESS:
            return self._read_answer(body, request_id=request_id)
        if status is not None and status in _STATUSES:
            headers = {"x-request-id": request_id} if request_id else {}
            said = orjson.dumps(body) if body else b""
            raise classify(status, said, headers, now=self.now, server=self.server)
        if reported := document.get("error"):
            raise self._judge_reported(reported, request_id=request_id)
        return self._read_answer(body, request_id=request_id)

    def _read_answer(self, body: Any, *, request_id: str | None) -> VisionResponse:
        return self.dialect.read(body, request_id=request_id, asked_model=self.model)

    def _judge_reported(self, reported: Any, *, request_id: str | None) -> PipelineError:
        error = as_mapping(reported)
        code = as_text(error.get("code"))
        if code not in _EXPIRED:
            return classify_reported(reported, request_id=request_id, server=self.server)
        message = tidy(as_text(error.get("message")) or "the batch ended before its turn came")
        return LineExpired(f"{message} (code {code})", code=code, request_id=request_id)


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _parse_leniently(line)


def _parse_leniently(line: bytes) -> Any:
    """A line with half a character in it (a model's emoji, cut) is paid for: it is used, too."""
    try:
        document = json.loads(line.decode(errors="replace"))
        return orjson.loads(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        raise UnreadableLineError("no JSON object") from None


def _set_lane(response: VisionResponse) -> VisionResponse:
    # Bodies have been seen to say "default"; the way it came decides what it costs.
    return replace(response, service_tier=ServiceTier.BATCH.value)


def _tell_lane(error: AskError | RunPaused) -> AskError | RunPaused:
    if isinstance(error, AskError) and error.response is not None:
        error.response = _set_lane(error.response)
    # It is kept, not raised: the trace would keep the whole line with it.
    return error.with_traceback(None)
