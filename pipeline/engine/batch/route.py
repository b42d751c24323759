"""Whom batches are sent to, and how large they may be."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.domain.jobs import ReviewState
from pipeline.domain.vision import Answer, Question
from pipeline.engine.routes import Pricing
from pipeline.engine.stages import AnswerReading
from pipeline.limits.enqueued import EnqueuedTokens
from pipeline.providers.base import BatchDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """How the answers of one version of a profile are read."""

    reader: AnswerReading
    flat_tags: Callable[[Answer], tuple[str, ...]]
    review_of: Callable[[float | None], ReviewState]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBounds:
    """How large, how many, how patient."""

    folder: Path
    """Where a batch's file lies until the server has it."""
    max_bytes: int
    max_lines: int
    poll_seconds: float
    """The longest time between two looks at a batch."""
    is_waiting: bool
    """Whether the run stays until all batches have ended."""
    keeps_files: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRoute:
    """A server and key, a model, at batch prices."""

    name: str
    """The server, as users may see it."""
    desk: BatchDesk
    question: Question
    roomy_question: Question
    """The same with more output tokens."""
    pricing: Pricing
    bounds: BatchBounds
    enqueued: EnqueuedTokens
    version_id: int
    read_answers: Callable[[int], Awaitable[BatchReading]]
    """How answers are read that were asked for under this version of the profile."""
