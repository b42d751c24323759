"""The allowed rate is used and not exceeded, whatever is known of it beforehand."""

import math
from dataclasses import dataclass

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rate_server import RateServer, Run

from pipeline.domain.rates import Allowance, RateReading
from pipeline.limits.measure import Window
from pipeline.limits.rate import RateLimits, RateModel, has_plenty

LEAST_SHARE = 0.97
MOST_REFUSED = 0.005


def read_requests(limit: float, remaining: float, reset: float | None) -> RateReading:
    return RateReading(requests=Allowance(limit=limit, remaining=remaining, reset_seconds=reset))


def learn(model: RateModel, reading: RateReading, now: float = 0.0) -> None:
    ticket = model.take(1_000, now)
    model.note_sent(ticket, now)
    model.leave(ticket, reading, now)


def count_at_once(model: RateModel, now: float, *, tokens: int = 1_000) -> int:
    count = 0
    while model.compute_wait(tokens, now) == 0 and count < 10_000:
        model.take(tokens, now)
        count += 1
    return count


# What a run sees of it


@pytest.mark.parametrize("tokens", [(1_500, 3_000), (3_000, 3_000), (3_000, 6_000)])
@pytest.mark.parametrize("headers", ["when let in", "when answered"])
@pytest.mark.parametrize("depth_seconds", [1.0, 60.0])
def test_limits_learned_from_headers_are_used_and_not_exceeded(
    depth_seconds: float, headers: str, tokens: tuple[int, int]
) -> None:
    server = RateServer(depth_seconds=depth_seconds, headers=headers)
    story = Run(server=server, images=2_400, tokens=tokens).play()
    assert len(server.admitted) == 2_400
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


@pytest.mark.parametrize("headers", ["when let in", "none"])
@pytest.mark.parametrize("depth_seconds", [1.0, 60.0])
def test_limits_that_were_set_are_used_and_not_exceeded(depth_seconds: float, headers: str) -> None:
    limits = RateLimits(
        requests_per_minute=1_200, tokens_per_minute=3_600_000, burst_seconds=depth_seconds
    )
    server = RateServer(depth_seconds=depth_seconds, headers=headers)
    story = Run(server=server, images=2_400, limits=limits).play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    depth_seconds=st.sampled_from([1.0, 5.0, 60.0]),
    headers=st.sampled_from(["when let in", "when answered"]),
    latency_seconds=st.floats(0.2, 1.5),
    charged=st.floats(0.5, 1.1),
)
def test_whatever_the_server_is_like_its_rate_is_met(  # noqa: PLR0917  hypothesis names them
    seed: int, depth_seconds: float, headers: str, latency_seconds: float, charged: float
) -> None:
    server = RateServer(
        seed=seed,
        depth_seconds=depth_seconds,
        headers=headers,
        latency_seconds=latency_seconds,
        charge=lambda tokens: tokens * charged,
    )
    story = Run(server=server, images=2_400, tokens=(2_000, 5_000)).play()
    assert len(server.admitted) == 2_400
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


@pytest.mark.parametrize("depth_seconds", [1.0, 60.0])
def test_limits_halved_in_mid_run_are_followed(depth_seconds: float) -> None:
    server = RateServer(depth_seconds=depth_seconds)
    images = int(1_200 + 20 * depth_seconds + 600)
    run = Run(server=server, images=images, changes={60.0: lambda it, _: it.scale(0.5)})
    story = run.play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


def test_limits_doubled_in_mid_run_are_used() -> None:
    run = Run(
        server=RateServer(), images=2_400, changes={60.0: lambda server, _: server.scale(2.0)}
    )
    story = run.play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


@pytest.mark.parametrize("depth_seconds", [1.0, 60.0])
def test_two_runs_with_a_share_each_use_one_key_fully(depth_seconds: float) -> None:
    server = RateServer(depth_seconds=depth_seconds)
    story = Run(server=server, images=3_000, gates=2, shares=(0.5, 0.5)).play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


def test_others_with_the_key_who_say_nothing_cost_few_refusals() -> None:
    story = Run(server=RateServer(), images=3_000, gates=2, shares=(1.0, 1.0)).play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= 0.05


@pytest.mark.parametrize("depth_seconds", [1.0, 60.0])
def test_there_is_no_burst_at_the_start_and_no_swinging_after(depth_seconds: float) -> None:
    server = RateServer(depth_seconds=depth_seconds)
    story = Run(server=server, images=2_400).play()
    first_answer = min(at for at, _ in server.admitted[4:])
    assert sum(at < first_answer for at, _ in server.admitted) == 4
    assert first_answer > 0.2
    steady = story.count_by_second()[-31:-1]
    assert min(steady) >= 17
    assert max(steady) <= 23


