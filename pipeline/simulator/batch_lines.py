"""One line of a batch: what it is answered, and how the output files say it."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.simulator.batch_input import InputLine, read_line
from pipeline.simulator.batches import Batch
from pipeline.simulator.behavior import Fault
from pipeline.simulator.books import LogLine, Visit
from pipeline.simulator.decisions import LINE_DECISIONS, Verdict
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Thought, describe, think
from pipeline.simulator.mind import Mind
from pipeline.simulator.refusals import make_refusal
from pipeline.simulator.replying import BATCH_TIER

FIRST_ERROR_STATUS: Final = 400
_ANSWERED: Final = 200
_WITHOUT_CONNECTION: Final = frozenset({Fault.HANG, Fault.RESET, Fault.CUT_BODY, Fault.BAD_BODY})
"""Faults of a connection, which a line has not: it fails instead."""
EXPIRED: Final = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
CANCELLED: Final = (
    "batch_cancelled",
    "This request could not be executed before the batch was cancelled.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineThought:
    """A line that was thought about."""

    line: InputLine
    thought: Thought | ApiError
    """The error: the real API would refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """What an output file says of a line."""

    status: int
    text: bytes

    @property
    def is_error(self) -> bool:
        return self.status >= FIRST_ERROR_STATUS


def think_of_line(mind: Mind, batch: Batch, offset: int) -> LineThought:
    """Read the line that begins there and think about it; for a thread."""
    if batch.source is None:
        raise RuntimeError("a batch without input has no lines")
    line = read_line(batch.source, offset)
    find_model = partial(mind.find_model, behavior=batch.behavior)
    try:
        thought = think(line.body, batch.wish.api, find_model, seed=batch.behavior.seed)
    except ApiError as error:
        return LineThought(line=line, thought=error)
    return LineThought(line=line, thought=thought)


def answer_line(mind: Mind, batch: Batch, thoughts: LineThought) -> OutputLine:
    """Decide, charge, book and write the answer of one line."""
    custom_id = thoughts.line.custom_id
    heading = LogLine(
        when=time.time(), api=batch.wish.api, batch=batch.id, custom_id=custom_id, model=batch.model
    )
    with mind.books.open_line(heading) as visit:
        if isinstance(thoughts.thought, ApiError):
            status, body = thoughts.thought.status, thoughts.thought.document()
        else:
            visit.note(**describe(thoughts.thought))
            status, body = _answer(mind, batch, thoughts.thought, visit)
        visit.note(status=status)
    return OutputLine(status=status, text=_write_answer(custom_id, status, body))


def _answer(mind: Mind, batch: Batch, thought: Thought, visit: Visit) -> tuple[int, dict[str, Any]]:
    judgement = mind.judge(
        thought, batch.behavior, batch.plan, tier="auto", decisions=LINE_DECISIONS
    )
    mind.count(judgement, visit)
    error = _find_error(judgement.verdict, model=thought.asked.model)
    if error is not None:
        return error.status, error.document()
    reply = mind.reply(thought, judgement, visit, tier=BATCH_TIER, key=batch.key)
    visit.note(delivered=True)
    batch.bill.add(reply.usage, reply.cost_nano)
    mind.close(judgement)
    return _ANSWERED, mind.write(reply)


def _find_error(verdict: Verdict, *, model: str) -> ApiError | None:
    error, fault = verdict.error, verdict.fault
    # proxies stand between a client and the API, not between a batch and its model
    if fault in _WITHOUT_CONNECTION or (error is not None and error.is_html):
        return make_refusal(Fault.SERVER_ERROR, model=model, wait_ms=0)
    return error


def _write_answer(custom_id: str, status: int, body: dict[str, Any]) -> bytes:
    request_id = f"req_{secrets.token_hex(16)}"
    response = {"status_code": status, "request_id": request_id, "body": body}
    return _write(custom_id, response=response, error=None)


def write_unanswered(custom_ids: Sequence[str], why: tuple[str, str]) -> bytes:
    """Lines for requests that were never worked on; ``why`` is code and message."""
    error = {"code": why[0], "message": why[1]}
    return b"".join(_write(custom_id, response=None, error=error) for custom_id in custom_ids)


def _write(
    custom_id: str, *, response: dict[str, Any] | None, error: dict[str, str] | None
) -> bytes:
    line_id = f"batch_req_{secrets.token_hex(16)}"
    line = {"id": line_id, "custom_id": custom_id, "response": response, "error": error}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def read_custom_ids(path: Path, offsets: Sequence[int]) -> list[str]:
    """The custom ids of the lines that begin there; for a thread."""
    return [read_line(path, offset).custom_id for offset in offsets]
