"""A day and a month are UTC, and each moment is in exactly one of either."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger.caps import Caps, find_period
from pipeline.ledger.spends import DAY_MS

MOMENTS = st.integers(0, 4_102_444_800_000)  # until 2100


def to_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def to_date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


@given(MOMENTS)
def test_every_moment_is_in_its_day_and_its_month(now_ms: int) -> None:
    today = datetime.fromtimestamp(now_ms // 1000, UTC).date()
    day, month = find_period("day", now_ms), find_period("month", now_ms)
    assert to_date(day.first_day) == today
    assert day.end_day == day.first_day + 1
    assert to_date(month.first_day) == today.replace(day=1)
    last = to_date(month.end_day - 1)
    assert (last.year, last.month) == (today.year, today.month)
    assert to_date(month.end_day).day == 1


@given(MOMENTS)
def test_a_period_begins_where_the_last_one_ends(now_ms: int) -> None:
    for span in ("day", "month"):
        period = find_period(span, now_ms)  # type: ignore[arg-type]
        following = find_period(span, period.ends_at_ms)  # type: ignore[arg-type]
        assert following.first_day == period.end_day
        assert find_period(span, period.ends_at_ms - 1) == period  # type: ignore[arg-type]


def test_december_ends_with_the_year() -> None:
    period = find_period("month", to_ms(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)))
    assert period.ends_at_ms == to_ms(datetime(2027, 1, 1, tzinfo=UTC))
    assert (period.end_day - period.first_day) * DAY_MS == 31 * DAY_MS


def test_no_cap_is_no_cap_and_nought_is_one() -> None:
    assert Caps().list_set() == []
    assert Caps(day_nanos=0).list_set() == [("day", 0)]
    assert Caps(day_nanos=1, month_nanos=2).list_set() == [("month", 2), ("day", 1)]
