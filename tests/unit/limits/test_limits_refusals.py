"""Refusals are a limit's until what was sent after them says otherwise."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.refusals import RefusalJudge


def test_without_samples_there_is_a_limit() -> None:
    judge = RefusalJudge()
    judge.note_refused(1, 0.0, until=1.0)
    assert not judge.is_sporadic


def test_eight_let_through_in_the_shadow_of_a_refusal_make_it_sporadic() -> None:
    judge = RefusalJudge()
    judge.note_refused(1, 0.0, until=1.0)
    for sequence in range(2, 9):
        judge.note_let_through(sequence, 0.5)
    assert not judge.is_sporadic
    judge.note_let_through(9, 0.5)
    assert judge.is_sporadic


@given(sequences=st.lists(st.integers(10, 1_000), max_size=100), until=st.floats(0, 100))
def test_what_was_sent_before_or_after_its_time_says_nothing(
    sequences: list[int], until: float
) -> None:
    judge = RefusalJudge()
    judge.note_refused(1_001, 0.0, until=until)
    judge.note_refused(5, 0.0, until=until)
    for sequence in sequences:
        judge.note_let_through(sequence, until)
        judge.note_let_through(sequence - 10, 0.0) if sequence < 15 else None
    assert not judge.is_sporadic


def test_a_bucket_that_refuses_all_the_rest_is_a_limit() -> None:
    judge = RefusalJudge()
    for sequence in range(20):
        judge.note_let_through(sequence, 0.0)
    for sequence in range(20, 64):
        judge.note_refused(sequence, 0.0, until=1.0)
    assert not judge.is_sporadic


@given(period=st.integers(3, 20))
def test_single_refusals_among_many_are_sporadic(period: int) -> None:
    judge = RefusalJudge()
    for sequence in range(period * 20):
        now = sequence / 80
        if sequence % period == 0:
            judge.note_refused(sequence, now, until=now + 1)
        else:
            judge.note_let_through(sequence, now)
    assert judge.is_sporadic


def test_the_verdict_turns_when_nearly_all_is_refused() -> None:
    judge = RefusalJudge()
    judge.note_refused(0, 0.0, until=100.0)
    for sequence in range(1, 200):
        judge.note_let_through(sequence, 1.0)
    assert judge.is_sporadic
    for sequence in range(200, 230):
        judge.note_refused(sequence, 2.0, until=100.0)
    assert not judge.is_sporadic


def test_a_higher_bar_keeps_a_server_out_of_breath_from_looking_whimsical() -> None:
    judge = RefusalJudge(least_samples=20, least_share=0.9)
    for sequence in range(200):
        if sequence % 5 == 0:
            judge.note_refused(sequence, 0.0, until=1.0)
        else:
            judge.note_let_through(sequence, 0.0)
    assert not judge.is_sporadic
