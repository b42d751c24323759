"""``--only`` and ``--where``: which images a command is about."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import JobState, Reason
from pipeline.domain.outcomes import Cause

if TYPE_CHECKING:
    from pipeline.ledger.selection import Selection

ENDED: Final = (JobState.FAILED, JobState.SKIPPED)
TAG_KEYS: Final = ("path", "cause", "profile", "age")
RETRY_KEYS: Final = (*TAG_KEYS, "state")

_HOUR_MS: Final = 3_600_000
_UNITS_MS: Final = {"h": _HOUR_MS, "d": 24 * _HOUR_MS, "w": 7 * 24 * _HOUR_MS}
_AGE: Final = re.compile(r"([+-]?)([0-9]{1,6})([hdw])")
_KEYS_HELP: Final = (
    "path (a pattern with * and ? for the whole path), cause (several with commas), profile, "
    "age (time since it was settled: 30d is that old or older, -7d is younger; h, d, w)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOptions:
    """Which of the images to ask about."""

    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REASON",
            help="Ask only about images that are new, changed, stale or failed; repeatable, "
            "several with commas. Failed ones are put back first.",
            show_default=False,
        ),
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Ask only about images of which this is true; repeatable, all must hold. "
            f"Keys: {_KEYS_HELP}.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereOptions:
    """Which images to put back."""

    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only images of which this is true; repeatable, all must hold. "
            f"Keys: {_KEYS_HELP}, state (failed or skipped).",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What ``--where`` asks for, understood; None where it asks for nothing."""

    path: str | None = None
    causes: tuple[Cause, ...] | None = None
    profile: str | None = None
    min_age_ms: int | None = None
    max_age_ms: int | None = None
    """The age itself is too old already."""
    state: JobState | None = None


def parse_where(conditions: Sequence[str], *, keys: Sequence[str]) -> Conditions:
    """Read ``key=value`` texts; ``keys`` are those that this command knows.

    Raises:
        UsageError: naming what is allowed.
    """
    given: dict[str, str] = {}
    for condition in conditions:
        key, is_given, value = condition.partition("=")
        if not is_given or not value or key not in keys:
            raise UsageError(
                f"--where {condition}: write KEY=VALUE with one of the keys {', '.join(keys)}"
            )
        # an age may be bounded on both sides
        name = "younger" if key == "age" and value.startswith("-") else key
        if name in given:
            raise UsageError(
                f"--where {key} is given twice, and all conditions must hold; "
                "for one of several causes write cause=timeout,connection"
            )
        given[name] = value
    return Conditions(
        path=given.get("path"),
        causes=_parse_causes(given["cause"]) if "cause" in given else None,
        profile=given.get("profile"),
        min_age_ms=_parse_age(given["age"]) if "age" in given else None,
        max_age_ms=_parse_age(given["younger"]) if "younger" in given else None,
        state=_parse_state(given["state"]) if "state" in given else None,
    )


def _parse_causes(text: str) -> tuple[Cause, ...]:
    try:
        return tuple(Cause(name.strip()) for name in text.split(","))
    except ValueError as error:
        allowed = ", ".join(cause.value for cause in Cause)
        raise UsageError(f"--where cause={text}: the causes are {allowed}") from error


def _parse_state(text: str) -> JobState:
    if text not in ENDED:
        raise UsageError(f"--where state={text}: the states are {' and '.join(ENDED)}")
    return JobState(text)


def _parse_age(text: str) -> int:
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--where age={text}: write a whole number of h (hours), d (days) or w (weeks): "
            "age=30d for that old or older, age=-7d for younger"
        )
    _, number, unit = found.groups()
    return int(number) * _UNITS_MS[unit]


def parse_only(texts: Sequence[str]) -> tuple[Reason, ...]:
    """Read the reasons of ``--only``, each once.

    Raises:
        UsageError: naming what is allowed.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    try:
        return tuple(dict.fromkeys(Reason(name) for name in names))
    except ValueError as error:
        allowed = ", ".join(reason.value for reason in Reason)
        raise UsageError(f"--only {','.join(names)}: the reasons are {allowed}") from error


def choose(choice: ChoiceOptions, *, profile: str) -> "Selection":
    """What ``tag`` is to ask about.

    Raises:
        UsageError: an option cannot be read, or names a profile that the run does not ask.
    """
    wanted = parse_where(choice.where or (), keys=TAG_KEYS)
    if wanted.profile not in (None, profile):
        raise UsageError(
            f"--where profile={wanted.profile}: this run asks profile {profile}; "
            f"--profile {wanted.profile} chooses the other"
        )
    reasons = parse_only(choice.only) if choice.only else None
    return make_selection(wanted, reasons=reasons, now_ms=time.time_ns() // 1_000_000)


def make_selection(
    wanted: Conditions, *, reasons: tuple[Reason, ...] | None = None, now_ms: int
) -> "Selection":
    """The conditions as the ledger knows them; ages become moments before ``now_ms``."""
    from pipeline.ledger.selection import Selection

    return Selection(
        reasons=reasons,
        causes=wanted.causes,
        path=wanted.path,
        settled_before_ms=None if wanted.min_age_ms is None else now_ms - wanted.min_age_ms,
        settled_after_ms=None if wanted.max_age_ms is None else now_ms - wanted.max_age_ms,
    )
