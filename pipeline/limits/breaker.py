"""Tells one picture's misfortune from a fault that would strike them all."""

from collections import Counter, deque
from enum import Enum
from typing import Final

from pipeline.domain.errors import (
    AnswerCut,
    AnswersTurned,
    AnswersUnusable,
    AskError,
    AttemptTimeout,
    ContentFiltered,
    ContentRefused,
    InvalidAnswer,
    ModelSubstituted,
    NoCapacity,
    Overloaded,
    ProviderUnavailable,
    RateLimited,
    RateStuck,
    RequestRejected,
    RunPaused,
    ServerDown,
    TransportError,
)

_FIRST_ANSWERS: Final = 5
"""Unusable answers in a row, before any good one, that cannot be chance."""
_SILENCE_PER_SLOT: Final = 3
"""Requests without an answer in a row, for each that may be in flight at once."""
TURN_WINDOW: Final = 50
"""Answers looked at for a turn: by chance, a share is off by more than a quarter once in thousands
of windows."""
_TURN_PAST: Final = 100
"""Answers before the window without which a run has no habits to compare with."""
_TURN_SHARE: Final = 0.5
"""Less than half is a folder of odd pictures, not a fault."""
_TURN_RISE: Final = 0.4
"""Above the past: a run that always had many useless answers has not turned."""
_STUCK_SECONDS: Final = 600.0
"""Minutes' limits are over after one; what lasts ten is a day's limit, or somebody else's use."""
_OVERLOADED_SECONDS: Final = 60.0
"""A server that is merely busy has got rid of us by then: nearly nothing is sent meanwhile."""
_STUCK_REFUSALS: Final = 20
"""So many in that time: one request with a long wait proves nothing."""

_WHEN_WELL: Final = "Nothing is lost: when the server is well, run the same command again"


class _Kind(Enum):
    """What came back for the money."""

    GOOD = "good"
    EMPTY = "empty (every field without a value)"
    REFUSED = "refused by the model"
    FILTERED = "stopped by a content filter"
    INVALID = "without a usable answer"
    CUT = "cut at the output limit"
    REJECTED = "rejected by the server"
    SUBSTITUTED = "by another model"


_USELESS: Final = frozenset(_Kind) - {_Kind.GOOD, _Kind.EMPTY}
_EMPTY: Final = frozenset({_Kind.EMPTY})
_LOOK_AT: Final = {
    _Kind.EMPTY: "a different model behind the same name, or pictures the profile does not fit?",
    _Kind.REFUSED: "a different model behind the same name, or a different kind of pictures?",
    _Kind.FILTERED: "a filter that was switched on, or a different kind of pictures?",
    _Kind.INVALID: "a different model behind the same name, or provider.structured_output?",
    _Kind.CUT: "a different model behind the same name, or max_output_tokens in the profile?",
    _Kind.REJECTED: "a change at the server, or a different kind of pictures?",
    _Kind.SUBSTITUTED: "a name that leads to another model, see provider.require_model?",
}


class _Answers:
    """What came back: the latest ``TURN_WINDOW`` answers, and all before them."""

    def __init__(self) -> None:
        self._window: deque[_Kind] = deque()
        self._latest: Counter[_Kind] = Counter()
        self._past: Counter[_Kind] = Counter()
        self._past_total = 0

    def add(self, kind: _Kind) -> None:
        self._window.append(kind)
        self._latest[kind] += 1
        if len(self._window) > TURN_WINDOW:
            old = self._window.popleft()
            self._latest[old] -= 1
            self._past[old] += 1
            self._past_total += 1

    def find_turn(self, kinds: frozenset[_Kind]) -> AnswersTurned | None:
        """The pause, if these kinds are far more frequent than they were."""
        if self._past_total < _TURN_PAST:
            return None
        latest = sum(self._latest[kind] for kind in kinds) / TURN_WINDOW
        past = sum(self._past[kind] for kind in kinds) / self._past_total
        if latest < _TURN_SHARE or latest < past + _TURN_RISE:
            return None
        main = max(kinds, key=lambda kind: self._latest[kind])
        what = "empty" if kinds == _EMPTY else f"useless, most of them {main.value}"
        return AnswersTurned(
            f"of the last {TURN_WINDOW} answers {latest:.0%} were {what}; before, it was "
            f"{past:.0%}. What changed: {_LOOK_AT[main]} Nothing is marked failed for it: "
            "look at a few of the pictures, then run the same command again"
        )


