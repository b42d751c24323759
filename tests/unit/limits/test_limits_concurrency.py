"""The limit finds the knee of a server that tells no limits, and loses it neither to noise nor
to longer answers. All in virtual time."""

from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_server import Server, Story, play

from pipeline.limits.concurrency import AdaptiveConcurrency

SEEDS = range(6)
SLOW_START_SECONDS = 45.0
"""Where the ramp passes the knee by far, its slowest answers are back only then."""


def play_often(server: Server, *, most: int, seconds: float) -> list[Story]:
    return [play(server, AdaptiveConcurrency(most), seconds=seconds, seed=seed) for seed in SEEDS]


def make_ample(sigma: float, base_after: float = 1.0) -> Server:
    return Server(
        at_once=lambda _: 10_000,
        base_seconds=lambda now: 1.0 if now < 100 else base_after,
        sigma=sigma,
    )


@pytest.mark.parametrize("shares", [True, False], ids=["batch", "fixed_on_arrival"])
@pytest.mark.parametrize("sigma", [0.3, 0.5])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("most", [64, 256])
def test_nearly_the_best_throughput_is_had(
    most: int, power: int, sigma: float, shares: bool
) -> None:
    server = Server(at_once=lambda _: 40, power=power, sigma=sigma, shares=shares)
    stories = play_often(server, most=most, seconds=345)
    rates = [story.rate(SLOW_START_SECONDS, 345) / 40 for story in stories]
    assert mean(rates) >= 0.93 if sigma < 0.5 else mean(rates) >= 0.92
    assert min(rates) >= 0.85


@pytest.mark.parametrize("sigma", [0.3, 0.5])
def test_a_server_with_room_gets_all_that_is_allowed_and_no_probes(sigma: float) -> None:
    for story in play_often(make_ample(sigma), most=64, seconds=300):
        reached = next(at for at, limit in story.limits if limit == 64)
        assert reached <= 4.0
        assert story.mean_limit(reached, 300) >= 62


@pytest.mark.parametrize("sigma", [0.3, 0.5])
def test_answers_that_become_twice_as_long_do_not_lower_it_for_long(sigma: float) -> None:
    for story in play_often(make_ample(sigma, base_after=2.0), most=64, seconds=300):
        assert min(story.limits_between(100, 300), default=64) >= 32
        assert story.mean_limit(120, 300) >= 0.9 * 64


@pytest.mark.parametrize("power", [1, 2])
def test_it_follows_a_server_that_loses_half_its_room_and_gets_it_back(power: int) -> None:
    server = Server(at_once=lambda now: 20 if 100 <= now < 200 else 40, power=power)
    stories = play_often(server, most=256, seconds=320)
    assert mean(story.rate(115, 200) / 20 for story in stories) >= 0.85
    assert mean(story.rate(230, 320) / 40 for story in stories) >= 0.85


@pytest.mark.parametrize("sigma", [0.3, 0.5])
def test_a_laptop_that_does_one_at_a_time_is_not_flooded(sigma: float) -> None:
    for story in play_often(Server(at_once=lambda _: 1, sigma=sigma), most=64, seconds=1500):
        assert story.limits[-1][1] <= 3
        assert max(story.limits_between(500, 1500), default=1) <= 3
        assert story.rate(100, 1500) >= 0.95


def test_too_little_to_do_is_no_reason_to_lower_it() -> None:
    limit = AdaptiveConcurrency(64)
    play(make_ample(0.3, base_after=3.0), limit, seconds=300, seed=1, users=10)
    assert limit.limit == 64


def test_a_server_that_refuses_what_is_too_much_is_kept_busy() -> None:
    server = Server(at_once=lambda _: 1000, refuses_above=40)
    for story in play_often(server, most=64, seconds=300):
        assert story.rate(30, 300) >= 0.8 * 40
        assert story.refusals < 0.02 * len(story.answers)


def test_all_that_is_refused_within_a_round_trip_counts_once() -> None:
    limit = AdaptiveConcurrency(64, first=60)
    for _ in range(30):
        limit.note_overload(10.0)
    assert limit.limit == 42


def test_after_an_outage_it_is_soon_back() -> None:
    limit = AdaptiveConcurrency(64)
    play(make_ample(0.3), limit, seconds=30, seed=1)
    for second in range(30, 90):
        limit.note_overload(float(second * 2))
    assert limit.limit == 1
    for index in range(50):
        limit.note_answer(1.0, 200 + index / 10)
    assert limit.limit == 45


def test_headers_that_are_trusted_open_it_at_once() -> None:
    limit = AdaptiveConcurrency(64)
    limit.trust_headers()
    assert limit.limit == 64
    play(Server(at_once=lambda _: 5, power=2), limit, seconds=600, seed=1)
    assert limit.limit == 64


def test_with_trusted_headers_an_overload_still_counts_and_passes() -> None:
    limit = AdaptiveConcurrency(64)
    limit.trust_headers()
    limit.note_overload(0.0)
    assert limit.limit == 45
    play(make_ample(0.3), limit, seconds=60, seed=1)
    assert limit.limit == 64


@settings(max_examples=60)
@given(
    st.integers(1, 100),
    st.integers(1, 200),
    st.lists(st.one_of(st.none(), st.tuples(st.floats(0, 1_000), st.floats(0, 10))), max_size=400),
)
def test_it_is_never_below_one_nor_above_the_most(
    most: int, first: int, events: list[tuple[float, float] | None]
) -> None:
    limit, now = AdaptiveConcurrency(most, first=first), 0.0
    for event in events:
        if event is None:
            limit.note_overload(now)
        else:
            now += event[1]
            limit.note_answer(event[0], now)
        assert 1 <= limit.limit <= most
