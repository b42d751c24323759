"""What a stretch of answers says of how long they take: a mean of logarithms and its spread.

Logarithms, because latencies of language models spread like a lognormal. Pure: time is an argument,
in seconds.
"""

import math
from dataclasses import dataclass, field
from typing import Final

SHORTEST_SECONDS: Final = 1e-6
"""Seconds: anything shorter counts as this, since zero has no logarithm."""
_STALE: Final = 0.15
"""Share of answers to older requests below which a window begins: the slowest may take for ever."""
_STALE_WEIGHT: Final = 1 / 8
"""Of one answer in that share: it follows the latest dozen or so."""


@dataclass(slots=True)
class Average:
    """A mean of logarithms of seconds, and how many answers stand behind it."""

    value: float = 0.0
    weight: float = 0.0

    def add(self, value: float, weight: float = 1.0, *, memory: float = math.inf) -> None:
        """Take in a value that stands for so many answers; ``memory`` is the most that count."""
        self.weight = min(self.weight, memory) + weight
        self.value += (value - self.value) * weight / self.weight


@dataclass(slots=True)
class LatencyWindow:
    """Answers of about one round trip, from when most were sent under the limit of now."""

    stepped_at: float
    """Seconds: when the limit was last changed by a step."""
    stale: float = 0.0
    """Share of the latest answers that were sent before the step; 0 once the window has begun."""
    begins_at: float = 0.0
    mean: Average = field(default_factory=Average)
    squares: float = 0.0
    """Sum of squared deviations (Welford 1962)."""
    seconds: float = 0.0
    """Sum of latencies."""

    def has_settled(self, latency: float, now: float) -> bool:
        """Whether what comes in now belongs to the limit of now.

        Args:
            latency: seconds that the answer of now took; it tells when its request was sent.
            now: seconds.
        """
        if not self.stale:
            return True
        is_stale = now - latency < self.stepped_at
        self.stale += (is_stale - self.stale) * _STALE_WEIGHT
        if self.stale < _STALE:
            self.stale, self.begins_at = 0.0, now
        return False

    def add(self, latency: float) -> None:
        """Take in one answer; its latency in seconds, above zero."""
        value = math.log(latency)
        deviation = value - self.mean.value
        self.mean.add(value)
        self.squares += deviation * (value - self.mean.value)
        self.seconds += latency

    def measure_in_flight(self, now: float) -> float:
        """Little's law: what was in flight is the time all answers took, by the time passed."""
        return self.seconds / max(now - self.begins_at, SHORTEST_SECONDS)

    def measure_spread(self) -> float:
        """Variance of the logarithm; of two answers at least."""
        return self.squares / (self.mean.weight - 1)
