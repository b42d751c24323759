"""One picture's misfortune passes; what would strike them all pauses the run, and says why."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import (
    AnswerCut,
    AnswersTurned,
    AnswersUnusable,
    AskError,
    AttemptTimeout,
    BrokenJson,
    ContentFiltered,
    ContentRefused,
    InvalidAnswer,
    ModelSubstituted,
    NoAnswer,
    NoCapacity,
    Overloaded,
    ProviderUnavailable,
    RateLimited,
    RateStuck,
    RequestRejected,
    RunPaused,
    ServerDown,
    SlowDown,
    TransportError,
)
from pipeline.limits.breaker import TURN_WINDOW, Breaker

SILENCES = [AttemptTimeout, TransportError, ProviderUnavailable]
REFUSALS = [RateLimited, SlowDown, NoCapacity, Overloaded]
USELESS = [
    ContentRefused,
    ContentFiltered,
    InvalidAnswer,
    NoAnswer,
    BrokenJson,
    AnswerCut,
    RequestRejected,
    ModelSubstituted,
]


def make_breaker(*, good: int = 0, empty: int = 0) -> Breaker:
    breaker = Breaker()
    for index in range(good + empty):
        assert breaker.note_answer(now=0.0, is_empty=index < empty) is None
    return breaker


def strike(
    breaker: Breaker, kind: type[AskError], times: int, *, slots: int = 1, now: float = 0.0
) -> RunPaused | None:
    pause = None
    for _ in range(times):
        pause = breaker.judge(kind("so it said"), slots=slots, now=now)
    return pause


@pytest.mark.parametrize("kind", SILENCES)
def test_silence_in_every_slot_pauses(kind: type[AskError]) -> None:
    breaker = make_breaker(good=1)
    assert strike(breaker, kind, 11, slots=4) is None
    pause = strike(breaker, kind, 1, slots=4)
    assert isinstance(pause, ServerDown)
    assert "so it said" in str(pause)


@pytest.mark.parametrize("answer", ["good", "useless"])
def test_any_answer_ends_a_silence(answer: str) -> None:
    breaker = make_breaker(good=1)
    strike(breaker, TransportError, 2)
    if answer == "good":
        breaker.note_answer(now=0.0)
    else:
        strike(breaker, ContentRefused, 1)
    assert strike(breaker, TransportError, 2) is None


@pytest.mark.parametrize("kind", REFUSALS)
def test_being_refused_is_no_silence(kind: type[AskError]) -> None:
    assert strike(Breaker(), kind, 1_000) is None


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (InvalidAnswer, "provider.structured_output"),
        (NoAnswer, "provider.structured_output"),
        (AnswerCut, "max_output_tokens"),
        (RequestRejected, "so it said"),
        (ModelSubstituted, "provider.require_model"),
    ],
)
def test_nothing_usable_from_the_start_pauses_with_its_own_advice(
    kind: type[AskError], advice: str
) -> None:
    breaker = Breaker()
    assert strike(breaker, kind, 4) is None
    pause = strike(breaker, kind, 1)
    assert isinstance(pause, AnswersUnusable)
    assert advice in str(pause)


def test_after_a_good_answer_a_few_unusable_ones_are_their_own_misfortune() -> None:
    assert strike(make_breaker(good=1), InvalidAnswer, 40) is None


@pytest.mark.parametrize("kind", USELESS)
def test_answers_that_turn_useless_pause_the_run(kind: type[AskError]) -> None:
    breaker = make_breaker(good=150)
    assert strike(breaker, kind, TURN_WINDOW // 2 - 1) is None
    pause = strike(breaker, kind, 1)
    assert isinstance(pause, AnswersTurned)
    assert "50% were useless" in str(pause)
    assert "before, it was 0%" in str(pause)
    assert "Nothing is marked failed" in str(pause)


def test_a_turn_names_the_kind_that_prevails() -> None:
    breaker = make_breaker(good=150)
    strike(breaker, ContentRefused, 5)
    pause = strike(breaker, ContentFiltered, 20)
    assert isinstance(pause, AnswersTurned)
    assert "stopped by a content filter" in str(pause)


def test_answers_that_turn_empty_pause_the_run() -> None:
    breaker = make_breaker(good=150)
    pauses = [breaker.note_answer(now=0.0, is_empty=True) for _ in range(25)]
    assert pauses[:24] == [None] * 24
    assert isinstance(pauses[24], AnswersTurned)
    assert "50% were empty" in str(pauses[24])


def test_empty_and_useless_answers_are_not_added_up() -> None:
    breaker = make_breaker(good=150)
    assert strike(breaker, ContentRefused, 20) is None
    assert [breaker.note_answer(now=0.0, is_empty=True) for _ in range(20)] == [None] * 20


def test_a_run_that_always_had_many_empty_answers_has_not_turned() -> None:
    chance, breaker = Random(1), Breaker()
    for _ in range(5_000):
        assert breaker.note_answer(now=0.0, is_empty=chance.random() < 0.45) is None


def test_without_a_past_nothing_has_turned() -> None:
    breaker = make_breaker(good=99)
    assert strike(breaker, ContentRefused, TURN_WINDOW) is None
    assert isinstance(strike(breaker, ContentRefused, 1), AnswersTurned)


@given(st.floats(0.0, 0.1), st.integers(0, 2**32))
def test_a_steady_share_of_useless_answers_never_pauses(share: float, seed: int) -> None:
    chance, breaker = Random(seed), make_breaker(good=1)
    for _ in range(400):
        if chance.random() < share:
            assert strike(breaker, ContentRefused, 1) is None
        else:
            assert breaker.note_answer(now=0.0) is None


@pytest.mark.parametrize("kind", [RateLimited, SlowDown, NoCapacity])
def test_ten_minutes_of_nothing_but_refusals_pause(kind: type[AskError]) -> None:
    breaker = make_breaker(good=1)
    assert strike(breaker, kind, 19, now=100.0) is None
    assert strike(breaker, kind, 1, now=699.0) is None
    pause = strike(breaker, kind, 1, now=700.0)
    assert isinstance(pause, RateStuck)
    assert "600 seconds" in str(pause)
    assert "so it said" in str(pause)


def test_who_is_stuck_is_told_which_setting_to_change() -> None:
    for kind, setting in ((RateLimited, "limits.requests_per_minute"), (NoCapacity, "flex_short")):
        breaker = Breaker()
        strike(breaker, kind, 20, now=0.0)
        assert setting in str(strike(breaker, kind, 1, now=600.0))


def test_few_refusals_are_not_stuck_however_long_they_take() -> None:
    breaker = Breaker()
    for index in range(19):
        assert strike(breaker, RateLimited, 1, now=600.0 * index) is None


def test_one_answer_in_between_and_nothing_is_stuck() -> None:
    breaker = Breaker()
    strike(breaker, RateLimited, 30, now=0.0)
    breaker.note_answer(now=300.0)
    assert strike(breaker, RateLimited, 30, now=650.0) is None


def test_a_server_that_is_overloaded_for_a_minute_is_down() -> None:
    breaker = Breaker()
    strike(breaker, Overloaded, 20, now=0.0)
    assert strike(breaker, Overloaded, 1, now=59.0) is None
    assert isinstance(strike(breaker, Overloaded, 1, now=60.0), ServerDown)
