import pytest

from pipeline.cli.export import parse_states
from pipeline.cli.where import (
    RETRY_KEYS,
    TAG_KEYS,
    ChoiceOptions,
    Conditions,
    choose,
    make_selection,
    parse_only,
    parse_where,
)
from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import JobState, Reason
from pipeline.domain.outcomes import Cause
from pipeline.ledger.selection import Selection

NOW = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([], Conditions()),
        (["path=*/a=b/*"], Conditions(path="*/a=b/*")),
        (["cause=too_small"], Conditions(causes=(Cause.TOO_SMALL,))),
        (
            ["cause=timeout, connection", "path=x*"],
            Conditions(causes=(Cause.TIMEOUT, Cause.CONNECTION), path="x*"),
        ),
        (["state=skipped"], Conditions(state=JobState.SKIPPED)),
        (["profile=product"], Conditions(profile="product")),
        (["age=5h"], Conditions(min_age_ms=5 * HOUR_MS)),
        (["age=+30d"], Conditions(min_age_ms=30 * 24 * HOUR_MS)),
        (["age=-2w"], Conditions(max_age_ms=14 * 24 * HOUR_MS)),
        (["age=1d", "age=-2d"], Conditions(min_age_ms=24 * HOUR_MS, max_age_ms=48 * HOUR_MS)),
    ],
)
def test_where_is_read(texts: list[str], wanted: Conditions) -> None:
    assert parse_where(texts, keys=RETRY_KEYS) == wanted


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (["color=red"], "path, cause, profile, age"),
        (["state=failed"], "path, cause, profile, age$"),
        (["timeout"], "KEY=VALUE"),
        (["path="], "KEY=VALUE"),
        (["cause=tired"], "too_small, refused"),
        (["cause=lost", "cause=empty"], "cause=timeout,connection"),
        (["age=1d", "age=2d"], "age is given twice"),
        (["age=-1d", "age=-2d"], "age is given twice"),
        (["age=30"], "age=30d for that old or older, age=-7d for younger"),
        (["age=1m"], r"h \(hours\), d \(days\) or w \(weeks\)"),
        (["age=1.5d"], "whole number"),
    ],
)
def test_where_that_cannot_be_read_says_what_is_allowed(texts: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_where(texts, keys=TAG_KEYS)


def test_a_state_that_cannot_be_put_back_says_which_can() -> None:
    with pytest.raises(UsageError, match="failed and skipped"):
        parse_where(["state=done"], keys=RETRY_KEYS)


def test_an_age_is_a_moment_before_now() -> None:
    wanted = parse_where(["age=1h", "age=-1d"], keys=TAG_KEYS)
    assert make_selection(wanted, now_ms=NOW) == Selection(
        settled_before_ms=NOW - HOUR_MS, settled_after_ms=NOW - 24 * HOUR_MS
    )


def test_whoever_asks_for_a_cause_means_skipped_images_too() -> None:
    assert Selection().ends == (JobState.FAILED,)
    assert Selection(causes=(Cause.TOO_SMALL,)).ends == (JobState.FAILED, JobState.SKIPPED)


def test_reasons_are_read_once_each_however_they_are_given() -> None:
    assert parse_only(["changed, new", "new"]) == (Reason.CHANGED, Reason.NEW)


@pytest.mark.parametrize("text", ["old", "new,", ""])
def test_a_reason_that_is_none_says_which_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="the reasons are new, changed, stale, failed"):
        parse_only([text])


def test_a_run_is_about_its_own_profile() -> None:
    choice = ChoiceOptions(where=["profile=product"])
    assert choose(choice, profile="product") == Selection()
    with pytest.raises(UsageError, match="asks profile general; --profile product chooses"):
        choose(choice, profile="general")


def test_states_are_read_once_each_in_order() -> None:
    assert parse_states("failed, done,failed") == (JobState.FAILED, JobState.DONE)


def test_unknown_state_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="dnoe: the states are done, failed, skipped, pending"):
        parse_states("done,dnoe")
