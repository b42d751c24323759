"""``estimate``: what a run would cost, before anything is spent."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipeline.cli.faults import DONE, INTERRUPTED, report
from pipeline.cli.options import (
    OutputOptions,
    QuestionOptions,
    Roots,
    ServerOptions,
    SettingsOptions,
)
from pipeline.cli.output import show, show_document, tell
from pipeline.cli.session import find_revision, load
from pipeline.cli.verbs import run_async, verb
from pipeline.cli.where import ChoiceOptions, choose
from pipeline.domain.errors import UsageError
from pipeline.domain.vision import Detail

if TYPE_CHECKING:
    from pipeline.bootstrap.estimating import Comparing, EstimateOrder, Side
    from pipeline.bootstrap.ledger import Ledger
    from pipeline.bootstrap.plan import Plan
    from pipeline.config.settings import Settings
    from pipeline.engine.estimating import Survey

_LOOKING: Final = "How much is looked at"
_COMPARING: Final = "Compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOptions:
    """How many headers are read."""

    sample_size: Annotated[
        int,
        typer.Option(
            metavar="N", min=100, rich_help_panel=_LOOKING,
            help="Headers to read at most; of a larger library a random sample is read and scaled.",
        ),
    ] = 20_000  # fmt: skip
    exact: Annotated[
        bool,
        typer.Option("--exact", rich_help_panel=_LOOKING, help="Read the header of every image."),
    ] = False
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", rich_help_panel=_LOOKING,
            help="Which sample is drawn: the same seed draws the same one.",
        ),
    ] = 0  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Other ways to ask."""

    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL,...", rich_help_panel=_COMPARING, show_default=False,
            help="Quote these models, too; repeatable, or several with commas.",
        ),
    ] = None  # fmt: skip
    details: Annotated[
        str | None,
        typer.Option(
            metavar="DETAIL,...", rich_help_panel=_COMPARING, show_default=False,
            help="Compare these detail levels (default the profile's): low, high, original, auto.",
        ),
    ] = None  # fmt: skip
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE,...", rich_help_panel=_COMPARING, show_default=False,
            help="Compare these longest sides (default the profile's): auto, original or pixels.",
        ),
    ] = None  # fmt: skip


@verb
def estimate(  # noqa: PLR0913  one for each group of options
    *,
    question: QuestionOptions,
    server: ServerOptions,
    choice: ChoiceOptions,
    look: LookOptions,
    other: CompareOptions,
    chosen: SettingsOptions,
    output: OutputOptions,
    paths: Roots = None,
) -> int:
    """Quote what tag would cost: images, tokens, dollars, hours. Nothing is sent or written.

    Only the heads of files are read. What is paid for already, copies, and files that are no
    pictures cost nothing and are shown apart. Answers in the ledger make the quote better.

    Examples:
      tagpipe estimate ./photos --model gpt-5.4-mini
      tagpipe estimate ./photos --model gpt-5.4-mini --json
      tagpipe estimate ./photos --model gpt-4o --compare gpt-4.1-mini,gpt-5.4
      tagpipe estimate ./photos --model gpt-5.4 --details low,high --sizes 512
      tagpipe estimate ./archive --model gpt-5.4-mini --exact

    Exit codes: 0 done; 1 a fault of the machine or a bug; 2 usage or configuration;
    130 interrupted.
    """
    from pipeline.bootstrap.estimating import EstimateOrder
    from pipeline.bootstrap.listing import find_roots
    from pipeline.bootstrap.plan import make_plan

    settings = load(chosen, output, {**question.as_flags(), **server.as_flags()})
    plan = make_plan(settings, today=datetime.now(UTC).date(), model=question.model)
    roots = find_roots(paths or [], settings)
    order = EstimateOrder(
        selection=choose(choice, profile=plan.profile.name),
        sample_size=None if look.exact else look.sample_size,
        comparing=parse_comparing(other),
    )
    return run_async(partial(_estimate, plan, roots, order, output, seed=look.seed))


async def _estimate(
    plan: "Plan",
    roots: Sequence[Path],
    order: "EstimateOrder",
    output: OutputOptions,
    *,
    seed: int,
) -> int:
    document = await _quote(plan, roots, order, seed=seed, is_quiet=output.quiet)
    if document is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    if not output.quiet:
        for text in document["warnings"]:
            tell(f"warning: {text}")
    if output.as_json:
        show_document(document)
    else:
        from pipeline.cli.quote_table import draw_quote

        show(*draw_quote(document))
    return DONE


async def _quote(
    plan: "Plan", roots: Sequence[Path], order: "EstimateOrder", *, seed: int, is_quiet: bool
) -> Mapping[str, Any] | None:
    """Quote under watch; None when interrupted."""
    from pipeline.bootstrap.estimating import estimate as look_over
    from pipeline.bootstrap.estimating import make_survey
    from pipeline.cli.watching import watch

    survey = make_survey(seed=seed)
    async with _open_ledger(plan.settings) as ledger:
        work = partial(
            look_over,
            plan,
            ledger,
            roots,
            survey,
            order=order,
            environ=os.environ,
            today=datetime.now(UTC).date(),
        )
        return await watch(work, lambda: describe_survey(survey, order), is_quiet=is_quiet)


@asynccontextmanager
async def _open_ledger(settings: "Settings") -> "AsyncIterator[Ledger | None]":
    """The ledger; None where there is none, for a quote makes none."""
    from pipeline.bootstrap.ledger import open_ledger

    if await find_revision(settings) is None:
        yield None
        return
    async with open_ledger(settings) as ledger:
        yield ledger


def describe_survey(survey: "Survey", order: "EstimateOrder") -> str:
    """One line while headers are read."""
    listed = f"{survey.listed:,} images listed, {survey.candidates:,} of them to ask about"
    if survey.is_listing and not survey.looked_at:
        return listed
    if survey.is_listing:
        return f"{listed}, {survey.looked_at:,} headers read"
    most = survey.candidates if order.sample_size is None else order.sample_size
    return f"{listed}, {survey.looked_at:,} of {min(most, survey.candidates):,} headers read"


def parse_comparing(given: CompareOptions) -> "Comparing | None":
    """What is to be compared; None when nothing is.

    Raises:
        UsageError: naming what is allowed.
    """
    from pipeline.bootstrap.estimating import Comparing

    if not (given.compare or given.details or given.sizes):
        return None
    return Comparing(
        models=[name for text in given.compare or () for name in _split(text)],
        details=[_parse_detail(word) for word in _split(given.details or "")],
        sides=[_parse_side(word) for word in _split(given.sizes or "")],
    )


def _split(text: str) -> Sequence[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _parse_detail(word: str) -> Detail:
    try:
        return Detail(word)
    except ValueError as error:
        allowed = ", ".join(detail.value for detail in Detail)
        raise UsageError(f"--details {word}: the levels are {allowed}") from error


def _parse_side(word: str) -> "Side":
    if word == "auto":
        return "auto"
    if word == "original":
        return "original"
    if not (word.isascii() and word.isdigit() and int(word)):
        raise UsageError(f"--sizes {word}: write auto, original or a number of pixels")
    return int(word)
