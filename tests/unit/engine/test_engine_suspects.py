"""Whom a pause excuses: who failed for what it is to blame for, and not too long ago."""

from pipeline.domain.errors import (
    AnswersTurned,
    AnswersUnusable,
    BudgetExhausted,
    CredentialsRefused,
    ServerDown,
)
from pipeline.domain.jobs import JobId
from pipeline.domain.outcomes import Cause
from pipeline.engine.suspects import Suspects
from pipeline.limits.breaker import TURN_WINDOW


def fill(*failures: tuple[int, Cause]) -> Suspects:
    suspects = Suspects()
    for number, cause in failures:
        suspects.note_answer(is_good=False)
        suspects.add(JobId(number), cause, "first")
    return suspects


def test_a_pause_excuses_what_it_is_to_blame_for_and_nothing_else() -> None:
    suspects = fill((1, Cause.LENGTH), (2, Cause.REFUSED), (3, Cause.TIMEOUT))
    assert suspects.find(AnswersUnusable("x")) == [1]
    assert suspects.find(ServerDown("x")) == [3]
    assert suspects.find(BudgetExhausted("x")) == []
    assert suspects.find(CredentialsRefused("x")) == []


def test_a_good_answer_clears_whom_only_silence_could_excuse() -> None:
    suspects = fill((1, Cause.TIMEOUT))
    suspects.note_answer(is_good=True)
    assert suspects.find(ServerDown("x")) == []


def test_a_turn_looks_back_over_its_window_good_answers_or_not() -> None:
    suspects = fill((1, Cause.REFUSED))
    for _ in range(TURN_WINDOW - 2):
        suspects.note_answer(is_good=True)
    assert suspects.find(AnswersTurned("x")) == [1]
    for _ in range(3):
        suspects.note_answer(is_good=True)
    assert suspects.find(AnswersTurned("x")) == []


def test_who_failed_at_a_server_that_is_left_alone_is_put_back_once() -> None:
    suspects = fill((1, Cause.LENGTH), (2, Cause.REFUSED))
    suspects.add(JobId(3), Cause.LENGTH, "second")
    suspects.clear_names(AnswersUnusable("x"), "first")
    assert suspects.take_cleared() == [1]
    assert suspects.take_cleared() == []
    assert suspects.find(AnswersUnusable("x")) == [3]
