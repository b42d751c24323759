"""How the server behaves: answers, latency, limits and faults, all drawn from one seed."""

import math
import random
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Fault(StrEnum):
    """What can go wrong with one request; the names are those of the shares in ``Behavior``.

    Their order decides which request meets which, so that a seed keeps its faults.
    """

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CUT_BODY = "cut_body"
    BAD_JSON = "bad_json"
    HANG = "hang"
    REFUSED = "refused"
    WRONG_SCHEMA = "wrong_schema"
    TOKENS_LIMITED = "tokens_limited"
    SLOW_DOWN = "slow_down"
    FLEX_SHORTAGE = "flex_shortage"
    NO_QUOTA = "no_quota"
    CREDIT_EXHAUSTED = "credit_exhausted"
    ORGANIZATION_SPEND = "organization_spend"
    PROJECT_SPEND = "project_spend"
    ORGANIZATION_USAGE = "organization_usage"
    BAD_GATEWAY = "bad_gateway"
    OVERLOADED = "overloaded"
    GATEWAY_TIMEOUT = "gateway_timeout"
    ERROR_IN_200 = "error_in_200"
    RESET = "reset"
    SLOW_BODY = "slow_body"
    BAD_BODY = "bad_body"
    NO_CHOICES = "no_choices"
    EMPTY_ANSWER = "empty_answer"
    CUT_ANSWER = "cut_answer"
    CONTENT_FILTER = "content_filter"
    SUBSTITUTED = "substituted"
    DOWNGRADED = "downgraded"


class Outage(StrEnum):
    """What every request of a run can meet."""

    BAD_KEY = "bad_key"
    FORBIDDEN = "forbidden"
    NO_CREDIT = "no_credit"
    SPEND_LIMIT = "spend_limit"
    NO_MODEL = "no_model"
    SCHEMA = "schema"
    DOWN = "down"


Share = Field(0.0, ge=0, le=1)
PerMinute = Field(None, ge=1)


