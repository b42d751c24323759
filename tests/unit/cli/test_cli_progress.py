from decimal import Decimal

import anyio
import pytest

from pipeline.cli.progress import (
    Bounds,
    Meter,
    Progress,
    describe,
    format_duration,
    show_progress,
)
from pipeline.cli.watching import describe_stop
from pipeline.domain.errors import LedgerAway
from pipeline.domain.outcomes import Cause, Failed
from pipeline.engine.progress import Tally


def make_progress(**changes: object) -> Progress:
    values: dict[str, object] = {
        "done": 1_200, "total": 5_000, "is_total_known": True, "images_per_s": 10.0,
        "failed": 0, "in_flight": 0, "cost_nanos": 0, "budget_usd": None,
    }  # fmt: skip
    return Progress(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (make_progress(), "1,200 of 5,000 images, 10.0/s, 6 min left"),
        (make_progress(is_total_known=False), "1,200 of at least 5,000 images, 10.0/s"),
        (make_progress(done=5_000), "5,000 of 5,000 images, 10.0/s"),
        (make_progress(done=0, total=0), "nothing new to tag"),
        (make_progress(done=0, total=0, is_total_known=False), "listing images"),
        (
            make_progress(failed=3, in_flight=64, cost_nanos=412_345_678, images_per_s=0.0),
            "1,200 of 5,000 images, 0.0/s, 3 failed, 64 in flight, $0.4123",
        ),
        (
            make_progress(images_per_s=0.0, in_flight=2, waits_for="the server asks to wait 59 s"),
            "1,200 of 5,000 images, 0.0/s, 2 in flight, the server asks to wait 59 s",
        ),
        (
            make_progress(budget_usd=Decimal(5), images_per_s=0.0),
            "1,200 of 5,000 images, 0.0/s, $0.0000 of $5",
        ),
        (
            make_progress(
                done=0,
                total=2_500,
                images_per_s=0.0,
                answers_per_s=0.1,
                batches=3,
                at_server=3,
                in_batches=2_500,
                answered_in_batches=1_240,
            ),
            "0 of 2,500 images, 3 batches at the server, 1,240 of 2,500 answered, 3 h 30 min left",
        ),
        (
            make_progress(done=9, total=50, images_per_s=2.0, batches=2, at_server=1, in_batches=9),
            "9 of 50 images, 2.0/s, 1 batch at the server, 0 of 9 answered, 1 batch on the way",
        ),
    ],
)
def test_line_says_what_is_known(progress: Progress, line: str) -> None:
    assert describe(progress) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (300, "5 min"), (3_599, "1 h 00 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_as_coarse_as_they_are_long(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rate_is_that_of_the_last_half_minute() -> None:
    tally = Tally()
    meter = Meter(tally, Bounds(), now=0.0)
    for now in range(1, 101):
        tally.tagged += 100 if now <= 60 else 5
        progress = meter.read(float(now))
    assert progress.images_per_s == pytest.approx(5.0)


def test_first_look_divides_by_nothing() -> None:
    assert Meter(Tally(), Bounds(), now=7.0).read(7.0).images_per_s == 0.0


def test_while_listing_the_total_is_the_most_that_is_known() -> None:
    tally = Tally()
    meter = Meter(tally, Bounds(), now=0.0)
    tally.findings.update(new=30, changed=5, unchanged=100)
    assert meter.read(1.0).total == 35
    meter.note_waiting(50, is_final=False)
    progress = meter.read(2.0)
    assert (progress.total, progress.is_total_known) == (50, False)


def test_after_listing_the_count_of_the_ledger_is_the_total() -> None:
    tally = Tally(is_scanning=False)
    tally.findings.update(new=100)
    tally.add_outcome(Failed(cause=Cause.EMPTY, message="no bytes"))
    meter = Meter(tally, Bounds(), now=0.0)
    meter.note_waiting(40, is_final=True)
    progress = meter.read(1.0)
    assert (progress.done, progress.total, progress.failed) == (1, 41, 1)
    assert progress.is_total_known


def test_limit_caps_the_total() -> None:
    tally = Tally(is_scanning=False)
    meter = Meter(tally, Bounds(limit=10), now=0.0)
    meter.note_waiting(40, is_final=True)
    assert meter.read(1.0).total == 10


@pytest.mark.anyio
async def test_a_ledger_that_is_away_does_not_end_the_run_through_its_display() -> None:
    counted = anyio.Event()

    async def count_waiting() -> int:
        counted.set()
        raise LedgerAway("the ledger failed: gone")

    tally = Tally()
    async with anyio.create_task_group() as shown:
        meter = Meter(tally, Bounds(), now=0.0)
        shown.start_soon(show_progress, meter, tally, count_waiting)
        await counted.wait()
        await anyio.wait_all_tasks_blocked()
        shown.cancel_scope.cancel()
    assert not meter.read(1.0).is_total_known


def test_what_a_run_does_not_choose_is_not_counted_as_its_work() -> None:
    tally = Tally()
    tally.findings["new"] = 1_000
    meter = Meter(tally, Bounds(is_selective=True), now=0.0)
    meter.note_waiting(3, is_final=False)
    assert meter.read(1.0).total == 3


def test_time_left_goes_by_what_the_server_counts_once_there_are_batches() -> None:
    tally = Tally(is_scanning=False, batches=1, batches_at_server=1, in_batches=1_000)
    meter = Meter(tally, Bounds(), now=0.0)
    meter.note_waiting(1_000, is_final=True)
    assert meter.read(0.0).seconds_left is None
    tally.answered_in_batches = 100
    assert meter.read(100.0).seconds_left == pytest.approx(900.0)
    assert meter.read(200.0).seconds_left == pytest.approx(1_800.0)


def test_pace_of_batches_forgets_what_was_long_ago() -> None:
    tally = Tally(is_scanning=False, batches=1, batches_at_server=1, in_batches=10_000)
    meter = Meter(tally, Bounds(), now=0.0)
    meter.read(0.0)
    for minute in range(1, 121):
        tally.answered_in_batches += 60 if minute <= 60 else 6
        progress = meter.read(60.0 * minute)
    assert progress.answers_per_s == pytest.approx(0.1, rel=0.05)


def test_answers_that_come_home_are_no_new_ones() -> None:
    tally = Tally(is_scanning=False, batches=2, batches_at_server=2, in_batches=200)
    meter = Meter(tally, Bounds(), now=0.0)
    meter.note_waiting(200, is_final=True)
    meter.read(0.0)
    tally.answered_in_batches = 100
    before = meter.read(10.0)
    tally.batches, tally.in_batches, tally.answered_in_batches, tally.tagged = 1, 100, 0, 100
    after = meter.read(10.0)
    assert (before.seconds_left, after.seconds_left) == (10.0, 10.0)


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (
            Tally(in_flight=3),
            "stopping: 3 requests under way settle first; Ctrl-C again to cancel",
        ),
        (
            Tally(batches=2, batches_at_server=2),
            "stopping: 2 batches go on at the server, the same command collects the answers",
        ),
        (
            Tally(in_flight=1, batches=2, batches_at_server=1),
            (
                "stopping: 1 requests under way settle first; 1 batch goes on at the server, the "
                "same command collects the answers"
            ),
        ),
    ],
)
def test_stopping_says_what_goes_on(tally: Tally, text: str) -> None:
    assert describe_stop(tally) == text
