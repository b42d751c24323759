"""Batches: what is asked, what states they go through, and how many there may be."""

import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from pipeline.domain.batches import RemoteState
from pipeline.domain.usage import TokenUsage
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.books import Bill
from pipeline.simulator.calendar import Calendar
from pipeline.simulator.errors import (
    ApiError,
    bad_request,
    make_wait_headers,
    wrong_type,
    wrong_value,
)
from pipeline.simulator.forms import read_lifetime, read_object, require_text
from pipeline.simulator.plan import FaultPlan
from pipeline.simulator.reading import Api

ENDPOINTS: Final[Mapping[str, Api]] = {
    "/v1/chat/completions": Api.CHAT,
    "/v1/responses": Api.RESPONSES,
}
WINDOW: Final = "24h"
_KNOWN: Final = frozenset(
    {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
)
_MOST_PAIRS, _MOST_KEY, _MOST_VALUE = 16, 64, 512
"""Of metadata, the last two in characters (API reference, 2026-09)."""
_HOUR_SECONDS: Final = 3600.0
_TIMED: Final = (
    RemoteState.IN_PROGRESS,
    RemoteState.FINALIZING,
    RemoteState.COMPLETED,
    RemoteState.FAILED,
    RemoteState.EXPIRED,
    RemoteState.CANCELLING,
    RemoteState.CANCELLED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWish:
    """What one call asks for."""

    input_file_id: str
    endpoint: str
    metadata: Mapping[str, str] | None = None
    output_lifetime_seconds: float | None = None

    @property
    def api(self) -> Api:
        return ENDPOINTS[self.endpoint]


def read_wish(body: bytes) -> BatchWish:
    """Read the call.

    Raises:
        ApiError: 400, in the words of the API.
    """
    document = read_object(body, known=_KNOWN)
    input_file_id = require_text(document, "input_file_id")
    endpoint, window = (require_text(document, name) for name in ("endpoint", "completion_window"))
    if endpoint not in ENDPOINTS:
        raise wrong_value("endpoint", endpoint, tuple(ENDPOINTS))
    if window != WINDOW:
        raise wrong_value("completion_window", window, (WINDOW,))
    return BatchWish(
        input_file_id=input_file_id,
        endpoint=endpoint,
        metadata=_read_metadata(document.get("metadata")),
        output_lifetime_seconds=read_lifetime(document, "output_expires_after"),
    )


def _read_metadata(given: object) -> Mapping[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong_type("metadata", "an object")
    if len(given) > _MOST_PAIRS:
        raise _too_long("metadata", f"at most {_MOST_PAIRS} pairs")
    for key, value in given.items():
        if len(key) > _MOST_KEY:
            raise _too_long("metadata", f"keys of at most {_MOST_KEY} characters")
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string")
        if len(value) > _MOST_VALUE:
            raise _too_long(f"metadata.{key}", f"at most {_MOST_VALUE} characters")
    return given


def _too_long(param: str, wanted: str) -> ApiError:
    return bad_request(f"Invalid '{param}': expected {wanted}.", code="invalid_value", param=param)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFault:
    """Why a batch fails before any of its lines is worked on."""

    code: str
    message: str
    line: int | None = None
    """From 1; None when it is about the whole."""
    param: str | None = None


@dataclass(slots=True, kw_only=True)
class Batch:
    """One batch, with the behaviour that it met; moments are the server's, in seconds."""

    id: str
    number: int
    """Of those created, from 1."""
    wish: BatchWish
    key: str
    """That its creator came with."""
    behavior: Behavior
    plan: FaultPlan
    source: Path | None
    """Its input, which stays when the file is deleted; None when there was none."""
    created_at: float
    state: RemoteState = RemoteState.VALIDATING
    times: dict[RemoteState, float] = field(default_factory=dict)
    """When each state began."""
    model: str | None = None
    enqueued_tokens: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    faults: tuple[InputFault, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    bill: Bill = field(default_factory=Bill)
    called_off: anyio.Event = field(default_factory=anyio.Event)
    """Set by the wish to cancel it."""

    @property
    def expires_at(self) -> float:
        return self.created_at + self.behavior.batch_window_s

    @property
    def is_enqueued(self) -> bool:
        """Whether its tokens count against the quota."""
        return not self.state.is_over and self.state is not RemoteState.VALIDATING

    def enter(self, state: RemoteState, now: float) -> None:
        """Go on to another state."""
        self.state = state
        self.times[state] = now

    def as_document(self, calendar: Calendar) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.wish.endpoint,
            "model": self.model,
            "errors": _list_faults(self.faults),
            "input_file_id": self.wish.input_file_id,
            "completion_window": WINDOW,
            "status": self.state.value,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": calendar.tell(self.created_at),
            "expires_at": calendar.tell(self.expires_at),
            **{f"{state}_at": calendar.tell(self.times.get(state)) for state in _TIMED},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": _write_usage(self.bill.usage),
            "metadata": self.wish.metadata,
        }


def _list_faults(faults: tuple[InputFault, ...]) -> dict[str, Any] | None:
    return {"object": "list", "data": [asdict(fault) for fault in faults]} if faults else None


def _write_usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


class BatchRegister:
    """All batches since the start or the last reset. Used on one event loop."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._batches: dict[str, Batch] = {}
        self._created: deque[float] = deque()

    def check_rate(self, behavior: Behavior) -> None:
        """Refuse a batch too many within the last hour.

        Raises:
            ApiError: 429.
        """
        now = self._calendar.now()
        while self._created and self._created[0] <= now - _HOUR_SECONDS:
            self._created.popleft()
        limit = behavior.batch_creates_per_hour
        if len(self._created) < limit:
            return
        error = ApiError(
            429,
            f"Rate limit reached for batch creation: Limit {limit} per hour. Please try again "
            "later.",
            code="rate_limit_exceeded",
        )
        error.kind = "requests"
        if behavior.rate_headers:
            wait_seconds = self._created[-limit] + _HOUR_SECONDS - now
            error.headers = make_wait_headers(int(wait_seconds * 1000) + 1)
        raise error

    def create(
        self, wish: BatchWish, behavior: Behavior, plan: FaultPlan, *, key: str, source: Path | None
    ) -> Batch:
        """Begin one; who works on it is the caller's affair."""
        now = self._calendar.now()
        self._created.append(now)
        batch = Batch(
            id=f"batch_{secrets.token_hex(16)}",
            number=len(self._batches) + 1,
            wish=wish,
            key=key,
            behavior=behavior,
            plan=plan,
            source=source,
            created_at=now,
        )
        self._batches[batch.id] = batch
        return batch

    def find(self, batch_id: str) -> Batch:
        """Return one.

        Raises:
            ApiError: 404.
        """
        if batch_id not in self._batches:
            raise ApiError(404, f"No batch found with id '{batch_id}'.", param="batch_id")
        return self._batches[batch_id]

    def list_newest_first(self) -> list[Batch]:
        return list(reversed(self._batches.values()))

    def cancel(self, batch_id: str) -> Batch:
        """Have one cancelled; once more does no harm.

        Raises:
            ApiError: 404, there is none; 409, it is over.
        """
        batch = self.find(batch_id)
        if batch.state.is_over:
            raise ApiError(409, f"Cannot cancel a batch with status '{batch.state}'.")
        if batch.state is not RemoteState.CANCELLING:
            batch.enter(RemoteState.CANCELLING, self._calendar.now())
            batch.called_off.set()
        return batch

    def find_quota_fault(self, batch: Batch) -> InputFault | None:
        """Say that its tokens are more than the quota of its model leaves room for."""
        limit = batch.behavior.batch_enqueued_tokens
        others = (other for other in self._batches.values() if other is not batch)
        enqueued = sum(
            other.enqueued_tokens
            for other in others
            if other.is_enqueued and other.model == batch.model
        )
        if limit is None or enqueued + batch.enqueued_tokens <= limit:
            return None
        return InputFault(
            code="token_limit_exceeded",
            message=f"Enqueued token limit reached for {batch.model} in organization org-sim. "
            f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches "
            "have been completed.",
        )

    def clear(self) -> None:
        """Forget all; who works on them must be told."""
        self._batches.clear()
        self._created.clear()
