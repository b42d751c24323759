"""Who failed of late: if a pause comes, it may be to blame."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from pipeline.domain.errors import AnswersTurned, RunPaused
from pipeline.domain.jobs import JobId
from pipeline.domain.outcomes import Cause
from pipeline.limits.breaker import TURN_WINDOW

_MOST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A job that failed, by how many answers ago, and whom it was asked of."""

    when: int
    job: JobId
    cause: Cause
    route: Hashable | None


class Suspects:
    """Jobs that failed of late."""

    def __init__(self) -> None:
        self._answers = 0
        self._last_good = 0
        self._failed: deque[_Failure] = deque(maxlen=_MOST_KEPT)
        self._cleared: list[JobId] = []

    def note_answer(self, *, is_good: bool) -> None:
        """One more answer came back; a good one clears whom only silence could excuse."""
        self._answers += 1
        if is_good:
            self._last_good = self._answers
            while self._failed and self._failed[0].when < self._answers - TURN_WINDOW:
                self._failed.popleft()

    def add(self, job: JobId, cause: Cause, route: Hashable | None = None) -> None:
        self._failed.append(_Failure(when=self._answers, job=job, cause=cause, route=route))

    def find(self, pause: RunPaused) -> list[JobId]:
        """The jobs that failed for what the pause is to blame for."""
        since = self._answers - TURN_WINDOW if _looks_back(pause) else self._last_good
        return [one.job for one in self._failed if one.when >= since and one.cause in pause.blames]

    def clear_names(self, pause: RunPaused, route: Hashable) -> None:
        """A route is left alone: who failed there for what is wrong with it may be asked again."""
        wronged = [one for one in self._failed if one.route is route and one.cause in pause.blames]
        self._cleared += [one.job for one in wronged]
        for one in wronged:
            self._failed.remove(one)

    def take_cleared(self) -> list[JobId]:
        """The jobs to put back, once."""
        taken, self._cleared = self._cleared, []
        return taken


def _looks_back(pause: RunPaused) -> bool:
    return isinstance(pause, AnswersTurned)
