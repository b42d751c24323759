"""``batch``: what is under way in batches, and what can be done about it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipeline.cli.faults import DONE, FAULT, INTERRUPTED, USAGE, report
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import defuse, show, show_document, tell
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import flow, run_async, verb
from pipeline.domain.errors import AskError, RunPaused, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.config.settings import Settings
    from pipeline.engine.batch.tending import Tended
    from pipeline.ledger.batch_overview import BatchView

_HELP: Final = """\
Look at batches under way, end them, or forget those that the server has lost.

tagpipe tag --mode batch makes them and collects their answers; it does that by itself, also for
batches of earlier runs. These commands are for looking in between, and for when plans change.

Examples:
  tagpipe batch list
  tagpipe batch list --refresh --json
  tagpipe batch cancel --all
  tagpipe batch forget 7

Exit codes: 0 done; 1 a batch that the server does not know (cancel), a fault of the machine or
a bug; 2 usage or configuration, or there is no ledger; 4 the server cannot be asked;
130 interrupted.
"""

batch = typer.Typer(invoke_without_command=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichServer:
    """Whom the batches are at; the key is that of the settings."""

    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default=False,
            help="Server that has them, as for tag (default OPENAI_BASE_URL, else OpenAI).",
        ),
    ] = None  # fmt: skip

    def as_flags(self) -> dict[str, object]:
        """Dotted settings keys to what was given."""
        return {"provider.base_url": self.base_url}


@batch.callback(help=flow(_HELP))
def describe(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)


@batch.command("list")
@verb
def list_(
    *,
    has_over: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    is_fresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Ask the server first; without it, the figures are those that a run last heard.",
        ),
    ] = False,
    server: WhichServer,
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    """List the batches that are not over: where each stands, how far it is, what it waits for.

    Without --refresh nothing is sent, and no key is needed. With it, the batches of this server
    and key are asked for; nothing is put on record.

    Examples:
      tagpipe batch list
      tagpipe batch list --refresh
      tagpipe batch list --all --json

    Exit codes: 0 done, also when there is none; 1 a fault of the machine or a bug; 2 usage or
    configuration, or there is no ledger; 4 the server cannot be asked.
    """
    settings = load(chosen, output, server.as_flags())
    return run_async(partial(_list, settings, has_over=has_over, is_fresh=is_fresh, output=output))


@batch.command("cancel")
@verb
def cancel(
    *,
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID", help="As tagpipe batch list has them.", show_default=False),
    ] = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="All that are not over, of this server and key.")
    ] = False,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="Do not wait for the server, which may take ten minutes."),
    ] = False,
    server: WhichServer,
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    """End batches: what is answered by then is delivered and billed, the rest is not.

    Those that were not submitted yet are given up: their pictures wait again. Nothing is
    collected here: tagpipe tag does that, and asks about the rest. A batch that a living run
    looks after is left alone: end the run first (Ctrl-C; its batches go on at the server).

    Examples:
      tagpipe batch cancel 7
      tagpipe batch cancel 7 8 --no-wait
      tagpipe batch cancel --all -c nightly.yaml

    Exit codes: 0 done; 1 the server does not know a batch (see tagpipe batch forget), a fault of
    the machine or a bug; 2 usage or configuration, a run looks after one, or there is no ledger;
    4 the server cannot be asked; 130 interrupted.
    """
    if bool(ids) is is_all:
        raise UsageError("name the batches to cancel, or say --all: tagpipe batch list names them")
    settings = load(chosen, output, server.as_flags())
    return run_async(partial(_cancel, settings, ids or [], is_waiting=not no_wait, output=output))


@batch.command("forget")
@verb
def forget(
    *,
    wanted: Annotated[int, typer.Argument(metavar="ID", help="As tagpipe batch list has it.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Ask nobody: also when the server still knows it, or is there no more. What it "
            "has answered is billed, and nobody reads it.",
        ),
    ] = False,
    server: WhichServer,
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    """Give up a batch that the server does not know any more: its pictures wait again.

    Its requests stay on record as lost. They may have been billed, so the most that they can
    have cost is held against budget_day_usd and budget_month_usd.

    Examples:
      tagpipe batch forget 7
      tagpipe batch forget 7 --force

    Exit codes: 0 done; 1 a fault of the machine or a bug; 2 usage or configuration, the server
    still knows it, a run looks after it, or there is no ledger; 4 the server cannot be asked.
    """
    settings = load(chosen, output, server.as_flags())
    return run_async(partial(_forget, settings, wanted, is_forced=force, output=output))


async def _list(
    settings: "Settings", *, has_over: bool, is_fresh: bool, output: OutputOptions
) -> int:
    from pipeline.bootstrap.tending import list_batches
    from pipeline.insights import describe_batches

    async with open_known_ledger(settings) as ledger:
        views, now_ms = await list_batches(ledger, has_over=has_over)
    if is_fresh:
        views = await _refresh(views, settings)
    document = describe_batches(views, now_ms=now_ms)
    if output.as_json:
        show_document(document)
    else:
        show(*draw_batches(document, is_fresh=is_fresh))
    return DONE


async def _refresh(views: "list[BatchView]", settings: "Settings") -> "list[BatchView]":
    from pipeline.bootstrap.tending import refresh

    try:
        return await refresh(views, settings, os.environ)
    except AskError as error:
        raise RunPaused(f"the server cannot be asked now: {error}") from error


async def _cancel(
    settings: "Settings", ids: Sequence[int], *, is_waiting: bool, output: OutputOptions
) -> int:
    from pipeline.bootstrap.tending import cancel_batches
    from pipeline.cli.watching import watch

    async with open_known_ledger(settings) as ledger:
        line = [""]

        def note(tended: "Sequence[Tended]") -> None:
            line[0] = _describe_wait(tended)

        async def work() -> "list[Tended]":
            return await cancel_batches(
                ledger, settings, os.environ, ids, is_waiting=is_waiting, on_look=note
            )

        tended = await watch(work, lambda: line[0], is_quiet=output.quiet)
    if tended is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    return _tell_of(tended, output)


def _describe_wait(tended: "Sequence[Tended]") -> str:
    ending = [one.batch for one in tended if one.fate == "ending"]
    return (
        f"{_count(len(ending), 'batch', 'batches')} being ended by the server, "
        f"{sum(one.completed for one in ending):,} of "
        f"{sum(one.lines for one in ending):,} answered; it may take ten minutes"
    )


async def _forget(
    settings: "Settings", wanted: int, *, is_forced: bool, output: OutputOptions
) -> int:
    from pipeline.bootstrap.tending import forget_batch

    async with open_known_ledger(settings) as ledger:
        tended = await forget_batch(ledger, settings, os.environ, wanted, is_forced=is_forced)
    return _tell_of([tended], output)


def _tell_of(tended: "Sequence[Tended]", output: OutputOptions) -> int:
    has_unknown = any(one.fate == "unknown" for one in tended)
    if output.as_json:
        show_document({"batches": [_describe(one) for one in tended]})
    else:
        show(*draw_fates(tended))
    for one in tended:
        if one.fate == "unknown":
            tell(f"error: the server knows batch {one.batch.id} no more ({one.told}): "
                 f"tagpipe batch forget {one.batch.id} puts its pictures back")  # fmt: skip
    return FAULT if has_unknown else DONE


def _describe(one: "Tended") -> dict[str, Any]:
    return {
        "id": one.batch.id,
        "fate": one.fate.value,
        "lines": one.batch.lines,
        "answered": one.batch.completed,
        "failed": one.batch.failed,
        "waiting_again": one.freed,
        "message": one.told or None,
        "remote_id": one.batch.remote_id,
        "remote_state": one.batch.remote_state,
    }


def draw_fates(tended: "Sequence[Tended]") -> Iterator[str]:
    """What became of batches, line by line, and what comes next."""
    for one in tended:
        if one.fate != "unknown":
            yield f"batch {one.batch.id}: {_describe_fate(one)}"
    if not tended:
        yield "there is no batch to cancel"
    elif any(one.fate in {"ended", "ending"} for one in tended):
        yield "tagpipe tag collects what is answered and asks about the rest"
    elif any(one.freed for one in tended):
        yield "tagpipe tag asks about them again"


def _describe_fate(one: "Tended") -> str:
    batch = one.batch
    answered = f"{batch.completed:,} of {batch.lines:,} answered"
    again = f"{_count(one.freed, 'picture waits', 'pictures wait')} again"
    match one.fate.value:
        case "ending":
            return f"the server was told to end it; {answered} so far"
        case "ended":
            return f"{batch.remote_state}, {answered}"
        case "given_up":
            return f"given up, nothing of it was worked on; {again}"
        case _:
            return f"forgotten; {again}, and what it may have cost is held against the caps"


def draw_batches(document: Mapping[str, Any], *, is_fresh: bool) -> "Iterator[Text | str]":
    """Batches, each with what it is about, and all together."""
    for one in document["batches"]:
        yield from _draw_batch(one)
    if document["open"]:
        yield _sum_up(document)
        if not is_fresh:
            yield "as a run last heard; --refresh asks the server"
    else:
        yield "no batch is under way"


def _draw_batch(one: Mapping[str, Any]) -> "Iterator[Text | str]":
    from rich.text import Text

    from pipeline.cli.progress import format_duration

    duration = format_duration(one["age_s"])
    age = f"took {duration}" if one["ended_at"] else f"{duration} old"
    heading = Text(f"batch {one['id']}", style="bold")
    yield heading.append(
        f": {one['state_in_words']}, {_describe_answers(one)}, {age}",
        style="not bold",
    )
    at = f", {defuse(one['remote_id'])}" if one["remote_id"] else ""
    yield f"    {defuse(one['model'])} at {defuse(one['server'])}{at}"
    if one["waits_for"]:
        yield f"    waits for {one['waits_for']}"
    if one["message"]:
        yield f"    {defuse(one['message'])}"


def _sum_up(document: Mapping[str, Any]) -> str:
    count = _count(document["open"], "batch is", "batches are")
    return f"{count} under way: {_describe_answers(document)}"


def _describe_answers(counts: Mapping[str, Any]) -> str:
    failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
    return f"{counts['answered']:,} of {counts['lines']:,} answered{failed}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
