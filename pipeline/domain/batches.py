"""The slow lane at half price: many requests in one file, answered within a day."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, TypeAlias

from pipeline.domain.errors import AskError, RunPaused
from pipeline.domain.vision import VisionResponse

BatchId = NewType("BatchId", int)
"""Ours, in the ledger; a server's own name of a batch is a text."""


class BatchState(StrEnum):
    """Where a batch of ours stands, each step on record before it is taken or once it is done."""

    PACKING = "packing"
    """Lines are being written to its file."""
    PACKED = "packed"
    """The file is whole; it may be on its way to the server."""
    UPLOADED = "uploaded"
    """The server has the file."""
    SUBMITTING = "submitting"
    """The server may have been told to work on it: it must be asked before it is told again."""
    SUBMITTED = "submitted"
    """The server works on it."""
    HARVESTED = "harvested"
    """It is over, and all that came of it is settled."""
    DISCARDED = "discarded"
    """It was never worked on: its pictures wait again."""
    FORGOTTEN = "forgotten"
    """Nobody will read its answers, which may have been billed: its pictures wait again."""


OVER: Final = (BatchState.HARVESTED, BatchState.DISCARDED, BatchState.FORGOTTEN)


class RemoteState(StrEnum):
    """What a server says of a batch; the words are OpenAI's."""

    VALIDATING = "validating"
    FAILED = "failed"
    """Refused as a whole: none of its lines was worked on."""
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    """Its time was over; what was answered until then is delivered and billed."""
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in _ENDS


_ENDS: Final = frozenset(
    {RemoteState.FAILED, RemoteState.COMPLETED, RemoteState.EXPIRED, RemoteState.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFault:
    """Why a server refused a batch, or a line of it, when it looked it over."""

    code: str
    message: str
    line: int | None = None
    """From 1; None when it is about the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a server says of one batch."""

    remote_id: str
    state: RemoteState
    input_file: str
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    faults: tuple[BatchFault, ...] = ()
    token: str | None = None
    """The token in its metadata that we gave it; None for a batch of somebody else's."""
    created_at_ms: int | None = None
    ends_by_ms: int | None = None
    """When the server gives up on what is unanswered."""

    @property
    def is_refused(self) -> bool:
        """Whether it failed as a whole; with answers to show, whatever it is called, it did not."""
        return self.state is RemoteState.FAILED and not (self.output_file or self.completed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A line with an answer, whatever it says."""

    custom_id: str
    response: VisionResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A line without one."""

    custom_id: str
    error: AskError | RunPaused


BatchLine: TypeAlias = Answered | Unanswered
