"""Tells one picture's misfortune from a fault that would strike them all."""

from pipeline.domain.errors import (
    AnswerCut,
    AnswersUnusable,
    AskError,
    AttemptTimeout,
    InvalidAnswer,
    ProviderUnavailable,
    RequestRejected,
    RunPaused,
    ServerDown,
    TransportError,
)

_FIRST_ANSWERS = 5
"""Unusable answers in a row, before any good one, that cannot be chance."""
_SILENCE_PER_SLOT = 3
"""Requests without an answer in a row, for each that may be in flight at once."""


class Breaker:
    """Counts what goes wrong since the last good answer."""

    def __init__(self) -> None:
        self._has_answered = False
        self._unusable = 0
        self._silent = 0

    def note_answer(self) -> None:
        """A good answer: whatever went wrong before concerned its own picture."""
        self._has_answered = True
        self._unusable = self._silent = 0

    def judge(self, error: AskError, *, slots: int) -> RunPaused | None:
        """Why the run should pause after this error, if it should.

        Args:
            error: of one request.
            slots: requests that may be in flight at once now.
        """
        if isinstance(error, TransportError | AttemptTimeout | ProviderUnavailable):
            self._silent += 1
        elif isinstance(error, InvalidAnswer | AnswerCut | RequestRejected):
            self._unusable += 1
        if self._silent >= _SILENCE_PER_SLOT * slots:
            return ServerDown(
                f"{self._silent} requests in a row had no answer, the last one: {error}. "
                "Nothing is lost: when the server is well, run the same command again"
            )
        if not self._has_answered and self._unusable >= _FIRST_ANSWERS:
            return AnswersUnusable(
                f"the first {self._unusable} answers were all unusable, the last one: {error}. "
                f"{_advise(error)}, then run the same command again"
            )
        return None


def _advise(error: AskError) -> str:
    if isinstance(error, AnswerCut):
        return "Raise max_output_tokens in the profile, or lower provider.reasoning_effort"
    if isinstance(error, InvalidAnswer):
        return "See provider.structured_output, or ask a model that keeps to a schema"
    return "See what the message says of the request"
