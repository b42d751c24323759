"""One thing a server counts, learned from its headers.

Formulas follow the rate limits guide of the OpenAI API: ``limit`` is per minute unless the time
to a full bucket says otherwise, ``remaining`` is the level, ``reset`` the time until the bucket is
full. A server that counts in fixed windows sends the same headers and is recognised. Pure: time
is an argument, in seconds of a clock that does not go back.
"""

import math

from pipeline.domain.rates import Allowance
from pipeline.limits.bucket import Bucket, Mark

_WINDOWS_SECONDS = (60.0, 3_600.0, 86_400.0)
_TOLERANCE = 1.02  # a reset told in whole seconds is off by up to a sixtieth of a minute's limit
_FIXED_EVIDENCE_SECONDS = 5.0
"""Use worth that much refill moves the reset of a bucket, and does not that of a fixed window."""
_MARGIN_SECONDS = 0.05
"""Refill that is left in the bucket: requests do not arrive in the rhythm they were sent in."""
_MARGIN_SHARE = 0.25
_MARGIN_LIFE_SECONDS = 60.0
_MOST_STRAIN = 64.0
_CAPACITY_RISE = 0.01


class Window:
    """Finds out over what time a limit holds, from how its headers move.

    A bucket is never deeper than its limit, so ``remaining + reset * limit / window`` cannot be
    more than that: windows for which it is are ruled out for good. Where ``remaining`` falls and
    the end stays, the server counts in fixed windows, which end at once.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.is_fixed = False
        self._index = 0
        self._anchor: tuple[float, float, float] | None = None

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.limit / _WINDOWS_SECONDS[self._index]

    def learn(self, remaining: float, reset: float, now: float) -> None:
        """Take in one reading: units, seconds, seconds."""
        self._look_for_fixed_end(remaining, reset, now)
        if self.is_fixed:
            return
        bound = self.limit * _TOLERANCE + 1
        while self._index < len(_WINDOWS_SECONDS) - 1 and remaining + reset * self.rate > bound:
            self._index += 1

    def compute_capacity(self, remaining: float, reset: float | None) -> float:
        """How much a full bucket holds, by one reading; at least one unit."""
        if reset is None or self.is_fixed:
            return self.limit
        return max(1.0, min(self.limit, remaining + reset * self.rate))

    def _look_for_fixed_end(self, remaining: float, reset: float, now: float) -> None:
        if self._anchor is None or now + reset < self._anchor[0] - _FIXED_EVIDENCE_SECONDS:
            self._anchor = (now + reset, remaining, reset)
        end, remaining_then, reset_then = self._anchor
        used_seconds = (remaining_then - remaining) * _WINDOWS_SECONDS[0] / self.limit
        if now + reset > end + _FIXED_EVIDENCE_SECONDS / 2 or used_seconds < 0:
            self._anchor = (now + reset, remaining, reset)
            self.is_fixed &= used_seconds <= 0
        elif used_seconds >= _FIXED_EVIDENCE_SECONDS and not self.is_fixed:
            self.is_fixed = True
            fits = [w >= reset_then / _TOLERANCE for w in _WINDOWS_SECONDS]
            self._index = fits.index(True) if any(fits) else len(fits) - 1


class Measure:
    """One thing the server counts: a bucket that was set, one that was learned, or both.

    They are kept apart because the server's ``remaining`` says nothing of a lower rate that was
    set: taken together it would be lifted to the server's.
    """

    def __init__(self, per_minute: float | None, burst_seconds: float) -> None:
        self.chosen: Bucket | None = None
        self.learned: Bucket | None = None
        self._window: Window | None = None
        self._strain = 1.0
        self._strained_at = 0.0
        if per_minute is not None:
            rate = per_minute / 60
            depth = max(1.0, rate * burst_seconds)
            self.chosen = Bucket(rate=rate, capacity=depth, level=depth, now=-math.inf)

    @property
    def is_known(self) -> bool:
        """Whether anything bounds this measure."""
        return self.chosen is not None or self.learned is not None

    @property
    def rate(self) -> float:
        """Units a second; infinite when nothing is known."""
        buckets = (self.chosen, self.learned)
        return min((bucket.rate for bucket in buckets if bucket is not None), default=math.inf)

    def compute_wait(self, amount: float, now: float) -> float:
        """Seconds until this much, and the margin behind it, is there."""
        wait = 0.0
        for bucket in (self.chosen, self.learned):
            if bucket is not None:
                wanted = amount + self._compute_margin(bucket, amount, now)
                wait = max(wait, bucket.compute_wait(wanted, now))
        return wait

    def take(self, amount: float, now: float) -> Mark | None:
        """Take it; the mark is of the learned bucket."""
        if self.chosen is not None:
            self.chosen.take(amount, now)
        return None if self.learned is None else self.learned.take(amount, now)

    def put_back(self, amount: float, now: float, *, is_learned_of: bool) -> None:
        """Return what was not used; of what was sent the server tells itself."""
        if self.chosen is not None:
            self.chosen.shift(amount, now)
        if self.learned is not None and is_learned_of:
            self.learned.shift(amount, now)

    def learn(self, told: Allowance, now: float) -> bool:
        """Take in limit, window and depth; whether the bucket was not known before."""
        limit, remaining, reset = told.limit, told.remaining, told.reset_seconds
        if limit is None or not 0 < limit < math.inf:
            return False
        if self._window is None or abs(self._window.limit - limit) > limit * (_TOLERANCE - 1):
            self._window = Window(limit)
            old_capacity = None
        else:
            old_capacity = self.learned.capacity if self.learned else None
        remaining = limit if remaining is None else remaining
        if reset is not None:
            self._window.learn(remaining, reset, now)
        capacity = self._window.compute_capacity(remaining, reset)
        if old_capacity is not None:
            # A reset that is rounded up makes the bucket look deeper than it is, never shallower.
            capacity = min(capacity, old_capacity + (capacity - old_capacity) * _CAPACITY_RISE)
        return self._set_learned(self._window.rate, max(capacity, remaining), remaining, now)

    def strain(self, now: float) -> None:
        """A refusal came although there was room by the model: keep more distance."""
        self._strain = min(_MOST_STRAIN, 2 * self._compute_strain(now))
        self._strained_at = now

    def scale_debt(self, factor: float, now: float) -> None:
        """The share changed: what was taken beyond the level was ours alone, not everybody's."""
        for bucket in (self.chosen, self.learned):
            if bucket is not None:
                debt = min(0.0, bucket.measure(now))
                bucket.shift(debt * (factor - 1), now)

    def drop_to(self, level: float, now: float) -> None:
        """The server said there is not more left than that."""
        bucket = self.learned or self.chosen
        if bucket is not None:
            bucket.drop_to(level, now)

    def _set_learned(self, rate: float, capacity: float, remaining: float, now: float) -> bool:
        is_first = self.learned is None
        if self.learned is None:
            self.learned = Bucket(rate=rate, capacity=capacity, level=remaining, now=now)
        else:
            self.learned.resize(rate=rate, capacity=capacity, now=now)
        if self.chosen is not None and is_first:
            self._deepen(self.chosen, min(capacity, self.chosen.rate * capacity / rate), now)
        return is_first

    @staticmethod
    def _deepen(chosen: Bucket, capacity: float, now: float) -> None:
        """The server's own depth outranks the one that was set, as if it had been so all along."""
        gained = capacity - chosen.capacity
        chosen.resize(rate=chosen.rate, capacity=max(1.0, capacity), now=now)
        if gained > 0:
            chosen.shift(gained, now)

    def _compute_margin(self, bucket: Bucket, amount: float, now: float) -> float:
        base = _MARGIN_SECONDS * bucket.rate + amount
        return min(base * self._compute_strain(now), bucket.capacity * _MARGIN_SHARE)

    def _compute_strain(self, now: float) -> float:
        if self._strain == 1.0:
            return 1.0
        lives = (now - self._strained_at) / _MARGIN_LIFE_SECONDS
        return 1 + (self._strain - 1) * math.exp2(-lives)
