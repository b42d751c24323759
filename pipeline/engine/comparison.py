"""Quote against bill, over the requests of one run."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.costs.differences import Gap, Gaps
from pipeline.domain.jobs import JobId
from pipeline.domain.outcomes import Deferred, Outcome, Passed, Reused, Skipped, Spend, Tagged
from pipeline.domain.usage import Quote
from pipeline.engine.routes import Pricing

FIRST_STEP = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it was sent: for whom, as what, and what it was expected to cost."""

    job: JobId
    step: str
    """``ask``, or what it followed: only pictures are quoted, not what their answers lead to."""
    quote: Quote
    pricing: Pricing
    """Of whom was asked."""


@dataclass(slots=True)
class Comparison:
    """What was quoted, and why the bill differs.

    A picture is quoted once in a run, with the request that it is first billed for. A try that
    costs nothing and is repeated is no part of quote or bill.
    """

    quoted_nanos: int = 0
    causes: Counter[Gap] = field(default_factory=Counter)
    """Nano-dollars more than quoted; of what had a price beforehand."""
    sent_bytes: int = 0
    original_bytes: int = 0
    """Of the files whose pictures were answered about."""
    saved_tokens: int = 0
    """Of pictures whose tokens the server counted, against sending the files' own size."""
    _quoted: set[JobId] = field(default_factory=set)
    """Jobs that were quoted and put off: whose next try is not quoted again."""

    def note(self, asked: Asked, outcome: Outcome) -> None:
        """Take up how a request ended; once for each."""
        if isinstance(outcome, Reused | Skipped):
            return
        spend = outcome.spend
        if spend is not None:
            self._note_saving(asked.quote, spend)
        if asked.step != FIRST_STEP or asked.job in self._quoted:
            gap = Gap.TRIED_AGAIN if asked.step == FIRST_STEP else Gap.FOLLOW_UPS
            self._add({gap: (spend.cost or 0) if spend else 0})
        elif spend is not None:
            self._compare(asked, spend)
        elif isinstance(outcome, Deferred) and not outcome.may_be_billed:
            return  # as if it had not been sent
        else:
            is_lost = not isinstance(outcome, Tagged) and outcome.may_be_billed
            self._write_off(asked.quote, Gap.LOST if is_lost else Gap.NOT_BILLED)
        self._remember(asked.job, outcome)

    def explain(self, actual_nanos: int) -> Gaps:
        """Why a bill differs from what was quoted, the largest cause first; they add up to it."""
        causes = Counter(self.causes)
        # what had no price beforehand was not compared
        causes[Gap.UNQUOTED] += actual_nanos - self.quoted_nanos - sum(causes.values())
        ordered = sorted(causes.items(), key=lambda item: (-abs(item[1]), item[0]))
        return {gap: nanos for gap, nanos in ordered if nanos}

    def _compare(self, asked: Asked, spend: Spend) -> None:
        if spend.cost is not None and asked.quote.cost is not None:
            self.quoted_nanos += asked.quote.cost
            self._add(asked.pricing.split_difference(asked.quote, spend))

    def _write_off(self, quote: Quote, gap: Gap) -> None:
        self.quoted_nanos += quote.cost or 0
        self._add({gap: -(quote.cost or 0)})

    def _remember(self, job: JobId, outcome: Outcome) -> None:
        if isinstance(outcome, Deferred):
            self._quoted.add(job)
        elif not isinstance(outcome, Passed):
            self._quoted.discard(job)

    def _add(self, gaps: Gaps) -> None:
        for gap, nanos in gaps.items():
            self.causes[gap] += nanos

    def _note_saving(self, quote: Quote, spend: Spend) -> None:
        self.sent_bytes += quote.sent_bytes
        self.original_bytes += quote.original_bytes
        if not spend.usage_is_estimated:
            self.saved_tokens += quote.original_tokens - quote.picture_tokens
