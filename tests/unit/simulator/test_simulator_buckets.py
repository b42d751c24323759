"""The allowed rate is held to the letter, and what answers say of it is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator.buckets import Bucket, Limiter, Overdraft, word_overdraft, write_duration

DEPTHS = st.sampled_from((0.1, 1.0, 7.5, 60.0))
GAPS = st.lists(st.floats(0, 30), min_size=1, max_size=60)


def limiter(**limits: int) -> Limiter:
    named = {name.replace("_", "-"): limit for name, limit in limits.items()}
    return Limiter(named, depth_s=60)  # type: ignore[arg-type]  # names of measures


def admit(doorkeeper: Limiter, now: float, *, tokens: int = 0, key: str = "k") -> Overdraft | None:
    return doorkeeper.admit(key, "m", tokens=tokens, now=now)


@given(st.integers(1, 5000), DEPTHS, GAPS, st.data())
def test_no_window_lets_through_more_than_depth_and_rate(
    limit: int, depth: float, gaps: list[float], data: st.DataObject
) -> None:
    bucket = Bucket(limit, depth_s=depth, now=0.0)
    rate, now, taken = limit / 60, 0.0, []
    for gap in gaps:
        now += gap
        amount = data.draw(st.integers(1, limit))
        if not bucket.measure_wait_seconds(amount, now):
            bucket.draw(amount)
            taken.append((now, amount))
    for first, (start, _) in enumerate(taken):
        for last in range(first, len(taken)):
            through = sum(amount for _, amount in taken[first:last])
            allowed = rate * (depth + taken[last][0] - start)
            # the last one may leave a debt, which those before it cannot have used
            assert through <= allowed + 1e-3


@given(st.integers(1, 5000), DEPTHS, GAPS, st.data())
def test_who_waits_as_long_as_told_is_let_in(
    limit: int, depth: float, gaps: list[float], data: st.DataObject
) -> None:
    doorkeeper = Limiter({"tokens": limit}, depth_s=depth)
    now = 0.0
    for gap in gaps:
        now += gap
        tokens = data.draw(st.integers(1, limit))
        overdraft = admit(doorkeeper, now, tokens=tokens)
        if overdraft is not None:
            assert overdraft.wait_ms
            now += overdraft.wait_ms / 1000
            assert admit(doorkeeper, now, tokens=tokens) is None


def test_refused_requests_draw_nothing() -> None:
    doorkeeper = limiter(requests=10, tokens=1000)
    assert admit(doorkeeper, 0.0, tokens=900) is None
    before = doorkeeper.make_headers("k", "m", now=0.0)
    for _ in range(50):
        assert admit(doorkeeper, 0.0, tokens=900) is not None
    assert doorkeeper.make_headers("k", "m", now=0.0) == before


@pytest.mark.parametrize(
    ("limits", "measure", "wait_ms"),
    [
        ({"requests": 1, "tokens": 1000}, "requests", 60_000),
        ({"requests": 100, "tokens": 600}, "tokens", 40_000),
        ({"requests": 100, "tokens": 1000, "project_tokens": 500}, "project-tokens", 60_000),
    ],
)
def test_the_limit_with_the_longest_wait_is_named(
    limits: dict[str, int], measure: str, wait_ms: int
) -> None:
    doorkeeper = limiter(**limits)
    assert admit(doorkeeper, 0.0, tokens=500) is None
    overdraft = admit(doorkeeper, 0.0, tokens=500)
    assert overdraft
    assert (overdraft.measure, overdraft.wait_ms) == (measure, wait_ms)


def test_request_above_the_whole_limit_is_never_let_in() -> None:
    overdraft = admit(limiter(tokens=1000), 0.0, tokens=1001)
    assert overdraft
    assert overdraft.wait_ms is None
    words = word_overdraft(overdraft, "gpt-x", tells_wait=True)
    assert words.startswith("Request too large for gpt-x on tokens per min (TPM): Limit 1000, ")


def test_request_deeper_than_the_bucket_waits_until_it_is_full() -> None:
    doorkeeper = Limiter({"tokens": 6000}, depth_s=1)
    assert admit(doorkeeper, 0.0, tokens=3000) is None
    overdraft = admit(doorkeeper, 0.0, tokens=3000)
    assert overdraft
    assert overdraft.wait_ms == 30_000


def test_keys_do_not_share_a_limit() -> None:
    doorkeeper = limiter(requests=1)
    assert admit(doorkeeper, 0.0) is None
    assert admit(doorkeeper, 0.0, key="other") is None
    assert admit(doorkeeper, 0.0) is not None


def test_smaller_limits_shrink_what_is_left_and_larger_ones_refill_nothing() -> None:
    doorkeeper = limiter(requests=100)
    assert admit(doorkeeper, 0.0) is None
    doorkeeper.change({"requests": 10}, depth_s=60, now=0.0)
    assert read_remaining(doorkeeper, 0.0) == 10
    doorkeeper.change({"requests": 100}, depth_s=60, now=0.0)
    assert read_remaining(doorkeeper, 0.0) == 10
    assert read_remaining(doorkeeper, 30.0) == 60


def read_remaining(doorkeeper: Limiter, now: float) -> int:
    return int(doorkeeper.make_headers("k", "m", now=now)["x-ratelimit-remaining-requests"])


def test_headers_tell_limit_level_and_time_to_full() -> None:
    doorkeeper = limiter(requests=60, tokens=6000, project_tokens=60_000)
    assert admit(doorkeeper, 0.0, tokens=150) is None
    assert doorkeeper.make_headers("k", "m", now=0.0) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5850",
        "x-ratelimit-reset-tokens": "1.5s",
        "x-ratelimit-limit-project-tokens": "60000",
        "x-ratelimit-remaining-project-tokens": "59850",
        "x-ratelimit-reset-project-tokens": "150ms",
    }


def test_without_limits_nothing_is_told() -> None:
    assert limiter().make_headers("k", "m", now=0.0) == {}
    assert admit(limiter(), 0.0, tokens=10**9) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.12, "120ms"), (0.0001, "1ms"), (1, "1s"), (8.64, "8.64s"), (59.9, "59.9s"),
        (60, "1m0s"), (360, "6m0s"), (61.5, "1m1.5s"), (3600, "1h0m0s"), (90_061, "25h1m1s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_the_api_writes_them(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text
