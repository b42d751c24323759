"""What a run has done so far: counted by the engine, read by whoever shows it."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from pipeline.domain.outcomes import (
    Cause,
    Deferred,
    Failed,
    Outcome,
    Passed,
    Reused,
    Skipped,
    Tagged,
)
from pipeline.domain.usage import TokenUsage
from pipeline.engine.comparison import Asked, Comparison

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """Running figures of one run. Only the engine adds; others read."""

    seen: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    moved: int = 0
    stale: int = 0
    is_scanning: bool = True
    tagged: int = 0
    reused: int = 0
    skipped: int = 0
    failed: int = 0
    deferred: int = 0
    late: int = 0
    """Outcomes that came after the lease was lost: paid, kept, but not ours to settle."""
    recovered: int = 0
    """Paid answers of an earlier run that waited in its spool."""
    requests: int = 0
    retried: int = 0
    """Requests for images that had been asked about before in vain."""
    rate_limited: int = 0
    in_flight: int = 0
    waits_for: str = ""
    """What keeps requests from being sent at this moment, in words."""
    causes: Counter[Cause] = field(default_factory=Counter)
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost_nanos: int = 0
    saved_nanos: int = 0
    """What prompt caching took off the price."""
    unpriced: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Billed answers by the model and the lane that gave them."""
    substituted: int = 0
    """Answers by another model than the one asked."""
    downgraded: int = 0
    """Answers out of another lane than the one asked."""
    steps: Counter[str] = field(default_factory=Counter)
    """Requests by what they were for: ``ask``, ``repair``, ``more_room``, ``fallback``."""
    estimate_nanos: int = 0
    """What this run sent first tries of was expected to cost; batches may come home later."""
    comparison: Comparison = field(default_factory=Comparison)
    batches: int = 0
    """That are not over, those that an earlier run sent included."""
    batches_at_server: int = 0
    """Of these, those that the server works on."""
    batches_over: int = 0
    """That this run settled."""
    in_batches: int = 0
    """Pictures in batches that are not over."""
    answered_in_batches: int = 0
    """Of these, those that the server is done with."""
    warnings: list[str] = field(default_factory=list)
    """What a person should know although nothing failed."""

    @property
    def settled(self) -> int:
        """Images that this run brought to an end."""
        return self.tagged + self.reused + self.skipped + self.failed

    def warn(self, text: str) -> None:
        """Tell a person something, once."""
        if text not in self.warnings:
            self.warnings.append(text)
            _log.warning("run.warning", extra={"text": text})

    def note_recovered(self, count: int) -> None:
        """Count paid answers that waited in the spool of an earlier run."""
        self.recovered += count
        if count:
            self.warnings.append(
                f"{count:,} paid answers of an earlier run had waited for the ledger; "
                "they are settled now"
            )

    def add_outcome(self, outcome: Outcome) -> None:
        """Count how an attempt ended."""
        match outcome:
            case Tagged():
                self.tagged += 1
            case Reused():
                self.reused += 1
            case Skipped(cause=cause):
                self.skipped += 1
                self.causes[cause] += 1
            case Deferred(cause=cause):
                self.deferred += 1
                self.rate_limited += cause is Cause.RATE_LIMITED
            case Passed(cause=cause):
                self.rate_limited += cause is Cause.RATE_LIMITED
            case Failed(cause=cause):
                self.failed += 1
                self.causes[cause] += 1
        self._add_spend(outcome)

    def add_late(self, outcome: Outcome) -> None:
        """Count an attempt whose job is not ours any more: what it cost is."""
        self.late += 1
        self._add_spend(outcome)

    def note_difference(self, asked: Asked, outcome: Outcome) -> None:
        """Compare what a settled request cost with its quote; once for each, late or not."""
        self.comparison.note(asked, outcome)

    def _add_spend(self, outcome: Outcome) -> None:
        spend = None if isinstance(outcome, Reused | Skipped) else outcome.spend
        if spend is None:
            return
        self.usage += spend.usage
        self.cost_nanos += spend.cost or 0
        self.saved_nanos += spend.saved
        self.unpriced += spend.cost is None
        self.answers[spend.model, spend.service_tier or ""] += 1
