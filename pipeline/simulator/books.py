"""What the server was asked and what it would have charged."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice
from typing import Any, Final

from pipeline.domain.usage import TokenUsage
from pipeline.simulator.behavior import Fault
from pipeline.simulator.line_book import LineBook

LOG_LENGTH: Final = 100_000
"""Requests the log remembers; the sums forget none."""
UNANSWERED: Final = "none"
"""Stands for the status of a request that got none: it hung, or the client left."""
FINAL_FAULTS: Final = frozenset(
    {
        None,
        Fault.REFUSED,
        Fault.CONTENT_FILTER,
        Fault.EMPTY_ANSWER,
        Fault.SLOW_BODY,
        Fault.SUBSTITUTED,
        Fault.DOWNGRADED,
    }
)
"""After these a client has its answer and no reason to ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One request, once it has ended."""

    number: int = 0
    """In the order of ending, from 1."""
    when: float
    """Arrival, seconds since 1970."""
    api: str
    model: str | None = None
    """As asked for."""
    answered_by: str | None = None
    tier: str | None = None
    """That served, once an answer was billed."""
    batch: str | None = None
    """Whose line it was; None for a request of its own."""
    custom_id: str | None = None
    sha256: str | None = None
    """Of the picture in question."""
    width: int | None = None
    height: int | None = None
    detail: str | None = None
    status: int | None = None
    fault: str | None = None
    refused_by: str | None = None
    """Bucket that did not let it in: ``requests``, ``tokens``, ``project-tokens``."""
    reserved_tokens: int | None = None
    """Drawn from the limits; None for a request that was not let in."""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int | None = None
    """None when nothing was billed, or the model has no known price."""
    is_billed: bool = False
    delivered: bool = False
    """Whether the whole answer was handed over and the client had not left."""


@dataclass(slots=True)
class PictureAccount:
    """How often a picture was sent, spoilt, and answered for good."""

    seen: int = 0
    faults: int = 0
    answered: bool = False


@dataclass(slots=True)
class Bill:
    """Sum of billed answers."""

    requests: int = 0
    unpriced: int = 0
    """Of these, without a known price."""
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost_nano: int = 0

    def add(self, usage: TokenUsage, cost_nano: int | None) -> None:
        self.requests += 1
        self.unpriced += cost_nano is None
        self.usage += usage
        self.cost_nano += cost_nano or 0

    def as_document(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "unpriced": self.unpriced,
            "tokens": asdict(self.usage),
            "cost_nano": self.cost_nano,
        }


@dataclass(slots=True)
class Admissions:
    """What the limits let through: enough to say what share of an allowed rate was used."""

    requests: int = 0
    tokens: int = 0
    """Input and most output, as drawn from the limits."""
    first_when: float | None = None
    """Seconds since 1970, as ``last_when``."""
    last_when: float | None = None
    first_at: float = 0.0
    """On the server's clock, in seconds, as ``last_at``: it does not jump."""
    last_at: float = 0.0

    def add(self, tokens: int, *, when: float, at: float) -> None:
        if self.first_when is None:
            self.first_when, self.first_at = when, at
        self.requests += 1
        self.tokens += tokens
        self.last_when, self.last_at = when, at

    def as_document(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "first_when": self.first_when,
            "last_when": self.last_when,
            "seconds": self.last_at - self.first_at,
        }


