"""``scan``: lists storage into the ledger."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.faults import DONE, INTERRUPTED, report
from pipeline.cli.options import OutputOptions, QuestionOptions, Roots, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load
from pipeline.cli.verbs import run_async, verb

if TYPE_CHECKING:
    from pipeline.bootstrap.plan import Plan
    from pipeline.ledger.selection import Selection


@verb
def scan(
    *,
    question: QuestionOptions,
    chosen: SettingsOptions,
    output: OutputOptions,
    paths: Roots = None,
) -> int:
    """List storage into the ledger: what is new, changed, moved, gone. Nothing is read or sent.

    tag does this by itself; scan alone is for looking first. Give it the profile and model you
    will tag with: they decide which answers are stale.

    Examples:
      tagpipe scan ./photos
      tagpipe scan ./photos --model gpt-5.4-mini --profile product
      tagpipe scan --json

    Exit codes: 0 done; 1 a fault of the machine or a bug; 2 usage or configuration;
    130 interrupted.
    """
    from datetime import UTC, datetime

    from pipeline.bootstrap.listing import find_roots
    from pipeline.bootstrap.plan import make_plan

    settings = load(chosen, output, question.as_flags())
    plan = make_plan(settings, today=datetime.now(UTC).date(), model=question.model)
    return run_async(partial(_scan, plan, find_roots(paths or [], settings), output))


async def _scan(plan: "Plan", roots: Sequence[Path], output: OutputOptions) -> int:
    from pipeline.ledger.selection import EVERYTHING

    document = await scan_roots(plan, roots, EVERYTHING, is_quiet=output.quiet)
    if document is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    if output.as_json:
        show_document(document)
    else:
        from pipeline.cli.summary import draw_scan

        show(*draw_scan(document))
    return DONE


async def scan_roots(
    plan: "Plan", roots: Sequence[Path], selection: "Selection", *, is_quiet: bool
) -> Mapping[str, Any] | None:
    """Scan under watch; the run's document, None when interrupted."""
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.bootstrap.listing import scan as list_images
    from pipeline.cli.watching import watch_scan
    from pipeline.engine.progress import Tally

    tally = Tally()
    async with open_ledger(plan.settings) as ledger:
        work = partial(list_images, plan, ledger, roots, tally, selection=selection)
        return await watch_scan(work, tally, is_quiet=is_quiet)
