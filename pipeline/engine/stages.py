"""What a worker works with: the rooms of one run, wired together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import anyio

from pipeline.domain.images import ImageInfo, ImageRef, PreparedImage
from pipeline.domain.jobs import ReviewState
from pipeline.domain.vision import Answer, VisionResponse
from pipeline.engine.retry import RetryPolicy
from pipeline.engine.routes import Routes
from pipeline.ledger.settling import Settler
from pipeline.limits.budget import Budget
from pipeline.limits.memory import ByteBudget


class AnswerReading(Protocol):
    """Reads an answer against the profile."""

    def read(self, response: VisionResponse) -> tuple[Answer, float | None]:
        """Return the normalised answer and the model's confidence.

        Raises:
            AskError: refused, filtered, cut or invalid.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """From an address to the bytes that are sent."""

    read: Callable[[ImageRef], Awaitable[bytes]]
    inspect: Callable[[bytes], ImageInfo]
    """Header only; raises ImageError."""
    prepare: Callable[[bytes], PreparedImage]
    estimate_memory: Callable[[bytes], int]
    """Bytes that preparing this file takes at most; reads the header only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """From the prepared bytes to a priced answer."""

    routes: Routes
    reader: AnswerReading
    flat_tags: Callable[[Answer], tuple[str, ...]]
    says_nothing: Callable[[Answer], bool]
    """Whether an answer that fits leaves everything open."""
    review_of: Callable[[float | None], ReviewState]
    policy: RetryPolicy
    requires_model: bool
    """Whether an answer by another model than the one asked is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What must not be exceeded."""

    budget: Budget
    file_memory: ByteBudget
    """Files and prepared pictures in flight."""
    decode_memory: ByteBudget
    """Pictures while they are decoded; taken after ``file_memory``, never before."""
    threads: anyio.CapacityLimiter
    """CPU work at once."""
    max_concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, handed in so that tests can hold them still."""

    now: Callable[[], datetime]
    """UTC."""
    monotonic: Callable[[], float]
    chance: Callable[[], float]
    """Uniform in [0, 1)."""

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """All of it."""

    pictures: Pictures
    asking: Asking
    ceilings: Ceilings
    settler: Settler
    clock: Clock
