"""A token bucket as the server keeps one, followed from our side of the wire.

A bucket fills with ``rate`` a second up to ``capacity``; a request takes its amount when it is
let in and is refused when there is too little (see "Token bucket", Turner 1986, and the rate
limits guide of the OpenAI API: limits refill continuously). Pure: time is an argument, in seconds
of any clock that does not go back.
"""

import math
from dataclasses import dataclass

_OVERTAKING_SECONDS = 0.1
"""Requests that are sent so close together arrive in any order."""
_DRAIN_SECONDS = 8.0
"""Corrections of so long become a drain: several times the usual time to an answer, so that the
model does not swing, and little enough to follow others who begin and end."""
_MOST_DRAIN = 0.9


@dataclass(slots=True)
class Mark:
    """The level as the model saw it when one request was sent, its own amount taken."""

    level: float
    corrected: float
    """Sum of all corrections up to then: what came since concerns this level, too."""
    overtaken: float = 0.0
    """What was taken so shortly before that the server may have let it in afterwards."""


class Bucket:
    """What is left in a server's bucket, as far as we know.

    The level may fall below zero: then more was sent than there was. What drains the bucket beside
    us (others with the same key, requests that are counted for more than was thought) is seen as
    corrections that all go down, and is taken off the rate, or each of them would come too late.

    Args:
        rate: units that come back in a second; above zero.
        capacity: units when it is full.
        level: units now.
        now: seconds.
    """

    __slots__ = ("_at", "_burst", "_burst_at", "_corrected", "_drain", "_level", "capacity", "rate")

    def __init__(self, *, rate: float, capacity: float, level: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = min(level, capacity)
        self._corrected = 0.0
        self._drain = 0.0
        self._burst = 0.0
        self._burst_at = now
        self._at = now

    @property
    def refill(self) -> float:
        """What comes back for us in a second."""
        return self.rate - self._drain

    def measure(self, now: float) -> float:
        """The level now."""
        if now > self._at:
            self._level = min(self.capacity, self._level + self.refill * (now - self._at))
            self._at = now
        return self._level

    def take(self, amount: float, now: float) -> Mark:
        """Take one request's amount, whether there is enough or not."""
        self._level = self.measure(now) - amount
        if now > self._burst_at:
            self._burst *= math.exp((self._burst_at - now) / _OVERTAKING_SECONDS)
            self._burst_at = now
        overtaken, self._burst = self._burst, self._burst + amount
        return Mark(self._level, self._corrected, overtaken)

    def postpone(self, mark: Mark, seconds: float) -> None:
        """What was taken is sent only now: the server's bucket went on filling meanwhile."""
        mark.level = min(self.capacity, mark.level + self.refill * seconds)

    def shift(self, amount: float, now: float) -> None:
        """Correct the level by an amount; it never passes the capacity."""
        before = self.measure(now)
        self._level = min(self.capacity, before + amount)
        self._corrected += self._level - before

    def drop_to(self, level: float, now: float) -> None:
        """There is no more than this left; what is known to be less stays."""
        self.shift(min(0.0, level - self.measure(now)), now)

    def observe(self, mark: Mark, remaining: float, now: float) -> None:
        """Compare with what an answer said was left, and correct what cannot be otherwise.

        The server wrote ``remaining`` at a moment between sending and receiving that is not
        known: most write it when they let a request in, some when they answer. What lies between
        the level at sending and the level now is therefore no evidence of an error; what lies
        outside is corrected by its distance to the nearer of the two. The last request of a burst
        may have arrived first, and then tells of a level that the others have used up since.
        """
        level = self.measure(now)
        at_send = min(self.capacity, mark.level + self._corrected - mark.corrected)
        low = min(at_send, level)
        high = max(min(self.capacity, at_send + mark.overtaken), level)
        error = remaining - min(max(remaining, low), high)
        if error:
            self.shift(error, now)
            drain = self._drain - max(-self.rate, min(self.rate, error)) / _DRAIN_SECONDS
            self._drain = max(0.0, min(_MOST_DRAIN * self.rate, drain))

    def resize(self, *, rate: float, capacity: float, now: float) -> None:
        """Go on with another rate and capacity; the level stays, as far as it fits."""
        level = self.measure(now)
        self._drain *= rate / self.rate
        self.rate = rate
        self.capacity = capacity
        if level > capacity:
            self.shift(0.0, now)

    def compute_wait(self, level: float, now: float) -> float:
        """Seconds until this level is reached, or a full bucket if that is less; 0 if it is."""
        missing = min(level, self.capacity) - self.measure(now)
        # What is missing by a rounding error is not worth a timer that rounds the same way.
        return missing / self.refill if missing > 1e-9 * self.capacity else 0.0
