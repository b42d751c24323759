"""What went wrong, as a line for people, a document for programs and an exit code."""

import logging
import traceback
from collections.abc import Iterator
from typing import Any, Final

from pipeline.cli.output import show_document, tell
from pipeline.domain.errors import LedgerStaysAway, PipelineError, RunPaused, UsageError

DONE: Final = 0
FAULT: Final = 1
USAGE: Final = 2
IMAGES_FAILED: Final = 3
PAUSED: Final = 4
INTERRUPTED: Final = 130

_BUG = "this is a bug in tagpipe; what was settled is safe. Please report it with the lines above"
_KINDS = {USAGE: "usage", PAUSED: "paused", INTERRUPTED: "interrupted"}


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """The errors inside a task group's group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves_of(part)
    else:
        yield error


def pick_cause(error: BaseException) -> BaseException:
    """The one to tell of: a bug hides behind nothing, an interruption only behind a bug."""
    return min(leaves_of(error), key=_rank)


def _rank(leaf: BaseException) -> int:
    if isinstance(leaf, PipelineError):
        return 2
    return 1 if isinstance(leaf, KeyboardInterrupt) else 0


def report_fault(error: BaseException, *, as_json: bool) -> int:
    """Tell of an error that ended a verb; return the exit code."""
    cause = pick_cause(error)
    is_foreseen = isinstance(cause, PipelineError | KeyboardInterrupt)
    if not is_foreseen or logging.getLogger("pipeline").isEnabledFor(logging.DEBUG):
        tell("".join(traceback.format_exception(error)).rstrip())
    if not is_foreseen:
        tell(_BUG)
    code = _exit_code_of(cause)
    report(_text_of(cause), code, as_json=as_json)
    return code


def _exit_code_of(cause: BaseException) -> int:
    match cause:
        case UsageError():
            return USAGE
        case RunPaused() | LedgerStaysAway():
            return PAUSED
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return FAULT


def _text_of(cause: BaseException) -> str:
    if isinstance(cause, KeyboardInterrupt):
        return "interrupted"
    return str(cause) if isinstance(cause, PipelineError) else f"{type(cause).__name__}: {cause}"


def report(message: str, code: int, *, as_json: bool) -> None:
    """One clear text on stderr, and with ``--json`` the document on stdout."""
    tell(message if code == INTERRUPTED else f"error: {message}")
    if as_json:
        show_document(describe_fault(message, code))


def describe_fault(message: str, code: int) -> dict[str, Any]:
    """The document that stands for a result that did not come about."""
    kind = _KINDS.get(code, "fault")
    return {"error": {"kind": kind, "message": message, "exit_code": code}}
