"""How much may be asked a minute: token buckets that are told the time, and what they say."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.simulator.behavior import Behavior

Measure = Literal["requests", "tokens", "project-tokens"]
"""As the names of the headers end."""

_SLACK: Final = 1e-6
"""Of a request or token: what a refill may lack by rounding."""


class Bucket:
    """Fills evenly, holds ``depth_s`` seconds of its rate, and is full at first.

    A draw of more than it can ever hold is let through when it is full, and leaves a debt: a
    shallow bucket slows large requests without shutting them out, and the rate holds.
    """

    def __init__(self, per_minute: int, *, depth_s: float, now: float) -> None:
        self.per_minute = per_minute
        self._capacity = per_minute * depth_s / 60
        self._level = self._capacity
        self._at = now

    def resize(self, per_minute: int, *, depth_s: float, now: float) -> None:
        """Go on at another rate: what is over the new capacity is lost, and nothing is added."""
        self._fill(now)
        self.per_minute = per_minute
        self._capacity = per_minute * depth_s / 60
        self._level = min(self._level, self._capacity)

    def count_remaining(self, now: float) -> int:
        """What may be drawn at once, in whole units."""
        self._fill(now)
        return max(0, math.floor(self._level + _SLACK))

    def measure_reset_seconds(self, now: float) -> float:
        """Time until it is full if nothing is drawn."""
        self._fill(now)
        return (self._capacity - self._level) * 60 / self.per_minute

    def measure_wait_seconds(self, amount: int, now: float) -> float:
        """Time until ``amount`` would be let through; infinite for more than a whole limit."""
        self._fill(now)
        if amount > self.per_minute:
            return math.inf
        missing = min(amount, self._capacity) - self._level
        return missing * 60 / self.per_minute if missing > _SLACK else 0.0

    def draw(self, amount: int) -> None:
        """Take what ``measure_wait_seconds`` has let through at the same time."""
        self._level -= amount

    def _fill(self, now: float) -> None:
        # answers may be asked about out of order; a bucket's time never goes back
        elapsed = max(0.0, now - self._at)
        self._at += elapsed
        self._level = min(self._capacity, self._level + elapsed * self.per_minute / 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdraft:
    """Why a request is not let in."""

    measure: Measure
    limit: int
    remaining: int
    requested: int
    wait_ms: int | None
    """Until it would be let in; None: never, it is larger than the whole limit."""


Limits = Mapping[Measure, int]
"""Units a minute; what is not limited is not there."""


def read_limits(behavior: Behavior) -> dict[Measure, int]:
    """What the behaviour limits."""
    limits: dict[Measure, int | None] = {
        "requests": behavior.requests_per_minute,
        "tokens": behavior.tokens_per_minute,
        "project-tokens": behavior.project_tokens_per_minute,
    }
    return {measure: limit for measure, limit in limits.items() if limit is not None}


class Limiter:
    """The buckets of each API key and model. Used on one event loop."""

    def __init__(self, limits: Limits, *, depth_s: float) -> None:
        self._limits = limits
        self._depth_s = depth_s
        self._shelf: dict[tuple[str, str], dict[Measure, Bucket]] = {}

    def change(self, limits: Limits, *, depth_s: float, now: float) -> None:
        """Put other limits in force at once, for all buckets there are."""
        self._limits, self._depth_s = limits, depth_s
        for owner, buckets in self._shelf.items():
            kept = {measure: old for measure, old in buckets.items() if measure in limits}
            for measure, old in kept.items():
                old.resize(limits[measure], depth_s=depth_s, now=now)
            self._shelf[owner] = self._make_buckets(now) | kept

    def admit(self, key: str, model: str, *, tokens: int, now: float) -> Overdraft | None:
        """Draw one request and its tokens, or nothing at all and say what is overdrawn."""
        if not self._limits:
            return None
        buckets = self._find(key, model, now)
        asked = {measure: 1 if measure == "requests" else tokens for measure in buckets}
        waits = {
            measure: bucket.measure_wait_seconds(asked[measure], now)
            for measure, bucket in buckets.items()
        }
        slowest = max(waits, key=lambda measure: waits[measure])
        if waits[slowest]:
            return Overdraft(
                measure=slowest,
                limit=buckets[slowest].per_minute,
                remaining=buckets[slowest].count_remaining(now),
                requested=asked[slowest],
                wait_ms=_to_whole_ms(waits[slowest]),
            )
        for measure, bucket in buckets.items():
            bucket.draw(asked[measure])
        return None

    def make_headers(self, key: str, model: str, *, now: float) -> dict[str, str]:
        """Say limits, levels and times to full of one key and model."""
        if not self._limits:
            return {}
        headers = {}
        # asking does not open an account: a name nobody was let in under has full buckets
        buckets = self._shelf.get((key, model)) or self._make_buckets(now)
        for measure, bucket in buckets.items():
            headers[f"x-ratelimit-limit-{measure}"] = str(bucket.per_minute)
            headers[f"x-ratelimit-remaining-{measure}"] = str(bucket.count_remaining(now))
            reset = write_duration(bucket.measure_reset_seconds(now))
            headers[f"x-ratelimit-reset-{measure}"] = reset
        return headers

    def _find(self, key: str, model: str, now: float) -> dict[Measure, Bucket]:
        owner = (key, model)
        if owner not in self._shelf:
            self._shelf[owner] = self._make_buckets(now)
        return self._shelf[owner]

    def _make_buckets(self, now: float) -> dict[Measure, Bucket]:
        return {
            measure: Bucket(limit, depth_s=self._depth_s, now=now)
            for measure, limit in self._limits.items()
        }


def _to_whole_ms(seconds: float) -> int | None:
    """Round up, for who waits so long is to be let in; None for ever."""
    return math.ceil(seconds * 1000 - _SLACK) if math.isfinite(seconds) else None


def write_duration(seconds: float) -> str:
    """Write a duration as the API does: ``0s``, ``120ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    whole_ms = _to_whole_ms(seconds) or 0
    if 0 < whole_ms < 1000:  # noqa: PLR2004 - a second
        return f"{whole_ms}ms"
    whole_seconds, rest_ms = divmod(whole_ms, 1000)
    minutes, last_seconds = divmod(whole_seconds, 60)
    hours, last_minutes = divmod(minutes, 60)
    fraction = f".{rest_ms:03}".rstrip("0") if rest_ms else ""
    text = f"{last_seconds}{fraction}s"
    if minutes:
        text = f"{last_minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def word_overdraft(overdraft: Overdraft, model: str, *, tells_wait: bool) -> str:
    """Say it as the API does (rate limits guide, 2026-08)."""
    is_requests = overdraft.measure == "requests"
    what = "requests per min (RPM)" if is_requests else "tokens per min (TPM)"
    if overdraft.wait_ms is None:
        return (
            f"Request too large for {model} on {what}: Limit {overdraft.limit}, Requested "
            f"{overdraft.requested}. The input or output tokens must be reduced in order to run "
            "successfully."
        )
    used = max(0, overdraft.limit - overdraft.remaining)
    wait = f" Please try again in {write_duration(overdraft.wait_ms / 1000)}." if tells_wait else ""
    return (
        f"Rate limit reached for {model} on {what}: Limit {overdraft.limit}, Used {used}, "
        f"Requested {overdraft.requested}.{wait}"
    )