class Behavior(BaseModel):
    """Frozen; a run against the same behaviour meets the same answers, delays and faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Decides answers, delays and faults.")
    require_key: str | None = Field(
        None, repr=False, description="The only key that is accepted; unset: any, and none."
    )
    retire: bool = Field(default=False, description="Whether retired models are unknown.")

    latency_ms: float = Field(0.0, ge=0, description="Least time before an answer.")
    latency_jitter_ms: float = Field(
        0.0, ge=0, description="Added at random: the maximum when uniform, the median if lognormal."
    )
    latency_shape: Literal["uniform", "lognormal"] = "uniform"
    capacity: int | None = Field(
        None, ge=1, description="Requests at once that it serves at full speed; unset: any number."
    )
    overload_exponent: float = Field(
        1.0,
        ge=0,
        description="Beyond the capacity latency grows by (in flight / capacity) to this power.",
    )
    slow_body_ms: float = Field(
        5000.0, ge=0, description="Time over which the body of a slow answer trickles in."
    )

    requests_per_minute: int | None = PerMinute
    tokens_per_minute: int | None = PerMinute
    project_tokens_per_minute: int | None = PerMinute
    bucket_s: float = Field(
        60.0, gt=0, description="Depth of the buckets: seconds of the rate that may come at once."
    )
    headers_at: Literal["admission", "answer"] = "admission"
    rate_headers: bool = Field(
        default=True, description="Whether answers tell limits and waits; a limit holds either way."
    )
    retry_after_ms: int = Field(
        100, ge=0, description="Wait that the shares of rate-limited answers ask for."
    )

    max_faults_per_picture: int | None = Field(
        None, ge=0, description="Faults after which a picture is always answered; unset: no end."
    )
    fault_plan: Path | None = Field(
        None, description="File that names the faults of single requests; it outranks the shares."
    )
    refuse_all: Outage | None = Field(None, description="What every request meets.")
    substitute_model: str = Field(
        "gpt-5.4-nano", min_length=1, description="Answers where a model is substituted."
    )

    rate_limited: float = Share
    tokens_limited: float = Share
    slow_down: float = Share
    flex_shortage: float = Share
    no_quota: float = Share
    credit_exhausted: float = Share
    organization_spend: float = Share
    project_spend: float = Share
    organization_usage: float = Share
    server_error: float = Share
    bad_gateway: float = Share
    overloaded: float = Share
    gateway_timeout: float = Share
    error_in_200: float = Share
    reset: float = Share
    hang: float = Share
    slow_body: float = Share
    cut_body: float = Share
    bad_body: float = Share
    no_choices: float = Share
    empty_answer: float = Share
    bad_json: float = Share
    wrong_schema: float = Share
    refused: float = Share
    content_filter: float = Share
    cut_answer: float = Share
    substituted: float = Share
    downgraded: float = Share

    batch_validating_s: float = Field(
        0.1, ge=0, description="Least time a batch is looked over, in seconds."
    )
    batch_seconds: float = Field(
        2.0, ge=0, description="Least time a batch is worked on: line by line, evenly over it."
    )
    batch_finalizing_s: float = Field(
        0.1, ge=0, description="Time from a batch's last line until its files are there."
    )
    batch_cancelling_s: float = Field(
        0.1, ge=0, description="Time from the wish to cancel a batch until it is cancelled."
    )
    batch_window_s: float = Field(
        86_400.0, gt=0, description="Time after which a batch expires, told as 24h."
    )
    batch_line_errors: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of lines that fail with 500, before the shares of faults are drawn.",
    )
    stalled_batches: int = Field(
        0, ge=0, description="The first so many batches stop half-way, until cancelled or expired."
    )
    stalled_at: float = Field(
        0.5, ge=0, le=1, description="Share of its lines after which a stalled batch stops."
    )
    batch_enqueued_tokens: int | None = Field(
        None,
        ge=1,
        description="Input tokens of a model in batches that are not over; unset: any number.",
    )
    batch_creates_per_hour: int = Field(2000, ge=1, description="Batches created within an hour.")
    failed_batch_calls: float = Field(
        0.0, ge=0, le=1, description="Share of calls about files and batches that end with 503."
    )
    lost_batch_creates: float = Field(
        0.0, ge=0, le=1, description="Share of batches created without an answer that says so."
    )
    lost_file_uploads: float = Field(
        0.0, ge=0, le=1, description="Share of files kept without an answer that says so."
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        total = math.fsum(self.shares().values())
        if total > 1:
            message = f"the shares of faults add up to {total:g}; they may be 1 at most"
            raise ValueError(message)
        return self

    def shares(self) -> dict[Fault, float]:
        """Share of requests that meet each fault."""
        return {fault: getattr(self, fault.value) for fault in Fault}

    @cached_property
    def likely_faults(self) -> tuple[tuple[Fault, float], ...]:
        """The faults that can come at all, with their shares."""
        return tuple((fault, share) for fault, share in self.shares().items() if share)


def _make_chance(behavior: Behavior, what: str, picture: str, times_seen: int) -> random.Random:
    return random.Random(f"{behavior.seed}/{what}/{picture}/{times_seen}")


def draw_fault(behavior: Behavior, picture: str, *, times_seen: int) -> Fault | None:
    """Pick the fault of a picture's next request, or none; independent of all other pictures."""
    if not behavior.likely_faults:
        return None
    point = _make_chance(behavior, "fault", picture, times_seen).random()
    for fault, share in behavior.likely_faults:
        if point < share:
            return fault
        point -= share
    return None


def strikes_line(behavior: Behavior, picture: str, *, times_seen: int) -> bool:
    """Whether a batch's line about a picture fails, apart from the faults of all requests."""
    share = behavior.batch_line_errors
    return bool(share) and _make_chance(behavior, "line", picture, times_seen).random() < share


def strikes_call(behavior: Behavior, what: str, *, number: int) -> bool:
    """Whether the ``number``-th call of a kind meets what the share named ``what`` says."""
    share: float = getattr(behavior, what)
    return bool(share) and _make_chance(behavior, "call", what, number).random() < share


def draw_latency_seconds(behavior: Behavior, picture: str, *, times_seen: int) -> float:
    """Pick how long a picture's next request takes, in seconds."""
    jitter = behavior.latency_jitter_ms
    if jitter:
        chance = _make_chance(behavior, "latency", picture, times_seen)
        spread = chance.random()
        if behavior.latency_shape == "lognormal":
            # sigma 0.5: one request in twenty takes more than 2.3 medians
            spread = chance.lognormvariate(0, 0.5)
        jitter *= spread
    return (behavior.latency_ms + jitter) / 1000


def overload_factor(behavior: Behavior, *, in_flight: int) -> float:
    """How many times longer an answer takes with so many requests at once; at least 1."""
    if behavior.capacity is None:
        return 1.0
    return float(max(1.0, in_flight / behavior.capacity) ** behavior.overload_exponent)
