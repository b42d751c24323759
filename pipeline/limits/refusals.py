"""Is there a limit behind the refusals, or does the server refuse single requests at random?"""

from collections import deque

_SAMPLES = 48
"""That many of the latest count: enough to tell a tenth from a half, few enough to turn soon."""
_REFUSALS = 32
"""That many refusals are remembered for what was sent after them."""


class RefusalJudge:
    """Looks at what became of the requests that a limit would have refused.

    With a limit, what is sent after a refused request and before its time to wait has passed is
    refused as well. Where most of it is let through there is no limit to wait for: a gateway
    refuses single requests, and holding everybody back would only cost time. While nothing says
    otherwise there is a limit.

    Args:
        least_samples: below that many there is no verdict.
        least_share: let through of the samples, for refusals to be called sporadic.
    """

    def __init__(self, *, least_samples: int = 8, least_share: float = 0.5) -> None:
        self._least_samples = least_samples
        self._least_share = least_share
        self._samples: deque[bool] = deque(maxlen=_SAMPLES)
        self._let_through = 0
        self._refusals: deque[tuple[int, float]] = deque(maxlen=_REFUSALS)

    @property
    def has_verdict(self) -> bool:
        """Whether there are enough samples to tell."""
        return len(self._samples) >= self._least_samples

    @property
    def is_sporadic(self) -> bool:
        """Whether refusals concern the refused request alone."""
        return self.has_verdict and self._let_through >= self._least_share * len(self._samples)

    def note_let_through(self, sequence: int, sent_at: float) -> None:
        """A request was let in.

        Args:
            sequence: its place in the order of sending.
            sent_at: seconds.
        """
        if self._refusals and self._was_in_shadow(sequence, sent_at):
            self._add(is_let_through=True)

    def note_refused(self, sequence: int, sent_at: float, until: float) -> None:
        """A request was refused.

        Args:
            sequence: its place in the order of sending.
            sent_at: seconds.
            until: seconds; before then nothing would be let in, if there is a limit.
        """
        if self._was_in_shadow(sequence, sent_at):
            self._add(is_let_through=False)
        self._refusals.append((sequence, until))

    def _was_in_shadow(self, sequence: int, sent_at: float) -> bool:
        return any(
            sequence > refused and sent_at < until for refused, until in reversed(self._refusals)
        )

    def _add(self, *, is_let_through: bool) -> None:
        if len(self._samples) == _SAMPLES:
            self._let_through -= self._samples[0]
        self._samples.append(is_let_through)
        self._let_through += is_let_through
