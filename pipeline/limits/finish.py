"""A time by which all should be done: until when batches may take it easy."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pipeline.domain.errors import ConfigurationError

_SAFETY: Final = 1.25
"""Asked one by one, the rest may take a quarter longer than foreseen."""
_SHARE_KEPT: Final = 0.1
LONGEST_CANCELLING_SECONDS: Final = 600.0
"""A batch that is told to end may take ten minutes for it (OpenAI's guide "Batch API")."""
_SECONDS_AN_ANSWER: Final = 10.0
"""Assumed where nobody knows better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishBy:
    """A deadline on the run's own clock (seconds, monotonic)."""

    began: float
    at: float

    @property
    def cancelling_seconds(self) -> float:
        """Kept free for ending batches: ten minutes, or a tenth of a short time."""
        return min(LONGEST_CANCELLING_SECONDS, _SHARE_KEPT * max(0.0, self.at - self.began))

    def find_last_moment(self, left: int, pace: float) -> float:
        """The latest time to begin asking what is left one by one.

        Args:
            left: images without an answer.
            pace: of them a second, asked one by one.
        """
        return self.at - self.cancelling_seconds - _SAFETY * left / max(pace, 1e-9)

    def is_tight(self, now: float, left: int, pace: float) -> bool:
        """Whether the lane with this pace would be late."""
        return now + _SAFETY * left / max(pace, 1e-9) > self.at


def guess_pace(
    *, at_once: int, requests_per_minute: float | None, tokens_per_minute: float | None, tokens: int
) -> float:
    """Images a second that can be asked one by one, before any was.

    Args:
        at_once: requests in flight at most.
        requests_per_minute: where it is known.
        tokens_per_minute: where it is known.
        tokens: that one request takes.
    """
    paces = [at_once / _SECONDS_AN_ANSWER]
    if requests_per_minute is not None:
        paces.append(requests_per_minute / 60)
    if tokens_per_minute is not None:
        paces.append(tokens_per_minute / 60 / max(tokens, 1))
    return min(paces)


def read_finish_by(text: str, now: datetime) -> datetime:
    """The moment that a text means.

    Args:
        text: ``06:00``, the next to come in the zone of ``now``; or a date with a time, in that
            zone unless it names its own.
        now: with its time zone.

    Raises:
        ConfigurationError: it is no time, or over already.
    """
    try:
        if len(text) <= len("06:00:00"):
            hour = datetime.fromisoformat(f"2000-01-01T{text.zfill(5)}")
            moment = now.replace(
                hour=hour.hour, minute=hour.minute, second=hour.second, microsecond=0
            )
            return moment if moment > now else moment + timedelta(days=1)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--finish-by (batch.finish_by): {text!r} is no time; "
            "allowed: 06:00, or 2026-11-22T06:00"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    if moment <= now:
        raise ConfigurationError(f"--finish-by (batch.finish_by): {text} is over already")
    return moment
