"""What the server was asked and what it would have charged."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import Any, Final

from pipeline.domain.usage import TokenUsage
from pipeline.simulator.behavior import Fault

LOG_LENGTH: Final = 100_000
"""Requests the log remembers; the sums forget none."""
UNANSWERED: Final = "none"
"""Stands for the status of a request that got none: it hung, or the client left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One request, once it has ended."""

    number: int = 0
    """In the order of ending, from 1."""
    when: float
    """Arrival, seconds since 1970."""
    api: str
    model: str | None = None
    sha256: str | None = None
    """Of the picture in question."""
    width: int | None = None
    height: int | None = None
    detail: str | None = None
    status: int | None = None
    fault: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int | None = None
    """None when nothing was billed, or the model has no known price."""


@dataclass(slots=True)
class PictureAccount:
    """How often a picture was sent, spoilt, and answered for good."""

    seen: int = 0
    faults: int = 0
    answered: bool = False


class Books:
    """Sums over all requests since the start or the last reset. Used on one event loop."""

    def __init__(self) -> None:
        self._inflight = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything, how often each picture was seen included."""
        self.requests = 0
        self.answered = 0
        self.sent_again = 0
        """Requests about a picture that had been answered for good before."""
        self.max_inflight = 0
        self.by_status: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.usage = TokenUsage()
        self.cost_nano: Counter[str] = Counter()
        """By model."""
        self.pictures: dict[bytes, PictureAccount] = {}
        self.log: deque[LogLine] = deque(maxlen=LOG_LENGTH)
        self._numbers = count(1)

    @contextmanager
    def open_visit(self, line: LogLine) -> Iterator["Visit"]:
        """Count a request in flight, and book it at its end, however it ends."""
        self.requests += 1
        self._inflight += 1
        self.max_inflight = max(self.max_inflight, self._inflight)
        visit = Visit(line)
        try:
            yield visit
        finally:
            self._inflight -= 1
            self._enter(visit)

    def open_account(self, sha256: str) -> PictureAccount:
        """Find or make a picture's account; a request without one gets a loose leaf."""
        key = bytes.fromhex(sha256)
        return self.pictures.setdefault(key, PictureAccount()) if key else PictureAccount()

    def _enter(self, visit: "Visit") -> None:
        line = replace(visit.line, number=next(self._numbers))
        self.log.append(line)
        self.by_status[UNANSWERED if line.status is None else str(line.status)] += 1
        if line.fault:
            self.by_fault[line.fault] += 1
        self.usage += visit.usage
        if line.model is not None and line.cost_nano is not None:
            self.cost_nano[line.model] += line.cost_nano

    def list_after(self, number: int) -> list[dict[str, Any]]:
        """Log lines with a higher number, oldest first."""
        first = self.log[0].number if self.log else 0
        return [asdict(line) for line in islice(self.log, max(0, number - first + 1), None)]

    def summarize(self) -> dict[str, Any]:
        """Everything but the log, JSON-ready."""
        return {
            "requests": self.requests,
            "answered": self.answered,
            "by_status": dict(self.by_status),
            "by_fault": dict(self.by_fault),
            "pictures": len(self.pictures),
            "pictures_answered": sum(account.answered for account in self.pictures.values()),
            "sent_again": self.sent_again,
            "inflight": self._inflight,
            "max_inflight": self.max_inflight,
            "tokens": {
                "input": self.usage.input,
                "cached": self.usage.cached,
                "output": self.usage.output,
            },
            "cost_nano": dict(self.cost_nano),
        }


class Visit:
    """One request under way: what the log will say of it."""

    def __init__(self, line: LogLine) -> None:
        self.line = line
        self.usage = TokenUsage()

    def note(self, **facts: Any) -> None:
        """Add facts to the line to be logged."""
        self.line = replace(self.line, **facts)

    def bill(self, usage: TokenUsage, *, cost_nano: int | None) -> None:
        """Charge for an answer, from the moment it is made: the client may leave unanswered."""
        self.usage = usage
        self.note(
            input_tokens=usage.input,
            cached_tokens=usage.cached,
            output_tokens=usage.output,
            cost_nano=cost_nano,
        )


FINAL_FAULTS: Final = frozenset({None, Fault.REFUSED})
"""After these a client has its answer and no reason to ask again."""
