import pytest

from pipeline.cli.export import parse_states
from pipeline.cli.retry import Conditions, parse_where
from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import JobState
from pipeline.domain.outcomes import Cause

BOTH = (JobState.FAILED, JobState.SKIPPED)
FAILED = (JobState.FAILED,)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([], Conditions(causes=None, path=None, states=FAILED)),
        (["path=*/a=b/*"], Conditions(causes=None, path="*/a=b/*", states=FAILED)),
        (["cause=too_small"], Conditions(causes=(Cause.TOO_SMALL,), path=None, states=BOTH)),
        (
            ["cause=timeout, connection", "path=x*"],
            Conditions(causes=(Cause.TIMEOUT, Cause.CONNECTION), path="x*", states=BOTH),
        ),
        (["state=skipped"], Conditions(causes=None, path=None, states=(JobState.SKIPPED,))),
        (
            ["state=failed", "cause=lost"],
            Conditions(causes=(Cause.LOST,), path=None, states=FAILED),
        ),
    ],
)
def test_where_is_read(texts: list[str], wanted: Conditions) -> None:
    assert parse_where(texts) == wanted


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (["color=red"], "cause, path, state"),
        (["timeout"], "KEY=VALUE"),
        (["cause=tired"], "too_small, refused"),
        (["state=done"], "failed and skipped"),
        (["cause=lost", "cause=empty"], "cause=timeout,connection"),
    ],
)
def test_where_that_cannot_be_read_says_what_is_allowed(texts: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_where(texts)


def test_states_are_read_once_each_in_order() -> None:
    assert parse_states("failed, done,failed") == (JobState.FAILED, JobState.DONE)


def test_unknown_state_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="dnoe: the states are done, failed, skipped, pending"):
        parse_states("done,dnoe")
