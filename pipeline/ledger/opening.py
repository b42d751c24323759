"""What is written before a request is sent: the attempt, unless there is no need or no money."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from pipeline.domain.batches import BatchId
from pipeline.domain.jobs import AttemptId, ClaimedJob, ResultId, ReviewState, RunId
from pipeline.domain.usage import NO_QUOTE, Quote
from pipeline.ledger.caps import Caps, CapStanding, OverCap, Purse
from pipeline.ledger.facts import Facts, write_facts
from pipeline.ledger.prepared import Insertion, Lookup
from pipeline.ledger.tables import attempt_is_open, attempts, results


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Whom a request asks, as what, and what it can cost."""

    model: str
    tier: str | None
    endpoint: str | None
    step: str
    """``ask``, ``repair``, ``more_room`` or ``fallback``."""
    reserved_nanos: int
    """The most it can cost."""
    quote: Quote = NO_QUOTE
    batch_id: BatchId | None = None
    """The batch whose line it is; None for a request of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The attempt is on record: the request may be sent."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyAnswered:
    """The same picture was answered under the same profile: nothing to send."""

    result_id: ResultId
    confidence: float | None
    review: ReviewState = ReviewState.NONE
    """What a person said of it about an image with the same bytes."""


@dataclass(frozen=True, slots=True)
class BeingAsked:
    """Somebody is asking about the same picture already."""

    is_in_batch: bool = False
    """It may be answered tomorrow."""


Admission: TypeAlias = Opened | AlreadyAnswered | BeingAsked | OverCap
Refusals: TypeAlias = dict[AttemptId, Admission]
"""Why attempts are not on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An attempt that is to be put on record."""

    attempt_id: AttemptId
    job: ClaimedJob
    request_key: bytes
    now_ms: int
    terms: Terms
    facts: Facts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Who opens attempts, and what the caps are."""

    run: RunId
    provider: str
    caps: Caps

    def write(
        self, connection: Connection, openings: Sequence[Opening]
    ) -> tuple[Refusals, Sequence[CapStanding]]:
        """Put attempts on record; return why some are not, and what is used of the caps."""
        found = _FIND_KNOWN.run(connection, [opening.request_key for opening in openings])
        answered = {bytes(row.request_key): answer_of(row.id, row.confidence) for row in found}
        refused: Refusals = {
            opening.attempt_id: answered[opening.request_key]
            for opening in openings
            if opening.request_key in answered
        }
        unanswered = [opening for opening in openings if opening.attempt_id not in refused]
        over, standings = self._pay(connection, unanswered)
        rows = [self._row_of(opening) for opening in unanswered if opening.attempt_id not in over]
        # in one order for all processes: they would lock each other out, else
        _OPEN_ATTEMPTS.run(connection, sorted(rows, key=itemgetter("request_key")))
        # of those whose question somebody else has open, there is none on record
        opened = {row.id for row in _FIND_OPENED.run(connection, [row["id"] for row in rows])}
        asked = _explain_asked(connection, [row for row in rows if row["id"] not in opened])
        write_facts(
            connection,
            [(o.job.image_id, o.facts) for o in unanswered if o.facts and o.attempt_id in opened],
        )
        return {**refused, **over, **asked}, standings

    def _pay(
        self, connection: Connection, openings: Sequence[Opening]
    ) -> tuple[Mapping[AttemptId, OverCap], Sequence[CapStanding]]:
        """Hold the worst of each in turn; return those that pass a cap.

        An attempt whose confirmation was lost is on record and held already; one whose question
        somebody has open will not be put on record.
        """
        if not openings or not self.caps.list_set():
            return {}, ()
        ids = [opening.attempt_id for opening in openings]
        keys = [opening.request_key for opening in openings]
        is_held = {row.id for row in _FIND_OPENED.run(connection, ids)}
        is_open = {bytes(row.request_key) for row in _FIND_OPEN_KEYS.run(connection, keys)}
        purse, over = Purse(connection, self.caps), dict[AttemptId, OverCap]()
        for opening in openings:
            if opening.attempt_id in is_held or opening.request_key in is_open:
                continue
            if refusal := purse.take(opening.now_ms, opening.terms.reserved_nanos):
                over[opening.attempt_id] = refusal
            else:
                is_open.add(opening.request_key)
        return over, purse.describe(openings[-1].now_ms)

    def _row_of(self, opening: Opening) -> dict[str, Any]:
        terms, quote = opening.terms, opening.terms.quote
        return {
            "id": opening.attempt_id,
            "job_id": opening.job.id,
            "run_id": self.run,
            "request_key": opening.request_key,
            "state": "open",
            "provider": self.provider,
            "endpoint": terms.endpoint,
            "model_asked": terms.model,
            "tier_asked": terms.tier,
            "step": terms.step,
            "reserved_nanos": terms.reserved_nanos,
            "opened_at": opening.now_ms,
            "batch_id": terms.batch_id,
            "picture_tokens": quote.picture_tokens,
            "quoted_input": quote.input,
            "quoted_cached": quote.cached,
            "quoted_output": quote.output,
            "quoted_nanos": quote.cost,
            "sent_bytes": quote.sent_bytes,
            "original_bytes": quote.original_bytes,
            "original_tokens": quote.original_tokens,
        }


def _explain_asked(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> dict[AttemptId, BeingAsked]:
    """Of attempts that are not on record: whether the question that is open is in a batch."""
    found = _FIND_OPEN_KEYS.run(connection, [row["request_key"] for row in rows])
    in_batches = {bytes(row.request_key) for row in found if row.batch_id is not None}
    return {row["id"]: BeingAsked(row["request_key"] in in_batches) for row in rows}


def answer_of(result_id: int, confidence: float | None) -> AlreadyAnswered:
    """An answer that is on record."""
    return AlreadyAnswered(result_id=ResultId(result_id), confidence=confidence)


_FIND_KNOWN = Lookup(
    lambda among: select(results.c.request_key, results.c.id, results.c.confidence).where(
        among(results.c.request_key)
    )
)

_OPEN_ATTEMPTS = Insertion(
    attempts,
    (
        "id", "job_id", "run_id", "request_key", "state", "provider", "endpoint", "model_asked",
        "tier_asked", "step", "reserved_nanos", "opened_at", "batch_id", "picture_tokens",
        "quoted_input", "quoted_cached", "quoted_output", "quoted_nanos", "sent_bytes",
        "original_bytes", "original_tokens",
    ),
)  # fmt: skip
_FIND_OPENED = Lookup(lambda among: select(attempts.c.id).where(among(attempts.c.id)))
_FIND_OPEN_KEYS = Lookup(
    lambda among: select(attempts.c.request_key, attempts.c.batch_id).where(
        among(attempts.c.request_key), attempt_is_open
    )
)
