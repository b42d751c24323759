"""``retry``: puts failed images back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import JobState
from pipeline.domain.outcomes import Cause

if TYPE_CHECKING:
    from pipeline.config.settings import Settings

_ENDED = (JobState.FAILED, JobState.SKIPPED)
_KEYS = ("cause", "path", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereOptions:
    """Which images to put back."""

    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only images of which this is true; repeatable, all must hold. "
            "Keys: cause (several with commas), path (a pattern with * and ?), state.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What ``--where`` asks for, understood."""

    causes: tuple[Cause, ...] | None
    path: str | None
    states: tuple[JobState, ...]


def parse_where(conditions: Sequence[str]) -> Conditions:
    """Read ``key=value`` texts.

    Without a state or a cause only failed images are meant: a skipped one would be skipped again.

    Raises:
        UsageError: naming what is allowed.
    """
    given: dict[str, str] = {}
    for condition in conditions:
        key, is_given, value = condition.partition("=")
        if not is_given or key not in _KEYS:
            raise UsageError(
                f"--where {condition}: write KEY=VALUE with one of the keys {', '.join(_KEYS)}"
            )
        if key in given:
            raise UsageError(
                f"--where {key} is given twice, and no image can meet both; "
                "for one of several causes write cause=timeout,connection"
            )
        given[key] = value
    causes = _parse_causes(given["cause"]) if "cause" in given else None
    states = _ENDED if causes else (JobState.FAILED,)
    if "state" in given:
        states = (_parse_state(given["state"]),)
    return Conditions(causes=causes, path=given.get("path"), states=states)


def _parse_causes(text: str) -> tuple[Cause, ...]:
    try:
        return tuple(Cause(name.strip()) for name in text.split(","))
    except ValueError as error:
        allowed = ", ".join(cause.value for cause in Cause)
        raise UsageError(f"--where cause={text}: the causes are {allowed}") from error


def _parse_state(text: str) -> JobState:
    if text not in _ENDED:
        raise UsageError(f"--where state={text}: the states are {' and '.join(_ENDED)}")
    return JobState(text)


@verb
def retry(*, where: WhereOptions, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Put failed images back, as if never tried; the next tag asks about them again.

    Skipped images stay as they are unless a cause or state=skipped asks for them.

    Examples:
      tagpipe retry
      tagpipe retry --where cause=timeout,connection
      tagpipe retry --where cause=refused --where path='*/shoes/*'

    Exit codes: 0 done, also when there was nothing to put back; 1 a fault of the machine or a
    bug; 2 usage or configuration, or there is no ledger.
    """
    wanted = parse_where(where.where or [])
    return run_async(partial(_put_back, load(chosen, output), wanted, output))


async def _put_back(settings: "Settings", wanted: Conditions, output: OutputOptions) -> int:
    from pipeline.ledger.jobs import put_back

    async with open_known_ledger(settings) as ledger:
        count = await put_back(
            ledger.database,
            None,
            causes=wanted.causes,
            states=wanted.states,
            uri_like=wanted.path,
        )
    document: dict[str, Any] = {"put_back": count}
    if output.as_json:
        show_document(document)
    else:
        more = "; tagpipe tag asks about them again" if count else ""
        show(f"{count:,} {'image' if count == 1 else 'images'} put back{more}")
    return DONE
