"""The books count each request once, whatever becomes of it."""

import pytest

from pipeline.domain.usage import TokenUsage
from pipeline.simulator.books import Books, LogLine

LINE = LogLine(when=0.0, api="chat", model="sim-x")
USAGE = TokenUsage(input=100, output=10)


def book(books: Books, *, status: int | None = 200, billed: bool = True) -> None:
    with books.open_visit(LINE) as visit:
        if billed:
            visit.bill(USAGE, cost_nano=7)
        visit.note(status=status)


def break_off(books: Books) -> None:
    with books.open_visit(LINE) as visit:
        visit.bill(USAGE, cost_nano=7)
        raise ConnectionError


def test_requests_tokens_and_money_add_up() -> None:
    books = Books()
    book(books)
    book(books)
    book(books, status=429, billed=False)
    book(books, status=None)
    summary = books.summarize()
    assert summary["requests"] == 4
    assert summary["by_status"] == {"200": 2, "429": 1, "none": 1}
    assert summary["tokens"] == {
        "input": 300,
        "cached": 0,
        "cache_write": 0,
        "output": 30,
        "reasoning": 0,
    }
    assert summary["cost_nano"] == {"sim-x": 21}


def test_broken_off_request_is_booked_with_what_it_cost() -> None:
    books = Books()
    with pytest.raises(ConnectionError):
        break_off(books)
    assert books.summarize()["cost_nano"] == {"sim-x": 7}
    assert books.summarize()["inflight"] == 0


def test_peak_of_requests_in_flight_is_kept() -> None:
    books = Books()
    with books.open_visit(LINE), books.open_visit(LINE):
        assert books.summarize()["inflight"] == 2
    book(books)
    assert books.max_inflight == 2


def test_log_is_read_on_from_a_number() -> None:
    books = Books()
    for _ in range(5):
        book(books)
    assert [line["number"] for line in books.list_after(0)] == [1, 2, 3, 4, 5]
    assert [line["number"] for line in books.list_after(3)] == [4, 5]
    assert books.list_after(5) == []


def test_reset_forgets_pictures_but_not_what_is_under_way() -> None:
    books = Books()
    books.open_account("ab").seen = 3
    with books.open_visit(LINE):
        books.reset()
    assert books.open_account("ab").seen == 0
    assert books.summarize()["inflight"] == 0


def test_request_without_a_picture_has_no_account() -> None:
    books = Books()
    books.open_account("").seen = 3
    assert books.open_account("").seen == 0
    assert not books.pictures


def test_delivered_and_undelivered_answers_add_up_to_all_that_was_billed() -> None:
    books = Books()
    for delivered, tier in ((True, "default"), (True, "flex"), (False, "flex")):
        with books.open_visit(LINE) as visit:
            visit.note(answered_by="sim-y", tier=tier, status=200, delivered=delivered)
            visit.bill(USAGE, cost_nano=7)
    book(books, status=500, billed=False)
    summary = books.summarize()
    assert [summary[kind]["requests"] for kind in ("delivered", "undelivered")] == [2, 1]
    assert [summary[kind]["cost_nano"] for kind in ("delivered", "undelivered")] == [14, 7]
    assert summary["undelivered"]["tokens"]["output"] == 10
    lanes = {(lane["model"], lane["tier"]): lane["cost_nano"] for lane in summary["by_lane"]}
    assert lanes == {("sim-y", "default"): 7, ("sim-y", "flex"): 14}
    assert summary["cost_nano"] == {"sim-y": 21}


def test_bills_are_kept_by_fault_and_unpriced_ones_counted() -> None:
    books = Books()
    with books.open_visit(LINE) as visit:
        visit.note(fault="cut_body")
        visit.bill(USAGE, cost_nano=None)
    summary = books.summarize()
    assert summary["bill_by_fault"]["cut_body"]["unpriced"] == 1
    assert summary["tokens"]["input"] == 100
    assert summary["cost_nano"] == {}


def test_refused_requests_are_told_apart_from_injected_faults() -> None:
    books = Books()
    for facts in ({"refused_by": "tokens"}, {"refused_by": "requests"}, {"fault": "rate_limited"}):
        with books.open_visit(LINE) as visit:
            visit.note(status=429, **facts)
    summary = books.summarize()
    assert (summary["refused"], summary["by_fault"]) == (2, {"rate_limited": 1})
    assert summary["refused_by"] == {"tokens": 1, "requests": 1}
    assert summary["by_status"] == {"429": 3}


def test_admissions_tell_the_time_between_the_first_and_the_last() -> None:
    books = Books()
    for at in (5.0, 6.5, 9.0):
        books.admitted.add(400, when=1000 + at, at=at)
    assert books.summarize()["admitted"] == {
        "requests": 3,
        "tokens": 1200,
        "first_when": 1005.0,
        "last_when": 1009.0,
        "seconds": 4.0,
    }


def test_question_without_a_picture_is_remembered_but_is_no_picture() -> None:
    books = Books()
    books.open_question("ab").seen = 3
    assert books.open_question("ab").seen == 3
    assert books.summarize()["pictures"] == 0
