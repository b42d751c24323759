"""Until when batches may take it easy, and what a time of day means."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import ConfigurationError
from pipeline.limits.finish import FinishBy, guess_pace, read_finish_by

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=timezone(timedelta(hours=1)))
NIGHT = FinishBy(began=0.0, at=8 * 3600.0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("23:00", NOW.replace(hour=23, minute=0)),
        ("06:00", NOW.replace(day=22, hour=6, minute=0)),
        ("6:00", NOW.replace(day=22, hour=6, minute=0)),
        ("22:30", NOW.replace(day=22)),
        ("2026-11-22T06:00", NOW.replace(day=22, hour=6, minute=0)),
        ("2026-11-22T06:00+00:00", datetime(2026, 11, 22, 6, tzinfo=UTC)),
    ],
)
def test_a_time_is_the_next_of_its_kind(text: str, moment: datetime) -> None:
    assert read_finish_by(text, NOW) == moment


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-11-20T06:00", ""])
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--finish-by"):
        read_finish_by(text, NOW)


def test_the_last_moment_leaves_time_to_end_batches_and_to_ask_for_the_rest() -> None:
    assert NIGHT.find_last_moment(0, 10.0) == 8 * 3600 - 600
    assert NIGHT.find_last_moment(3_600, 1.0) == 8 * 3600 - 600 - 4_500


def test_of_a_short_time_a_tenth_is_kept_for_ending_batches() -> None:
    assert FinishBy(began=100.0, at=160.0).cancelling_seconds == 6.0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.1, 1e3))
def test_the_more_is_left_the_earlier_it_is_begun(few: int, more: int, pace: float) -> None:
    moments = [NIGHT.find_last_moment(left, pace) for left in (few, few + more)]
    assert moments[1] <= moments[0]


def test_a_lane_is_tight_when_it_would_be_late() -> None:
    assert not NIGHT.is_tight(0.0, 100, 1.0)
    assert NIGHT.is_tight(NIGHT.at - 100, 100, 1.0)
    assert NIGHT.is_tight(NIGHT.at + 1, 0, 1.0)


def test_a_pace_is_guessed_by_the_narrowest_bound() -> None:
    free = {"requests_per_minute": None, "tokens_per_minute": None, "tokens": 1_000}
    assert guess_pace(at_once=64, **free) == 6.4
    assert guess_pace(at_once=64, **{**free, "requests_per_minute": 60}) == 1.0
    assert guess_pace(at_once=64, **{**free, "tokens_per_minute": 30_000}) == 0.5