def test_requests_counted_for_more_than_was_reserved_are_followed() -> None:
    server = RateServer(charge=lambda tokens: tokens * 1.3)
    story = Run(server=server, images=2_400, tokens=(3_000, 6_000)).play()
    assert story.share_of_allowed >= LEAST_SHARE
    assert story.share_refused <= MOST_REFUSED


@pytest.mark.parametrize("limits", [None, RateLimits(requests_per_minute=100_000)])
def test_random_refusals_hold_nobody_but_themselves(limits: RateLimits | None) -> None:
    clean = Run(server=RateServer(is_limited=False, headers="none"), images=4_000).play()
    server = RateServer(is_limited=False, headers="none", random_refusals=0.1)
    story = Run(server=server, images=4_000, limits=limits).play()
    assert len(server.admitted) == 4_000
    assert clean.last_admitted_at >= 0.9 * story.last_admitted_at


def test_random_refusals_at_the_limit_leave_it_in_use() -> None:
    story = Run(server=RateServer(random_refusals=0.1), images=2_400).play()
    assert story.share_of_allowed >= LEAST_SHARE


@dataclass(kw_only=True)
class WindowServer(RateServer):
    """Counts by the minute on the clock, and tells when the minute ends, in whole seconds."""

    def _refill(self) -> None:
        now = anyio.current_time()
        if now // 60 != self._filled_at // 60:
            self.requests, self.tokens = self.requests_per_second * 60, self.tokens_per_second * 60
        self._filled_at = now

    def _find_wait(self, cost: float) -> float | None:
        is_short = self.requests < 1 or self.tokens < cost
        return 60 - anyio.current_time() % 60 if is_short else None

    def _tell_one(self, level: float, rate: float) -> Allowance:
        end = math.ceil(60 - anyio.current_time() % 60)
        return Allowance(limit=rate * 60, remaining=max(0, round(level)), reset_seconds=end)


def test_fixed_windows_are_used_up_each() -> None:
    server = WindowServer(depth_seconds=60.0)
    story = Run(server=server, images=5_000).play()
    assert story.last_admitted_at < 4 * 60 + 10  # four windows of 1,200 and what is left
    assert story.share_refused <= MOST_REFUSED


# What one reading says


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "rate"),
    [
        (1_200, 19, 0.05, 20.0),
        (1_200, 600, 30.0, 20.0),
        (10_000, 9_900, 864.0, 10_000 / 86_400),
        (3_600, 1_800, 1_800.0, 1.0),
        (500, 499, 0.12, 500 / 60),
    ],
)
def test_the_window_of_a_limit_is_the_smallest_that_its_reset_allows(
    limit: float, remaining: float, reset: float, rate: float
) -> None:
    window = Window(limit)
    window.learn(remaining, reset, now=0.0)
    assert window.rate == pytest.approx(rate)


def test_a_window_once_ruled_out_stays_so() -> None:
    window = Window(10_000)
    window.learn(9_900, 864.0, now=0.0)
    window.learn(10_000, 0.0, now=900.0)
    assert window.rate == 10_000 / 86_400


def test_a_bucket_of_one_second_under_a_limit_a_minute_is_recognised() -> None:
    model = RateModel(RateLimits())
    learn(model, read_requests(1_200, 20, 0.0))
    assert count_at_once(model, 1_000.0) in range(15, 21)


def test_without_a_reset_the_bucket_is_as_deep_as_its_limit() -> None:
    model = RateModel(RateLimits())
    learn(model, read_requests(60, 60, None))
    assert count_at_once(model, 0.0) in range(55, 61)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.inf, math.nan])
def test_a_limit_that_is_none_limits_nothing(limit: float) -> None:
    model = RateModel(RateLimits())
    learn(model, read_requests(limit, 0, None))
    assert not model.is_limited


def test_requests_in_flight_at_the_first_reading_are_counted() -> None:
    model = RateModel(RateLimits())
    tickets = [model.take(100, 0.0) for _ in range(4)]
    model.leave(tickets[0], read_requests(60, 5, None), 0.5)
    assert count_at_once(model, 0.5, tokens=100) < 2


