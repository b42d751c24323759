"""A bucket on our side follows the server's, and is corrected only by evidence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.bucket import Bucket


def make_bucket(*, level: float = 20.0) -> Bucket:
    return Bucket(rate=20.0, capacity=20.0, level=level, now=0.0)


@given(
    moves=st.lists(
        st.tuples(st.floats(0, 10), st.sampled_from(["take", "shift", "observe"]), st.floats(0, 50))
    )
)
def test_the_level_never_passes_the_capacity(moves: list[tuple[float, str, float]]) -> None:
    bucket, now = make_bucket(), 0.0
    mark = bucket.take(1, now)
    for seconds, move, amount in moves:
        now += seconds
        if move == "take":
            mark = bucket.take(amount, now)
        elif move == "shift":
            bucket.shift(amount, now)
        else:
            bucket.observe(mark, amount, now)
        assert bucket.measure(now) <= bucket.capacity
        assert bucket.refill > 0


@given(level=st.floats(-100, 20), wanted=st.floats(0, 100), drained=st.floats(0, 100))
def test_after_the_wait_there_is_enough_or_the_bucket_is_full(
    level: float, wanted: float, drained: float
) -> None:
    bucket = make_bucket(level=level)
    bucket.observe(bucket.take(0, 0.0), level - drained, 0.0)
    wait = bucket.compute_wait(wanted, 0.0)
    assert bucket.compute_wait(wanted, wait) == 0
    assert bucket.measure(wait) >= min(wanted, bucket.capacity) - 1e-6


def test_time_that_goes_back_changes_nothing() -> None:
    bucket = make_bucket(level=5)
    assert bucket.measure(-100) == 5


@pytest.mark.parametrize("remaining", [5.0, 7.0, 10.0])
def test_what_lies_between_sending_and_now_is_no_evidence(remaining: float) -> None:
    bucket = make_bucket(level=11)
    mark = bucket.take(1, 0.0)
    bucket.take(5, 0.0)
    bucket.observe(mark, remaining, 0.0)
    assert bucket.measure(0.0) == 5


@pytest.mark.parametrize(("remaining", "level"), [(2.0, 2.0), (13.0, 8.0)])
def test_what_lies_outside_is_corrected_to_the_nearer_end(remaining: float, level: float) -> None:
    bucket = make_bucket(level=11)
    mark = bucket.take(1, 0.0)
    bucket.take(5, 0.0)
    bucket.observe(mark, remaining, 0.0)
    assert bucket.measure(0.0) == level


def test_one_error_is_corrected_once_however_many_were_in_flight() -> None:
    bucket = make_bucket()
    marks = [bucket.take(1, 0.0) for _ in range(10)]
    for place, mark in enumerate(marks, 1):
        bucket.observe(mark, 15 - place, 0.0)  # the server had 15 when we thought it had 20
    assert bucket.measure(0.0) == 5


def test_the_last_of_a_burst_that_arrived_first_lifts_nothing() -> None:
    bucket = make_bucket()
    marks = [bucket.take(1, 0.0) for _ in range(18)]
    bucket.observe(marks[-1], 19, 0.4)
    assert bucket.measure(0.4) == 10


def test_what_was_sent_later_is_compared_with_what_had_come_back_by_then() -> None:
    bucket = make_bucket(level=10)
    mark = bucket.take(10, 0.0)
    bucket.postpone(mark, 0.25)
    bucket.observe(mark, 4, 0.25)
    assert bucket.measure(0.25) == 4


def test_a_steady_drain_is_taken_off_the_rate_until_it_ends() -> None:
    bucket = make_bucket()
    server, now = 20.0, 0.0

    def live(seconds: int, foreign: float) -> float:
        nonlocal server, now
        for _ in range(seconds * 10):
            now += 0.1
            server = min(20.0, server + 2 - foreign / 10)
            while bucket.measure(now) >= 2:
                server -= 1
                bucket.observe(bucket.take(1, now), server, now)
        return bucket.refill

    assert live(100, foreign=15.0) == pytest.approx(5, abs=2)
    assert live(100, foreign=0.0) > 15


def test_a_smaller_bucket_holds_no_more_than_it_can() -> None:
    bucket = make_bucket()
    bucket.resize(rate=5, capacity=5, now=0.0)
    assert bucket.measure(0.0) == 5


def test_a_bucket_that_was_never_used_is_full() -> None:
    assert Bucket(rate=1, capacity=7, level=7, now=-math.inf).measure(0.0) == 7


def test_dropping_does_not_lift_a_level_that_is_lower() -> None:
    bucket = make_bucket(level=-3)
    bucket.drop_to(0, 0.0)
    assert bucket.measure(0.0) == -3
