"""Faults and delays come in the shares asked for, the same in every run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.simulator.behavior import (
    Behavior,
    Fault,
    draw_fault,
    draw_latency_seconds,
    overload_factor,
)
from pipeline.simulator.decisions import Case, decide

PICTURES = [f"{number:064x}" for number in range(4000)]


def case(behavior: Behavior, *, times_seen: int = 0, faults: int = 0) -> Case:
    return Case(
        behavior=behavior,
        model="sim-x",
        picture=PICTURES[0],
        times_seen=times_seen,
        faults_so_far=faults,
        service_tier="flex",
    )


def test_faults_come_in_their_shares() -> None:
    behavior = Behavior(rate_limited=0.1, server_error=0.02, hang=0.3)
    drawn = [draw_fault(behavior, picture, times_seen=0) for picture in PICTURES]
    assert drawn.count(Fault.RATE_LIMITED) / len(drawn) == pytest.approx(0.1, abs=0.02)
    assert drawn.count(Fault.SERVER_ERROR) / len(drawn) == pytest.approx(0.02, abs=0.01)
    assert drawn.count(Fault.HANG) / len(drawn) == pytest.approx(0.3, abs=0.03)
    assert drawn.count(None) / len(drawn) == pytest.approx(0.58, abs=0.03)


@pytest.mark.parametrize("fault", Fault)
def test_share_of_one_is_always(fault: Fault) -> None:
    behavior = Behavior.model_validate({fault.value: 1})
    assert {decide(case(behavior, times_seen=n)).fault for n in range(20)} == {fault}


def test_fault_depends_on_seed_picture_and_times_seen() -> None:
    one, two = Behavior(server_error=0.5), Behavior(server_error=0.5, seed=1)
    drawn = [draw_fault(one, picture, times_seen=0) for picture in PICTURES]
    assert drawn == [draw_fault(one, picture, times_seen=0) for picture in PICTURES]
    assert drawn != [draw_fault(two, picture, times_seen=0) for picture in PICTURES]
    assert drawn != [draw_fault(one, picture, times_seen=1) for picture in PICTURES]


def test_picture_is_spared_after_its_share_of_faults() -> None:
    behavior = Behavior(server_error=1, max_faults_per_picture=2)
    assert decide(case(behavior, faults=1)).error is not None
    assert decide(case(behavior, faults=2)).fault is None


def test_rate_limit_says_how_long_to_wait() -> None:
    error = decide(case(Behavior(rate_limited=1, retry_after_ms=1200))).error
    assert error is not None
    assert error.headers == {"retry-after": "2", "retry-after-ms": "1200"}


def latencies(behavior: Behavior) -> list[float]:
    return [draw_latency_seconds(behavior, picture, times_seen=0) for picture in PICTURES]


def test_latency_without_jitter_is_fixed() -> None:
    assert set(latencies(Behavior(latency_ms=250))) == {0.25}


def test_uniform_jitter_stays_within_its_bound() -> None:
    drawn = latencies(Behavior(latency_ms=100, latency_jitter_ms=50))
    assert 0.1 <= min(drawn) < 0.105
    assert 0.145 < max(drawn) <= 0.15


def test_lognormal_jitter_has_its_median_and_a_tail() -> None:
    behavior = Behavior(latency_jitter_ms=100, latency_shape="lognormal")
    drawn = sorted(latencies(behavior))
    assert drawn[len(drawn) // 2] == pytest.approx(0.1, rel=0.05)
    assert drawn[-1] > 0.3


@given(st.dictionaries(st.sampled_from([fault.value for fault in Fault]), st.floats(0, 1)))
def test_shares_may_not_exceed_one(shares: dict[str, float]) -> None:
    if sum(shares.values()) > 1.0000001:
        with pytest.raises(ValidationError, match="add up"):
            Behavior.model_validate(shares)
    elif sum(shares.values()) <= 0.9999999:
        assert Behavior.model_validate(shares).rate_limited == shares.get("rate_limited", 0)


def test_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(Behavior(require_key="sk-secret"))


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        Behavior.model_validate({"latency": 5})


def test_seed_keeps_its_faults_when_others_become_likely() -> None:
    one = Behavior(rate_limited=0.1, hang=0.1)
    two = Behavior(rate_limited=0.1, hang=0.1, reset=0.2)
    before = [draw_fault(one, picture, times_seen=0) for picture in PICTURES]
    after = [draw_fault(two, picture, times_seen=0) for picture in PICTURES]
    assert all(new is old for old, new in zip(before, after, strict=True) if old)


@pytest.mark.parametrize(
    ("in_flight", "exponent", "factor"), [(1, 2, 1), (10, 2, 1), (20, 1, 2), (20, 2, 4), (40, 0, 1)]
)
def test_latency_grows_beyond_the_capacity(in_flight: int, exponent: float, factor: float) -> None:
    behavior = Behavior(capacity=10, overload_exponent=exponent)
    assert overload_factor(behavior, in_flight=in_flight) == pytest.approx(factor)


def test_any_number_is_served_at_full_speed_without_a_capacity() -> None:
    assert overload_factor(Behavior(), in_flight=10_000) == 1
