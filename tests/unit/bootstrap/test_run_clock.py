"""The time of a run does not jump."""

import time
from datetime import UTC, datetime

import pytest

from pipeline.bootstrap.clock import make_clock

START = 1_800_000_000_000


def test_it_begins_with_the_ledgers_time() -> None:
    assert make_clock(START, measure=lambda: 5.0).now_ms() == START


def test_it_goes_with_the_uptime() -> None:
    uptime = iter([100.0, 101.5, 3_700.0])
    clock = make_clock(START, measure=lambda: next(uptime))
    assert clock.now_ms() == START + 1_500
    assert clock.now_ms() == START + 3_600_000


def test_a_wall_clock_that_is_set_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = make_clock(START, measure=lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert clock.now() == datetime.fromtimestamp(START / 1000, UTC)
