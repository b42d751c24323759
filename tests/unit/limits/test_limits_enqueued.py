"""What may wait at the server in batches is configured, or learned from what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.enqueued import EnqueuedTokens, read_limit

WORDS = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 2,000,000 "
    "enqueued tokens. Please try again once some in_progress batches have been completed."
)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (WORDS, 2_000_000),
        ("Limit: 90000 enqueued tokens", 90_000),
        ("too many enqueued tokens", None),
        ("Limit: 0 enqueued tokens", None),
    ],
)
def test_a_refusal_may_name_the_limit(message: str, limit: int | None) -> None:
    assert read_limit(message) == limit


def test_without_a_limit_everything_is_tried() -> None:
    enqueued = EnqueuedTokens()
    enqueued.enter(1, 10**9)
    assert enqueued.has_room(10**9)


def test_within_a_limit_batches_are_let_in_as_they_fit() -> None:
    enqueued = EnqueuedTokens(100)
    enqueued.enter(1, 60)
    assert enqueued.has_room(40)
    assert not enqueued.has_room(41)
    enqueued.leave(1)
    assert enqueued.has_room(500)  # alone it may always try


def test_a_refusal_teaches_the_limit_it_names() -> None:
    enqueued = EnqueuedTokens()
    enqueued.enter(1, 1_500_000)
    enqueued.enter(2, 1_500_000)
    assert enqueued.note_refusal(2, 1_500_000, WORDS) > 0
    assert (enqueued.limit, enqueued.total) == (2_000_000, 1_500_000)


def test_a_refusal_without_words_teaches_that_what_is_there_fits() -> None:
    enqueued = EnqueuedTokens()
    enqueued.enter(1, 70)
    enqueued.enter(2, 70)
    enqueued.note_refusal(2, 70, "")
    assert enqueued.limit == 70


def test_what_is_refused_alone_is_too_large_and_becomes_smaller() -> None:
    enqueued = EnqueuedTokens()
    sizes = [1_000]
    for _ in range(3):
        enqueued.enter(1, sizes[-1])
        assert enqueued.note_refusal(1, sizes[-1], "") == 0
        assert enqueued.is_too_large(sizes[-1])
        sizes.append(enqueued.limit or 0)
    assert sizes == [1_000, 500, 250, 125]


def test_what_cannot_be_split_waits_for_others_to_leave() -> None:
    enqueued = EnqueuedTokens()
    waits = [enqueued.note_refusal(1, 500, "", is_smallest=True) for _ in range(3)]
    assert waits == [15.0, 30.0, 60.0]
    assert enqueued.limit == 500


def test_a_guess_made_while_others_filled_the_server_grows_again() -> None:
    enqueued = EnqueuedTokens()
    enqueued.note_refusal(1, 1_000, "")
    sizes = []
    for batch in range(3):
        enqueued.enter(batch, 100)
        enqueued.leave(batch)
        sizes.append(enqueued.limit)
    assert sizes == [1_000, 2_000, 4_000]
    enqueued.note_refusal(9, 100, WORDS)
    enqueued.enter(9, 100)
    enqueued.leave(9)
    assert enqueued.limit == 2_000_000


def test_each_refusal_in_a_row_waits_longer_until_there_is_room() -> None:
    enqueued = EnqueuedTokens(100)
    enqueued.enter(1, 50)
    waits = [enqueued.note_refusal(2, 60, WORDS) for _ in range(9)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (15.0, 600.0)
    enqueued.leave(1)
    assert enqueued.note_refusal(2, 60, WORDS) == 15.0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 100)), max_size=30))
def test_what_waits_is_the_sum_of_what_came_and_did_not_leave(moves: list[tuple[int, int]]) -> None:
    enqueued, known = EnqueuedTokens(), dict[int, int]()
    for batch, tokens in moves:
        if batch in known:
            enqueued.leave(batch)
            del known[batch]
        else:
            enqueued.enter(batch, tokens)
            known[batch] = tokens
    assert enqueued.total == sum(known.values())
