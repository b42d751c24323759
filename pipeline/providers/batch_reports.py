"""What a server says of its batches, read into our words: fields may be missing, odd or new."""

import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from pipeline.domain.batches import BatchFault, BatchReport, RemoteState
from pipeline.providers.complaint import tidy
from pipeline.providers.loose_json import as_count, as_mapping, as_sequence, as_text

_log = logging.getLogger(__name__)
TOKEN_KEY: Final = "tagpipe"  # noqa: S105  the name of a pair in a batch's metadata
"""Under which a batch's metadata holds the token that makes it ours."""
_MOST_WORD_CHARACTERS: Final = 100
_MOST_STATES_NOTED: Final = 64
_LATEST_SECONDS: Final = 10**11


def read_report(document: Any) -> BatchReport | None:
    """One batch as the Batch API shows it; None for what has no id and so is none."""
    batch = as_mapping(document)
    remote_id = as_text(batch.get("id"))
    if remote_id is None:
        return None
    counts = as_mapping(batch.get("request_counts"))
    return BatchReport(
        remote_id=remote_id,
        state=_read_state(as_text(batch.get("status")) or ""),
        input_file=as_text(batch.get("input_file_id")) or "",
        output_file=as_text(batch.get("output_file_id")),
        error_file=as_text(batch.get("error_file_id")),
        total=as_count(counts.get("total")) or 0,
        completed=as_count(counts.get("completed")) or 0,
        failed=as_count(counts.get("failed")) or 0,
        faults=tuple(_list_faults(batch)),
        token=as_text(as_mapping(batch.get("metadata")).get(TOKEN_KEY)),
        created_at_ms=_read_milliseconds(batch.get("created_at")),
        ends_by_ms=_read_milliseconds(batch.get("expires_at")),
    )


@lru_cache(maxsize=_MOST_STATES_NOTED)  # so that each unknown word is noted once
def _read_state(word: str) -> RemoteState:
    try:
        return RemoteState(word)
    except ValueError:
        # The harmless reading: it is looked at again, and nothing is taken for over that is not.
        shown = tidy(word, most=_MOST_WORD_CHARACTERS)
        _log.warning("batch.unknown_state", extra={"state": shown, "taken_for": "in_progress"})
        return RemoteState.IN_PROGRESS


def _list_faults(batch: Mapping[str, Any]) -> Iterator[BatchFault]:
    for fault in map(as_mapping, as_sequence(as_mapping(batch.get("errors")).get("data"))):
        code, message = as_text(fault.get("code")), as_text(fault.get("message"))
        yield BatchFault(
            code=tidy(code or "unknown", most=_MOST_WORD_CHARACTERS),
            message=tidy(message or "no message"),
            line=as_count(fault.get("line")),
        )


def _read_milliseconds(value: Any) -> int | None:
    """UTC milliseconds of a Unix time in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value * 1000) if 0 < value < _LATEST_SECONDS else None
