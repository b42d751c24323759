"""``errors``: failures grouped by cause."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import run_async, verb

if TYPE_CHECKING:
    from pipeline.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleOptions:
    """How many images to name."""

    examples: Annotated[
        int, typer.Option(metavar="N", min=0, help="Images to name for each cause.")
    ] = 3


@verb
def errors(*, some: ExampleOptions, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Show which images have no answer, and why: failed and skipped, grouped by cause.

    Each cause says what it means and what helps; retry puts such images back.

    Examples:
      tagpipe errors
      tagpipe errors --examples 20
      tagpipe errors --json

    Exit codes: 0 done, also when there are failures; 1 a fault of the machine or a bug;
    2 usage or configuration, or there is no ledger.
    """
    return run_async(partial(_show_errors, load(chosen, output), some.examples, output))


async def _show_errors(settings: "Settings", examples: int, output: OutputOptions) -> int:
    from pipeline.insights import describe_failures

    async with open_known_ledger(settings) as ledger:
        groups = describe_failures(await ledger.reader.group_failures(examples=examples))
    if output.as_json:
        show_document(groups)
    elif groups:
        from pipeline.cli.summary import draw_failures

        show(*draw_failures(groups))
    else:
        show("no image has failed or was skipped")
    return DONE
