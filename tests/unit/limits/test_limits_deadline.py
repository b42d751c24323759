"""A straggler is cut; a server that became slow is not."""

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.deadline import Deadline


def make_deadline(latencies: list[float], *, most: float = 600.0) -> Deadline:
    deadline = Deadline(most, is_adaptive=True)
    for latency in latencies:
        deadline.note(latency)
    return deadline


def test_few_answers_leave_the_deadline_as_it_is_set() -> None:
    assert make_deadline([1.0] * 49).seconds == 600.0


def test_an_attempt_gets_six_times_what_nearly_all_took() -> None:
    assert make_deadline([float(n) for n in range(1, 101)]).seconds == 6 * 95.0


def test_a_quick_server_still_gets_twenty_seconds() -> None:
    assert make_deadline([0.2] * 60).seconds == 20.0


def test_it_never_passes_what_is_set() -> None:
    assert make_deadline([50.0] * 60, most=120.0).seconds == 120.0
    assert make_deadline([0.1] * 60, most=5.0).seconds == 5.0


def test_where_waiting_long_is_the_deal_nothing_is_cut() -> None:
    deadline = Deadline(600.0, is_adaptive=False)
    for _ in range(100):
        deadline.note(0.1)
    assert deadline.seconds == 600.0


def test_one_hung_request_in_thirty_moves_nothing() -> None:
    assert make_deadline(([5.0] * 29 + [500.0]) * 7).seconds == 30.0


def test_a_server_that_became_slow_is_not_cut_for_ever() -> None:
    deadline = make_deadline([5.0] * 200)
    cut = 0
    for _ in range(200):
        is_cut = deadline.seconds < 90.0
        cut += is_cut
        deadline.note(min(90.0, deadline.seconds))
    assert deadline.seconds >= 6 * 90.0
    assert cut <= 25


def test_a_server_that_became_quick_again_is_cut_again() -> None:
    assert make_deadline([60.0] * 200 + [5.0] * 200).seconds == 30.0


def test_good_answers_of_a_noisy_server_are_not_cut() -> None:
    chance, deadline, cut = Random(1), Deadline(600.0, is_adaptive=True), 0
    for _ in range(20_000):
        latency = 4 * math.exp(chance.gauss(0, 0.5))
        cut += latency > deadline.seconds
        deadline.note(min(latency, deadline.seconds))
    assert cut == 0


@given(st.lists(st.floats(0.001, 10_000.0), max_size=300), st.floats(1.0, 600.0))
def test_it_is_the_percentile_of_the_latest(latencies: list[float], most: float) -> None:
    latest = sorted(latencies[-200:])
    if len(latest) < 50:
        expected = most
    else:
        expected = min(most, max(20.0, 6 * latest[math.ceil(0.95 * len(latest)) - 1]))
    assert make_deadline(latencies, most=most).seconds == expected
