"""The retry decision: pure, so every case is a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import (
    AskError,
    AttemptTimeout,
    ContentRefused,
    InvalidAnswer,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from pipeline.engine.retry import GiveUp, RetryPolicy, Wait, decide

POLICY = RetryPolicy(max_attempts=5, base_seconds=1.0, cap_seconds=10.0)


@pytest.mark.parametrize("error", [RequestRejected("no"), ContentRefused("no")])
def test_what_concerns_the_image_is_not_tried_again(error: AskError) -> None:
    assert decide(error, tries=1, policy=POLICY, chance=0.5) == GiveUp()


@pytest.mark.parametrize(
    "error", [RateLimited("x"), ProviderUnavailable("x"), AttemptTimeout("x"), InvalidAnswer("x")]
)
def test_what_may_pass_is_tried_again(error: AskError) -> None:
    assert isinstance(decide(error, tries=1, policy=POLICY, chance=0.5), Wait)


def test_patience_ends_with_the_last_attempt() -> None:
    error = RateLimited("x", retry_after_seconds=1)
    assert isinstance(decide(error, tries=4, policy=POLICY, chance=0), Wait)
    assert decide(error, tries=5, policy=POLICY, chance=0) == GiveUp()


def test_an_answer_that_breaks_the_schema_is_paid_for_twice_at_most() -> None:
    assert decide(InvalidAnswer("x"), tries=2, policy=POLICY, chance=0) == GiveUp()


@given(
    tries=st.integers(1, 4),
    chance=st.floats(0, 1, exclude_max=True),
    after=st.none() | st.floats(0, 600),
)
def test_a_wait_is_never_shorter_than_the_server_asked_nor_longer_than_the_cap(
    tries: int, chance: float, after: float | None
) -> None:
    error = RateLimited("x", retry_after_seconds=after)
    decision = decide(error, tries=tries, policy=POLICY, chance=chance)
    assert isinstance(decision, Wait)
    if after is None:
        assert 0 < decision.seconds <= POLICY.cap_seconds
    else:
        assert after <= decision.seconds <= after + POLICY.base_seconds


def test_waits_grow_and_chance_spreads_them() -> None:
    waits = [decide(RateLimited("x"), tries=n, policy=POLICY, chance=0.999) for n in (1, 2, 3)]
    seconds = [wait.seconds for wait in waits if isinstance(wait, Wait)]
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[2]
    early = decide(RateLimited("x"), tries=3, policy=POLICY, chance=0)
    assert isinstance(early, Wait)
    assert early.seconds < seconds[2]