def test_an_overtaken_answer_says_nothing() -> None:
    model = RateModel(RateLimits())
    learn(model, read_requests(1_200, 20, 0.0))
    early, late = model.take(100, 10.0), model.take(100, 10.0)
    model.leave(late, read_requests(600, 8, 0.2), 10.5)
    wait = model.compute_wait(100, 10.5)
    model.leave(early, read_requests(1_200, 0, 1.0), 10.5)
    assert model.compute_wait(100, 10.5) == wait


def test_the_lower_of_what_was_set_and_what_was_learned_holds() -> None:
    for chosen, learned in ((600, 1_200), (1_200, 600)):
        model = RateModel(RateLimits(requests_per_minute=chosen))
        learn(model, read_requests(learned, learned / 60, 0.0))
        sent = sum(count_at_once(model, second / 10) for second in range(600))
        assert sent == pytest.approx(600, rel=0.05)


def test_a_learned_depth_outranks_the_one_that_was_set() -> None:
    model = RateModel(RateLimits(requests_per_minute=1_200, burst_seconds=1.0))
    learn(model, read_requests(1_200, 1_200, 0.0))
    assert count_at_once(model, 0.0) > 1_100


def test_a_request_larger_than_the_bucket_goes_when_it_is_full() -> None:
    model = RateModel(RateLimits(tokens_per_minute=60_000))
    assert model.compute_wait(50_000, 0.0) == 0
    model.take(500, 0.0)
    wait = model.compute_wait(50_000, 0.0)
    assert wait == pytest.approx(0.5)
    assert model.compute_wait(50_000, wait) == 0


def test_unused_reservations_come_back_where_there_are_no_headers() -> None:
    model = RateModel(RateLimits(tokens_per_minute=60_000))
    ticket = model.take(1_000, 0.0)
    assert model.compute_wait(500, 0.0) > 0
    model.leave(ticket, None, 0.0)
    model.credit(ticket, 100, 0.0)
    assert model.compute_wait(500, 0.0) == 0


@pytest.mark.parametrize("is_learned", [True, False])
def test_what_was_not_sent_is_there_again(is_learned: bool) -> None:
    model = RateModel(RateLimits(requests_per_minute=None if is_learned else 1_200))
    if is_learned:
        learn(model, read_requests(1_200, 20, 0.0))
    tickets = []
    while model.compute_wait(10, 100.0) == 0:
        tickets.append(model.take(10, 100.0))
    for ticket in tickets:
        model.give_back(ticket, 100.0)
    assert count_at_once(model, 100.0, tokens=10) == len(tickets)


def test_a_share_is_that_part_of_rate_and_depth() -> None:
    model = RateModel(RateLimits(requests_per_minute=60_000, burst_seconds=1.0))
    model.set_share(0.25, 0.0)
    assert count_at_once(model, 0.0) == pytest.approx(250, rel=0.1)
    assert count_at_once(model, 0.1) == pytest.approx(25, abs=1)


def test_a_refusal_empties_what_it_names_and_widens_the_margin_once() -> None:
    model = RateModel(RateLimits(requests_per_minute=1_200, tokens_per_minute=3_600_000))
    first, second = model.take(100, 0.0), model.take(100, 0.0)
    before = model.compute_wait(100, 0.0)
    model.blame(first, read_requests(1_200, 0, 1.0), 0.0)
    once = model.compute_wait(100, 0.0)
    model.blame(second, read_requests(1_200, 0, 1.0), 0.0)
    assert before == 0
    assert once == model.compute_wait(100, 0.0) == pytest.approx((1 + 4) / 20)
    assert model.compute_wait(100, 3_600.0) == 0


def test_slow_down_halves_what_is_sent_and_lets_it_recover_slowly() -> None:
    model = RateModel(RateLimits())
    first, second = model.take(100, 0.0), model.take(100, 0.0)
    model.slow_down(first, 40.0, 0.0)
    model.slow_down(second, 40.0, 0.0)

    def count_sent(start: float) -> int:
        return sum(count_at_once(model, start + step / 10) for step in range(100))

    count_at_once(model, 9.0)
    assert count_sent(10.0) == pytest.approx(200, rel=0.05)
    count_at_once(model, 619.0)
    assert count_sent(620.0) == pytest.approx(200 * 1.03**10.3, rel=0.05)
    assert count_at_once(model, 3_600.0) == 10_000


def test_a_refusal_with_plenty_left_was_no_limit() -> None:
    assert has_plenty(1_000, read_requests(1_200, 10, 0.5))
    assert not has_plenty(1_000, read_requests(1_200, 1, 0.5))
    assert not has_plenty(1_000, RateReading())
    assert not has_plenty(1_000, None)
