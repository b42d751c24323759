"""How many requests went out of late."""

from collections import deque


class SendMeter:
    """Requests sent of late, counted in slots: what it costs does not grow with the rate."""

    _SLOT_SECONDS = 0.5
    _SLOTS = 2

    def __init__(self) -> None:
        self._slots: deque[tuple[int, int]] = deque(maxlen=self._SLOTS + 1)

    def add(self, count: int, now: float) -> None:
        """So many were sent now, or were not after all."""
        slot = int(now // self._SLOT_SECONDS)
        if self._slots and self._slots[-1][0] == slot:
            count += self._slots.pop()[1]
        self._slots.append((slot, count))

    def compute_rate(self, now: float) -> float:
        """Requests a second over the last second: who ends leaves its share soon."""
        oldest = int(now // self._SLOT_SECONDS) - self._SLOTS
        sent = sum(count for slot, count in self._slots if slot >= oldest)
        return sent / (now - oldest * self._SLOT_SECONDS)