class Books:
    """Sums over all requests since the start or the last reset. Used on one event loop."""

    def __init__(self) -> None:
        self._inflight = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything, how often each picture was seen included."""
        self.requests = 0
        """Lines of batches included."""
        self.let_through = 0
        """Requests that met their verdict: understood, and not refused by the limits."""
        self.answered = 0
        self.sent_again = 0
        """Requests about a picture that had been answered for good before."""
        self.max_inflight = 0
        self.by_status: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.refused_by: Counter[str] = Counter()
        """Requests that a bucket did not let in, by its measure."""
        self.admitted = Admissions()
        self.usage = TokenUsage()
        self.cost_nano: Counter[str] = Counter()
        """By the model that answered."""
        self.delivered = Bill()
        self.undelivered = Bill()
        self.by_lane: dict[tuple[str, str], Bill] = {}
        """By the model and the tier that answered."""
        self.bill_by_fault: dict[str, Bill] = {}
        self.pictures: dict[bytes, PictureAccount] = {}
        self._questions: dict[str, PictureAccount] = {}
        self.lines = LineBook()
        self.log: deque[LogLine] = deque(maxlen=LOG_LENGTH)
        self._numbers = count(1)

    @property
    def inflight(self) -> int:
        """Requests under way."""
        return self._inflight

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

    @contextmanager
    def open_line(self, line: LogLine) -> Iterator["Visit"]:
        """Count a line of a batch, which keeps nobody waiting, and book it at its end."""
        self.requests += 1
        visit = Visit(line)
        try:
            yield visit
        finally:
            self._enter(visit)

    def open_account(self, sha256: str) -> PictureAccount:
        """Find or make a picture's account; a request without one gets a loose leaf."""
        key = bytes.fromhex(sha256)
        return self.pictures.setdefault(key, PictureAccount()) if key else PictureAccount()

    def open_question(self, signature: str) -> PictureAccount:
        """Find or make the account of a question that has no picture."""
        return self._questions.setdefault(signature, PictureAccount())

    def _enter(self, visit: "Visit") -> None:
        line = visit.close(next(self._numbers))
        self.log.append(line)
        self.by_status[UNANSWERED if line.status is None else str(line.status)] += 1
        if line.fault:
            self.by_fault[line.fault] += 1
        if line.refused_by:
            self.refused_by[line.refused_by] += 1
        if line.is_billed:
            self._charge(line, visit.usage)
            if line.custom_id is not None:
                self.lines.add(line.custom_id, line.sha256)

    def _charge(self, line: LogLine, usage: TokenUsage) -> None:
        model = line.answered_by or line.model or UNANSWERED
        self.usage += usage
        if line.cost_nano is not None:
            self.cost_nano[model] += line.cost_nano
        lane = self.by_lane.setdefault((model, line.tier or "default"), Bill())
        fault = self.bill_by_fault.setdefault(line.fault or UNANSWERED, Bill())
        for bill in (self.delivered if line.delivered else self.undelivered, lane, fault):
            bill.add(usage, line.cost_nano)

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
            "refused": self.refused_by.total(),
            "refused_by": dict(self.refused_by),
            "admitted": self.admitted.as_document(),
            "pictures": len(self.pictures),
            "pictures_answered": sum(account.answered for account in self.pictures.values()),
            "sent_again": self.sent_again,
            "inflight": self._inflight,
            "max_inflight": self.max_inflight,
            "tokens": asdict(self.usage),
            "cost_nano": dict(self.cost_nano),
            "delivered": self.delivered.as_document(),
            "undelivered": self.undelivered.as_document(),
            "by_lane": [
                {"model": model, "tier": tier, **bill.as_document()}
                for (model, tier), bill in self.by_lane.items()
            ],
            "batch_lines": self.lines.as_document(),
            "bill_by_fault": {
                fault: bill.as_document() for fault, bill in self.bill_by_fault.items()
            },
        }


class Visit:
    """One request under way: what the log will say of it."""

    def __init__(self, line: LogLine) -> None:
        self._line = line
        self._facts: dict[str, Any] = {}
        self.usage = TokenUsage()

    def note(self, **facts: Any) -> None:
        """Add facts to the line to be logged."""
        self._facts.update(facts)

    def bill(self, usage: TokenUsage, *, cost_nano: int | None) -> None:
        """Charge for an answer, from the moment it is made: the client may leave unanswered."""
        self.usage = usage
        self.note(
            is_billed=True,
            input_tokens=usage.input,
            cached_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            cost_nano=cost_nano,
        )

    def close(self, number: int) -> LogLine:
        """Write the line."""
        return replace(self._line, number=number, **self._facts)
