"""``tag``: the nightly job."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.faults import DONE, FAULT, IMAGES_FAILED, INTERRUPTED, report
from pipeline.cli.options import (
    LaneOptions,
    OutputOptions,
    QuestionOptions,
    Roots,
    ServerOptions,
    SettingsOptions,
)
from pipeline.cli.output import show, show_document, tell
from pipeline.cli.pilot import PilotOptions, answer_at_once, start_pilot
from pipeline.cli.session import load
from pipeline.cli.verbs import run_async, verb
from pipeline.cli.where import ChoiceOptions, choose

if TYPE_CHECKING:
    from pipeline.bootstrap.plan import Plan
    from pipeline.engine.tagging import RunResult
    from pipeline.ledger.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtentOptions:
    """How much of the work to do now."""

    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stop after this many images.", show_default=False),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the images and say how many would be asked about."),
    ] = False
    no_export: Annotated[
        bool, typer.Option("--no-export", help="Leave the configured export files as they are.")
    ] = False


@verb
def tag(  # noqa: PLR0913  one for each group of options
    *,
    question: QuestionOptions,
    server: ServerOptions,
    choice: ChoiceOptions,
    extent: ExtentOptions,
    lane: LaneOptions,
    pilot: PilotOptions,
    chosen: SettingsOptions,
    output: OutputOptions,
    paths: Roots = None,
) -> int:
    """Scan, tag what is new or stale, export as configured. Running it again resumes.

    Without a model the offline analyser answers: no key, no network, no cost. Results are kept
    in the ledger (var/ledger.db) and written to var/exports/tags.csv and tags.jsonl.

    Examples:
      tagpipe tag ./photos
      tagpipe tag ./photos --model gpt-5.4-mini --budget 5
      tagpipe tag ./shop --profile product --model gpt-5.4-mini --limit 20
      tagpipe tag ./shop --model gpt-5.4-mini --mode batch --finish-by 06:00
      tagpipe tag ./photos --model gpt-5.4-mini --sample 50
      tagpipe tag ./shop --only new,changed --where path='*/shoes/*'
      tagpipe tag -c nightly.yaml --json -q > tonight.json

    Ctrl-C once stops sending and lets the requests under way settle; twice cancels them;
    a third time leaves without writing the exports.

    Exit codes: 0 all done, but for what a warning names; 1 a fault of the machine, an export
    that could not be written, or a bug; 2 usage or configuration; 3 finished, but some images of
    these paths have failed; 4 paused (budget, credit, key, model, ledger), run the same command
    to go on; 130 interrupted.
    """
    from datetime import UTC, datetime

    from pipeline.bootstrap.listing import find_roots
    from pipeline.bootstrap.plan import make_plan

    flags = {**question.as_flags(), **server.as_flags(), **lane.as_flags()}
    if extent.no_export or pilot.skips_exports:
        flags["exports"] = []
    settings = load(chosen, output, flags)
    if pilot.sample is not None:
        settings = answer_at_once(settings)
    plan = make_plan(settings, today=datetime.now(UTC).date(), model=question.model)
    roots = find_roots(paths or [], settings)
    selection = choose(choice, profile=plan.profile.name)
    if pilot.sample is not None:
        return start_pilot(plan, roots, selection, pilot, extent, output)
    if extent.dry_run:
        return run_async(partial(_count_only, plan, roots, selection, output))
    return run_async(partial(_tag, plan, roots, selection, extent, output))


async def _tag(  # noqa: PLR0917  what the user said, group by group
    plan: "Plan",
    roots: Sequence[Path],
    selection: "Selection",
    extent: ExtentOptions,
    output: OutputOptions,
) -> int:
    result = await tag_roots(
        plan, roots, limit=extent.limit, selection=selection, is_quiet=output.quiet
    )
    if result is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    for text in result.document["warnings"]:
        tell(f"warning: {text}")
    if result.pause is not None:
        tell(f"paused: {result.pause}")
    for text in result.export_errors:
        tell(f"error: {text}")
    if output.as_json:
        show_document(describe_result(result))
    else:
        from pipeline.cli.summary import draw_result

        show(*draw_result(result))
    return exit_code_of_run(result)


async def tag_roots(
    plan: "Plan",
    roots: Sequence[Path],
    *,
    limit: int | None,
    selection: "Selection | None" = None,
    is_quiet: bool,
) -> "RunResult | None":
    """Open the ledger and a run over ``roots``, watch it to the end; None when left early."""
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.bootstrap.tagging import open_tagging
    from pipeline.cli.progress import Bounds
    from pipeline.cli.watching import watch_tagging
    from pipeline.ledger.selection import EVERYTHING

    budget = plan.settings.limits.budget_usd
    wanted = selection or EVERYTHING
    async with (
        open_ledger(plan.settings) as ledger,
        open_tagging(
            plan, ledger, roots, environ=os.environ, limit=limit, selection=wanted
        ) as tagging,
    ):
        bounds = Bounds(limit=limit, budget_usd=budget, is_selective=wanted != EVERYTHING)
        return await watch_tagging(tagging, bounds, is_quiet=is_quiet)


def describe_result(result: "RunResult") -> dict[str, Any]:
    """The document of ``tag --json``."""
    return {
        **result.document,
        "pause": None if result.pause is None else str(result.pause),
        "exports": [
            {"format": one.format, "path": one.path, "records": one.records}
            for one in result.exports
        ],
        "export_errors": list(result.export_errors),
        "exit_code": exit_code_of_run(result),
    }


def exit_code_of_run(result: "RunResult") -> int:
    """An interruption or a pause comes first: the next run writes the exports anyway."""
    from pipeline.insights import exit_code_of

    code = exit_code_of(result.state, result.counts)
    has_unfinished = code not in (DONE, IMAGES_FAILED)
    return FAULT if result.export_errors and not has_unfinished else code


async def _count_only(
    plan: "Plan", roots: Sequence[Path], selection: "Selection", output: OutputOptions
) -> int:
    from pipeline.cli.scan import scan_roots

    document = await scan_roots(plan, roots, selection, is_quiet=output.quiet)
    if document is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    if output.as_json:
        show_document({**document, "dry_run": True})
        return DONE
    show(
        f"{document['images']['seen']:,} images listed; "
        f"{document['would_ask']:,} would be asked about, "
        "copies of one picture once. Nothing was sent."
    )
    return DONE
