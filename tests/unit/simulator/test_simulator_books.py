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
    assert summary["tokens"] == {"input": 300, "cached": 0, "output": 30}
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
