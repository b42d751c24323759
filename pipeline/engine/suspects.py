"""Who failed of late: if a pause comes, it may be to blame."""

from collections import deque
from typing import Final

from pipeline.domain.errors import AnswersTurned, RunPaused
from pipeline.domain.jobs import JobId
from pipeline.domain.outcomes import Cause
from pipeline.limits.breaker import TURN_WINDOW

_MOST_KEPT: Final = 100_000


class Suspects:
    """Jobs that failed, by how many answers ago."""

    def __init__(self) -> None:
        self._answers = 0
        self._last_good = 0
        self._failed: deque[tuple[int, JobId, Cause]] = deque(maxlen=_MOST_KEPT)

    def note_answer(self, *, is_good: bool) -> None:
        """One more answer came back; a good one clears whom only silence could excuse."""
        self._answers += 1
        if is_good:
            self._last_good = self._answers
            while self._failed and self._failed[0][0] < self._answers - TURN_WINDOW:
                self._failed.popleft()

    def add(self, job: JobId, cause: Cause) -> None:
        self._failed.append((self._answers, job, cause))

    def find(self, pause: RunPaused) -> list[JobId]:
        """The jobs that failed for what the pause is to blame for."""
        turned = isinstance(pause, AnswersTurned)
        since = self._answers - TURN_WINDOW if turned else self._last_good
        return [job for when, job, cause in self._failed if when >= since and cause in pause.blames]
