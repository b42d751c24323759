"""How an attempt ended: exactly one of Tagged, Reused, Skipped, Deferred, Passed, Failed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from pipeline.domain.jobs import ResultId, ReviewState
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import Answer


class Cause(StrEnum):
    """Why an image has no answer, or not yet. Stored, counted and shown as is."""

    # the file: nothing was sent, nothing was paid
    MISSING = "missing"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    # the answer: billed
    REFUSED = "refused"
    CONTENT_FILTER = "content_filter"
    LENGTH = "length"
    INVALID_ANSWER = "invalid_answer"
    NO_ANSWER = "no_answer"
    BROKEN_JSON = "broken_json"
    SUBSTITUTED = "substituted"
    LOW_CONFIDENCE = "low_confidence"
    # the request
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    NO_CAPACITY = "no_capacity"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    EXPIRED = "expired"
    # the run
    LOST = "lost"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    ASKED_ELSEWHERE = "asked_elsewhere"


CAUSE_HELP: dict[Cause, str] = {
    Cause.MISSING: "the file was gone when its turn came; run scan again",
    Cause.UNREADABLE: "the file could not be read; check permissions and the disk, then retry",
    Cause.EMPTY: "the file has no bytes; restore it from its source",
    Cause.NOT_AN_IMAGE: "the content is no known image format, whatever the name says",
    Cause.UNSUPPORTED_FORMAT: "the format needs an extra or a conversion first",
    Cause.TRUNCATED: "the file ends before the picture does; copy it again from its source",
    Cause.CORRUPT: "the picture data is damaged; restore the file from its source",
    Cause.TOO_LARGE: "more pixels or bytes than preprocess.max_pixels / max_bytes allow",
    Cause.TOO_SMALL: "smaller than preprocess.min_side",
    Cause.REFUSED: "the model declined to answer about this picture",
    Cause.CONTENT_FILTER: "the provider's content filter stopped the answer",
    Cause.LENGTH: "the answer was cut at max_output_tokens; raise it in the profile and retry",
    Cause.INVALID_ANSWER: "the answer did not fit the profile's schema, more than once",
    Cause.NO_ANSWER: "the answer was empty, more than once",
    Cause.BROKEN_JSON: "the answer was no whole JSON, more than once",
    Cause.SUBSTITUTED: "another model answered than the one asked; see provider.require_model",
    Cause.LOW_CONFIDENCE: "less sure than the profile asks for; another model was asked",
    Cause.REJECTED: "the server refused this one request as malformed; see the message",
    Cause.RATE_LIMITED: "still rate-limited after limits.retry_for_s; lower the rate and retry",
    Cause.NO_CAPACITY: "the flex lane had no room for limits.retry_for_s: provider.flex_shortage",
    Cause.SERVER_ERROR: "the server failed max_attempts times; retry later",
    Cause.TIMEOUT: "no answer in time, max_attempts times (see provider.timeout_s); retry later",
    Cause.CONNECTION: "the connection failed max_attempts times; check base_url and the network",
    Cause.EXPIRED: "its batch ended before its turn came; it is asked again",
    Cause.LOST: "the process died while the request was under way",
    Cause.INTERRUPTED: "the run was cancelled while the request was under way",
    Cause.PAUSED: "the run paused while the request was under way",
    Cause.ASKED_ELSEWHERE: "another process is asking about the same picture",
}


_NOTHING: Final = NanoDollars(0)
AT_ONCE: Final = datetime.fromtimestamp(0, UTC)
"""When an image is to be tried again that waits for nothing."""
UNTIL_NEWS: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""When an image is to be tried again that waits for a batch: as soon as one comes home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What one answered attempt used and cost."""

    usage: TokenUsage
    cost: NanoDollars | None
    """None when the model that answered has no known price."""
    model: str
    service_tier: str | None = None
    usage_is_estimated: bool = False
    request_id: str | None = None
    saved: NanoDollars = _NOTHING
    """What prompt caching took off the price; negative where writing cost more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """The provider answered and the answer fits the profile."""

    answer: Answer
    confidence: float | None
    spend: Spend


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """An answer that was already paid for serves this image too."""

    result_id: ResultId
    confidence: float | None = None
    review: ReviewState = ReviewState.NONE
    """What a person said of that answer: it holds for this image too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Decided, before spending, that this image is not worth asking about."""

    cause: Cause
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """To be tried again, not before the time given."""

    cause: Cause
    message: str
    not_before: datetime
    spend: Spend | None = None
    counts: bool = True
    """False when the image is not to blame (a paused run, the rate): its tries are not used up."""
    may_be_billed: bool = False
    """The request went out, its answer was lost: nobody here knows what it cost."""
    next_step: str | None = None
    """What the next request is to be, where not just another try: ``more_room``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """This request is over, its image is not: another request follows at once."""

    cause: Cause
    message: str
    spend: Spend | None = None
    may_be_billed: bool = False
    answer: Answer | None = None
    """Kept, for want of a better one, where the answer is good but not sure enough."""
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Ended without an answer until a person puts it back."""

    cause: Cause
    message: str
    spend: Spend | None = None
    may_be_billed: bool = False


Outcome: TypeAlias = Tagged | Reused | Skipped | Deferred | Passed | Failed
