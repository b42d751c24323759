"""The exception tree, drawn once.

PipelineError
├── UsageError                    the user's words or settings are off            exit 2
│   ├── ConfigurationError        a key, its value, and what is allowed
│   └── MissingExtraError         a feature whose optional package is not installed
├── EnvironmentFault              disk, permissions, database: not one image's      exit 1
│   └── LedgerAway                the ledger does not take it now; it may later
│       └── LedgerStaysAway       ... and did not for as long as was agreed     exit 4
├── ImageError                    this image cannot be prepared (terminal, costs nothing)
├── AskError                      one request had no usable answer
│   ├── TransientError            may be tried again
│   │   ├── RateLimited
│   │   │   ├── SlowDown          too sudden a rise: slower, and steady for a while
│   │   │   └── NoCapacity        the cheap lane (flex) has no room now; not billed
│   │   ├── ProviderUnavailable
│   │   │   └── Overloaded        too many at once
│   │   ├── AttemptTimeout
│   │   ├── TransportError
│   │   ├── LineExpired           its batch ended before its turn; not billed
│   │   └── InvalidAnswer         billed; a second try often fits the schema
│   │       ├── NoAnswer          no choice, or no words in it
│   │       └── BrokenJson        no JSON object, or one that ends too soon
│   └── TerminalError             concerns this image; do not try again
│       ├── RequestRejected
│       ├── ContentRefused        billed
│       ├── ContentFiltered       billed unless refused before the model ran
│       ├── AnswerCut             billed; max_output_tokens was not enough
│       └── ModelSubstituted      billed; another model answered than the one required
└── RunPaused                     concerns the whole run: stop, tell, fail no image   exit 4
    ├── CredentialsRefused
    ├── CreditExhausted
    ├── ModelUnavailable
    ├── RequestShapeRefused       the server refuses what every request has in common
    ├── AnswersUnusable           nothing that came back so far could be used
    ├── AnswersTurned             far more useless answers than the run had before
    ├── ServerDown                nobody answers any more
    ├── RateStuck                 refused for too long with nothing getting through
    ├── BatchesUnderWay           the server still works on batches; nobody waits for them here
    ├── BatchRefused              the server takes no batch, or not this kind of it
    ├── BatchTaken                another run goes on with a batch of ours
    └── BudgetExhausted

Errors carry facts, not prose to match on. Every ``AskError`` names its ``Cause``.
"""

from typing import ClassVar

from pipeline.domain.outcomes import Cause
from pipeline.domain.rates import RateReading
from pipeline.domain.vision import VisionResponse

_UNUSABLE = frozenset({Cause.INVALID_ANSWER, Cause.NO_ANSWER, Cause.BROKEN_JSON, Cause.SUBSTITUTED})


class PipelineError(Exception):
    """Root of everything we raise on purpose. ``str(error)`` is fit for a user."""


class UsageError(PipelineError):
    """The user's words or settings are off; nothing was done."""


class ConfigurationError(UsageError):
    """A setting is off; the text names the key, the value and what is allowed."""


