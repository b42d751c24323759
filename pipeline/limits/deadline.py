"""How long may one attempt take, by how long the others took?"""

import math
from bisect import bisect_left, insort
from collections import deque

_FEWEST_ANSWERS = 50
"""Below that, the longest wait seen says nothing of the longest that is usual."""
_ANSWERS = 200
"""Enough for a 95th percentile, few enough to follow a server within minutes."""
_SHARE = 0.95
"""One in twenty may hang without its deadline becoming what is usual."""
_FACTOR = 6.0
"""Beyond that multiple an answer is lost, not late: where latencies spread like a lognormal of
sigma 0.5, one good answer in ten million takes so long."""
_LEAST_SECONDS = 20.0
"""A hiccup of a proxy or of our own machine takes seconds, and cutting costs a whole request."""


class Deadline:
    """Follows the server: a straggler is cut when it takes several times what others take.

    Args:
        most_seconds: an attempt never gets more than this.
        is_adaptive: False where waiting long is the deal (flex): always ``most_seconds``.
    """

    def __init__(self, most_seconds: float, *, is_adaptive: bool) -> None:
        self.most_seconds = most_seconds
        self._is_adaptive = is_adaptive
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def seconds(self) -> float:
        """How long an attempt that begins now may take."""
        count = len(self._sorted)
        if count < _FEWEST_ANSWERS:
            return self.most_seconds
        usual = self._sorted[math.ceil(_SHARE * count) - 1]
        return min(self.most_seconds, max(_LEAST_SECONDS, _FACTOR * usual))

    def note(self, latency_seconds: float) -> None:
        """Take in how long one answered attempt took."""
        if not self._is_adaptive:
            return
        if len(self._latest) == _ANSWERS:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(latency_seconds)
        insort(self._sorted, latency_seconds)
