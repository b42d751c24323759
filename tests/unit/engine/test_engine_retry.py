"""The retry decision: pure, so every case is a line."""

import pytest
from engines import make_response
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import (
    AnswerCut,
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
    RequestRejected,
    SlowDown,
    TransportError,
)
from pipeline.engine.retry import (
    AskNext,
    Attempt,
    GiveUp,
    MoreRoom,
    Repair,
    RetryPolicy,
    Wait,
    Why,
    decide,
)

POLICY = RetryPolicy(max_attempts=5, base_seconds=1.0, cap_seconds=10.0, deadline_seconds=3600.0)
TRANSIENT = (ProviderUnavailable, AttemptTimeout, TransportError, InvalidAnswer)
TOO_FAST = (RateLimited, SlowDown, NoCapacity, Overloaded)
EVERYONE = frozenset(Why)


def attempt(tries: int = 1, chance: float = 0.5, **facts: object) -> Attempt:
    return Attempt(tries=tries, chance=chance, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [RequestRejected("no"), ContentRefused("no"), ContentFiltered("no"), AnswerCut("no")]
)
def test_what_concerns_the_image_is_not_tried_again(error: AskError) -> None:
    assert decide(error, attempt(), POLICY) == GiveUp()


@pytest.mark.parametrize("kind", [*TRANSIENT, *TOO_FAST])
def test_what_may_pass_is_tried_again(kind: type[AskError]) -> None:
    assert isinstance(decide(kind("x"), attempt(), POLICY), Wait)


def test_patience_ends_with_the_last_attempt() -> None:
    error = ProviderUnavailable("x", retry_after_seconds=1)
    assert isinstance(decide(error, attempt(4), POLICY), Wait)
    assert decide(error, attempt(5), POLICY) == GiveUp()


@pytest.mark.parametrize("kind", TOO_FAST)
def test_being_refused_as_too_fast_is_no_try_and_never_costs_an_image_its_answer(
    kind: type[AskError],
) -> None:
    decision = decide(kind("x"), attempt(tries=500), POLICY)
    assert isinstance(decision, Wait)
    assert not decision.counts
    counted = decide(ProviderUnavailable("x"), attempt(), POLICY)
    assert isinstance(counted, Wait)
    assert counted.counts


@pytest.mark.parametrize("kind", [*TRANSIENT, *TOO_FAST])
def test_patience_ends_at_the_deadline(kind: type[AskError]) -> None:
    assert decide(kind("x"), attempt(elapsed_seconds=3600), POLICY) == GiveUp()


@pytest.mark.parametrize("kind", [InvalidAnswer, NoAnswer, BrokenJson])
def test_an_answer_that_breaks_the_schema_is_paid_for_twice_at_most(kind: type[AskError]) -> None:
    assert isinstance(decide(kind("x"), attempt(4, bad_answers=1), POLICY), Wait)
    assert decide(kind("x"), attempt(2, bad_answers=2), POLICY) == GiveUp()
    assert decide(kind("x"), attempt(5, bad_answers=1), POLICY) == GiveUp()


def test_a_cut_answer_gets_more_room_once_and_only_where_the_profile_says_so() -> None:
    roomy = RetryPolicy(max_attempts=5, base_seconds=1.0, cap_seconds=10.0, may_have_more_room=True)
    assert decide(AnswerCut("x"), attempt(), roomy) == MoreRoom()
    assert decide(AnswerCut("x"), attempt(had_more_room=True), roomy) == GiveUp()
    assert decide(AnswerCut("x"), attempt(), POLICY) == GiveUp()


def test_an_answer_with_words_in_it_is_put_right_once() -> None:
    repairing = RetryPolicy(max_attempts=5, base_seconds=1.0, cap_seconds=10.0, may_repair=True)
    broken = InvalidAnswer("x", response=make_response())
    assert decide(broken, attempt(), repairing) == Repair()
    assert isinstance(decide(broken, attempt(was_repair=True), repairing), Wait)
    assert isinstance(decide(broken, attempt(), POLICY), Wait)
    nothing = NoAnswer("x", response=make_response())
    assert isinstance(decide(nothing, attempt(), repairing), Wait)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RateLimited("x"), Why.RATE),
        (NoCapacity("x"), Why.NO_CAPACITY),
        (ContentRefused("x"), Why.REFUSAL),
        (ContentFiltered("x"), Why.REFUSAL),
    ],
)
def test_somebody_else_is_asked_at_once_where_waiting_does_not_help(
    error: AskError, why: Why
) -> None:
    assert decide(error, attempt(leads_on=EVERYONE), POLICY) == AskNext(why)
    assert not isinstance(decide(error, attempt(leads_on=EVERYONE - {why}), POLICY), AskNext)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ProviderUnavailable("x"), Why.OUTAGE),
        (AttemptTimeout("x"), Why.OUTAGE),
        (Overloaded("x"), Why.OUTAGE),
        (InvalidAnswer("x"), Why.INVALID),
    ],
)
def test_what_may_pass_is_given_its_tries_before_somebody_else_is_asked(
    error: AskError, why: Why
) -> None:
    assert isinstance(decide(error, attempt(1, leads_on=EVERYONE), POLICY), Wait)
    assert decide(error, attempt(5, leads_on=EVERYONE), POLICY) == AskNext(why)


@pytest.mark.parametrize("error", [RequestRejected("x"), ModelSubstituted("x")])
def test_what_every_server_would_refuse_is_asked_of_nobody_else(error: AskError) -> None:
    assert decide(error, attempt(leads_on=EVERYONE), POLICY) == GiveUp()


@given(
    tries=st.integers(1, 4),
    chance=st.floats(0, 1, exclude_max=True),
    after=st.none() | st.floats(0, 600),
)
def test_a_wait_is_never_shorter_than_the_server_asked_nor_longer_than_the_cap(
    tries: int, chance: float, after: float | None
) -> None:
    error = RateLimited("x", retry_after_seconds=after)
    decision = decide(error, attempt(tries, chance), POLICY)
    assert isinstance(decision, Wait)
    if after is None:
        assert 0 < decision.seconds <= POLICY.cap_seconds
    else:
        assert after <= decision.seconds <= after + POLICY.base_seconds


def test_waits_grow_and_chance_spreads_them() -> None:
    waits = [decide(TransportError("x"), attempt(n, 0.999), POLICY) for n in (1, 2, 3)]
    seconds = [wait.seconds for wait in waits if isinstance(wait, Wait)]
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[2]
    early = decide(TransportError("x"), attempt(3, 0), POLICY)
    assert isinstance(early, Wait)
    assert early.seconds < seconds[2]
