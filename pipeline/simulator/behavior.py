"""How the server behaves: answers, latency and faults, all drawn from one seed."""

import math
import random
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Fault(StrEnum):
    """What can go wrong with one request; the names are those of the shares in ``Behavior``."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CUT_BODY = "cut_body"
    BAD_JSON = "bad_json"
    HANG = "hang"
    REFUSED = "refused"
    WRONG_SCHEMA = "wrong_schema"


Share = Field(0.0, ge=0, le=1)


class Behavior(BaseModel):
    """Frozen; a run against the same behaviour meets the same answers, delays and faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="Decides answers, delays and faults.")
    latency_ms: float = Field(0.0, ge=0, description="Least time before an answer.")
    latency_jitter_ms: float = Field(
        0.0, ge=0, description="Added at random: the maximum when uniform, the median if lognormal."
    )
    latency_shape: Literal["uniform", "lognormal"] = "uniform"
    require_key: str | None = Field(
        None, repr=False, description="The only key that is accepted; unset: any, and none."
    )
    retire: bool = Field(default=False, description="Whether retired models are unknown.")
    retry_after_ms: int = Field(100, ge=0, description="Wait that a rate-limited answer asks for.")
    max_faults_per_picture: int | None = Field(
        None, ge=0, description="Faults after which a picture is always answered; unset: no end."
    )
    rate_limited: float = Share
    server_error: float = Share
    cut_body: float = Share
    bad_json: float = Share
    hang: float = Share
    refused: float = Share
    wrong_schema: float = Share

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


def _make_chance(behavior: Behavior, what: str, picture: str, times_seen: int) -> random.Random:
    return random.Random(f"{behavior.seed}/{what}/{picture}/{times_seen}")


def draw_fault(behavior: Behavior, picture: str, *, times_seen: int) -> Fault | None:
    """Pick the fault of a picture's next request, or none; independent of all other pictures."""
    point = _make_chance(behavior, "fault", picture, times_seen).random()
    for fault, share in behavior.shares().items():
        if point < share:
            return fault
        point -= share
    return None


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
