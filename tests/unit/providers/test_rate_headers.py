"""Limits in headers: every form they come in, and garbage that must not hurt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.rates import Allowance, RateReading
from pipeline.providers.rate_headers import read_rates

KINDS = ("requests", "tokens", "project-tokens")
FACTS = ("limit", "remaining", "reset")
NAMES = [f"x-ratelimit-{fact}-{kind}" for fact in FACTS for kind in KINDS]


def read_reset(text: str) -> float | None:
    reading = read_rates({"x-ratelimit-limit-tokens": "1", "x-ratelimit-reset-tokens": text})
    assert reading is not None
    assert reading.tokens is not None
    return reading.tokens.reset_seconds


def test_all_limits_are_read() -> None:
    headers = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000.5",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-limit-project-tokens": "100",
        "x-ratelimit-remaining-project-tokens": "0",
        "x-ratelimit-reset-project-tokens": "1",
    }
    assert read_rates(headers) == RateReading(
        requests=Allowance(limit=5000, remaining=4999, reset_seconds=0.012),
        tokens=Allowance(limit=2_000_000, remaining=1_999_000.5, reset_seconds=360),
        project_tokens=Allowance(limit=100, remaining=0, reset_seconds=1),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("24h0m0s", 86_400),
        ("1d", 86_400),
        ("500us", 0.0005),
        ("500µs", 0.0005),
        ("7", 7),
        (" 2.5 ", 2.5),
        ("0s", 0),
        ("0", 0),
        ("25h", None),  # longer than any window
        ("1795262400", None),  # a point in time
        ("-1s", None),
        ("-1", None),
        ("1s tomorrow", None),
        ("1 s", None),
        ("s", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("٣s", None),
        ("9" * 400 + "s", None),
    ],
)
def test_reset_is_a_duration(text: str, seconds: float | None) -> None:
    assert read_reset(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["", "-5", "many", "nan", "1_000", "0x10", "9" * 400])
def test_garbled_number_is_unknown_beside_what_is_known(text: str) -> None:
    headers = {"x-ratelimit-limit-requests": text, "x-ratelimit-remaining-requests": "3"}
    assert read_rates(headers) == RateReading(requests=Allowance(remaining=3))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json", "retry-after": "3", "x-ratelimit-reset": "1"},
        {"x-ratelimit-limit-requests": "plenty", "x-ratelimit-reset-tokens": "soon"},
    ],
)
def test_headers_that_tell_nothing_are_no_reading(headers: dict[str, str]) -> None:
    assert read_rates(headers) is None


@given(st.dictionaries(st.sampled_from(NAMES), st.text(alphabet="0123456789.hmsd-+eµ x")))
def test_any_headers_become_plausible_numbers_or_nothing(headers: dict[str, str]) -> None:
    reading = read_rates(headers)
    if reading is None:
        return
    for allowance in (reading.requests, reading.tokens, reading.project_tokens):
        if allowance is not None:
            facts = (allowance.limit, allowance.remaining, allowance.reset_seconds)
            assert facts != (None, None, None)
            assert all(fact is None or 0 <= fact < 10**15 for fact in facts)


@given(st.integers(0, 22), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_duration_adds_up_its_parts(hours: int, minutes: int, seconds: int, milli: int) -> None:
    expected = hours * 3600 + minutes * 60 + seconds + milli / 1000
    assert read_reset(f"{hours}h{minutes}m{seconds}s{milli}ms") == pytest.approx(expected)