class MissingExtraError(UsageError):
    """An optional package is missing.

    Args:
        feature: what the user wanted, such as ``reading HEIC pictures``.
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'tagpipe[{extra}]'")
        self.feature = feature
        self.extra = extra


class EnvironmentFault(PipelineError):
    """The machine, the disk or the database failed, not an image."""


class LedgerAway(EnvironmentFault):
    """The ledger cannot be reached, is locked or has no room: the same may work later."""

    is_writing = True
    """Whether it was to write: a ledger may be read that cannot be written."""


class LedgerStaysAway(LedgerAway):
    """The ledger was away for as long as a run waits for it: the run pauses, resumable."""


class ImageError(PipelineError):
    """This image cannot be prepared; it is settled with ``cause`` and costs nothing."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class AskError(PipelineError):
    """One request brought no usable answer."""

    default_cause: ClassVar[Cause]

    def __init__(  # noqa: PLR0913  facts of the wire, all optional
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
        response: VisionResponse | None = None,
        may_be_billed: bool = False,
        rates: RateReading | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id
        self.response = response
        """The billed answer behind the error, if there was one."""
        self.may_be_billed = may_be_billed
        """The request went out and nobody knows what the server made of it."""
        self.rates = rates
        """What the refusal said about the limits."""

    @property
    def cause(self) -> Cause:
        return self.default_cause


class TransientError(AskError):
    """May be tried again."""


class RateLimited(TransientError):
    default_cause = Cause.RATE_LIMITED


class SlowDown(RateLimited):
    """The rate rose too suddenly: lower it, then hold it."""


class NoCapacity(RateLimited):
    """The lane asked for (flex) has no room now; nothing was billed."""

    default_cause = Cause.NO_CAPACITY


class ProviderUnavailable(TransientError):
    default_cause = Cause.SERVER_ERROR


class Overloaded(ProviderUnavailable):
    """The server says that it has too much to do."""


class AttemptTimeout(TransientError):
    default_cause = Cause.TIMEOUT


class TransportError(TransientError):
    default_cause = Cause.CONNECTION


class LineExpired(TransientError):
    """A batch ended before this line's turn came: nothing was done, nothing is billed."""

    default_cause = Cause.EXPIRED


class InvalidAnswer(TransientError):
    default_cause = Cause.INVALID_ANSWER


class NoAnswer(InvalidAnswer):
    default_cause = Cause.NO_ANSWER


class BrokenJson(InvalidAnswer):
    default_cause = Cause.BROKEN_JSON


class TerminalError(AskError):
    """Concerns this image only; trying again would not help."""


class RequestRejected(TerminalError):
    default_cause = Cause.REJECTED


class ContentRefused(TerminalError):
    default_cause = Cause.REFUSED


class ContentFiltered(TerminalError):
    default_cause = Cause.CONTENT_FILTER


class AnswerCut(TerminalError):
    default_cause = Cause.LENGTH


class ModelSubstituted(TerminalError):
    default_cause = Cause.SUBSTITUTED


class RunPaused(PipelineError):
    """Concerns the whole run. The text says what happened and what to do."""

    blames: ClassVar[frozenset[Cause]] = frozenset()
    """Causes that images failed for since the last good answer although this is to blame."""


class CredentialsRefused(RunPaused):
    """401 or 403: the key is wrong, revoked, or not allowed here."""


class CreditExhausted(RunPaused):
    """The account has no credit or reached its own spend limit."""


class ModelUnavailable(RunPaused):
    """The model is unknown to the server, or retired."""


class RequestShapeRefused(RunPaused):
    """The server refuses the schema or a parameter that every request carries."""


class AnswersUnusable(RunPaused):
    """The first answers were all cut or broke the schema: the rest would be paid in vain."""

    blames = _UNUSABLE | {Cause.LENGTH, Cause.REJECTED}


class AnswersTurned(RunPaused):
    """Of late, far more answers are useless than before in this run: something changed."""

    blames = _UNUSABLE | {Cause.LENGTH, Cause.REJECTED, Cause.REFUSED, Cause.CONTENT_FILTER}


class ServerDown(RunPaused):
    """Many requests in a row had no answer."""

    blames = frozenset({Cause.CONNECTION, Cause.TIMEOUT, Cause.SERVER_ERROR})


class RateStuck(RunPaused):
    """The server has refused every request as too fast, for minutes."""

    blames = frozenset({Cause.RATE_LIMITED, Cause.NO_CAPACITY})


class BatchesUnderWay(RunPaused):
    """All that is left to do is at the server; whoever runs next picks up the answers."""


class BatchRefused(RunPaused):
    """The server refuses batches, or what all lines of one have in common."""


class BatchTaken(RunPaused):
    """Another run goes on with a batch of ours: for its machine we were dead."""


class BudgetExhausted(RunPaused):
    """A cap (of the run, the day or the month) leaves no room for the next request."""