class Breaker:
    """Counts what goes wrong, since the last good answer and compared with before.

    Pure: ``now`` is in seconds of a clock that does not go back.
    """

    def __init__(self) -> None:
        self._has_answered = False
        self._unusable = 0
        self._silent = 0
        self._refusals = 0
        self._refused_since = 0.0
        self._answers = _Answers()

    def note_answer(self, *, now: float, is_empty: bool = False) -> RunPaused | None:  # noqa: ARG002  every event has its time
        """A usable answer: whatever went wrong before concerned its own picture.

        Args:
            now: seconds.
            is_empty: it fits the profile, but every field is null or empty.

        Returns:
            The pause, when answers have turned empty.
        """
        self._has_answered = True
        self._unusable = 0
        self._answers.add(_Kind.EMPTY if is_empty else _Kind.GOOD)
        self._hear()
        return self._answers.find_turn(_EMPTY) if is_empty else None

    def judge(
        self, error: AskError, *, slots: int, now: float, is_follow_up: bool = False
    ) -> RunPaused | None:
        """Why the run should pause after this error, if it should.

        Args:
            error: of one request.
            slots: requests that may have met the same fault at the same moment.
            now: seconds.
            is_follow_up: it was to mend an answer that counted already.
        """
        if isinstance(error, RateLimited | Overloaded):
            return self._judge_refusal(error, now)
        if isinstance(error, TransportError | AttemptTimeout | ProviderUnavailable):
            return self._judge_silence(error, slots)
        if is_follow_up:
            self._hear()
            return None
        return self._judge_useless(error)

    def _hear(self) -> None:
        """Somebody is there, and lets requests through."""
        self._silent = self._refusals = 0

    def _judge_refusal(self, error: AskError, now: float) -> RunPaused | None:
        if not self._refusals:
            self._refused_since = now
        self._refusals += 1
        lasted = now - self._refused_since
        is_busy = isinstance(error, Overloaded)
        seconds = _OVERLOADED_SECONDS if is_busy else _STUCK_SECONDS
        if lasted < seconds or self._refusals < _STUCK_REFUSALS:
            return None
        said = (
            f"for {lasted:.0f} seconds the server let nothing through and refused "
            f"{self._refusals} requests, the last one: {error}."
        )
        if is_busy:
            return ServerDown(f"{said} {_WHEN_WELL}")
        advice = (
            "Set provider.flex_shortage to step_up"
            if isinstance(error, NoCapacity)
            else "Set a lower --rpm (limits.requests_per_minute)"
        )
        return RateStuck(f"{said} {advice} or wait, then run the same command again")

    def _judge_silence(self, error: AskError, slots: int) -> RunPaused | None:
        self._silent += 1
        if self._silent < _SILENCE_PER_SLOT * slots:
            return None
        return ServerDown(
            f"{self._silent} requests in a row had no answer, the last one: {error}. {_WHEN_WELL}"
        )

    def _judge_useless(self, error: AskError) -> RunPaused | None:
        self._answers.add(_sort(error))
        self._hear()
        if isinstance(error, InvalidAnswer | AnswerCut | RequestRejected | ModelSubstituted):
            self._unusable += 1
        if not self._has_answered and self._unusable >= _FIRST_ANSWERS:
            return AnswersUnusable(
                f"the first {self._unusable} answers were all unusable, the last one: {error}. "
                f"{_advise(error)}, then run the same command again"
            )
        return self._answers.find_turn(_USELESS)


def _sort(error: AskError) -> _Kind:
    match error:
        case ContentRefused():
            return _Kind.REFUSED
        case ContentFiltered():
            return _Kind.FILTERED
        case AnswerCut():
            return _Kind.CUT
        case RequestRejected():
            return _Kind.REJECTED
        case ModelSubstituted():
            return _Kind.SUBSTITUTED
        case _:
            return _Kind.INVALID


def _advise(error: AskError) -> str:
    match error:
        case AnswerCut():
            return "Raise max_output_tokens in the profile, or lower provider.reasoning_effort"
        case InvalidAnswer():
            return "See provider.structured_output, or ask a model that keeps to a schema"
        case ModelSubstituted():
            return "Ask for that model by its own name, or set provider.require_model to any"
        case _:
            return "See what the message says of the request"
