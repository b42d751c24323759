"""``status``: the ledger as it stands."""

import time
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import run_async, verb

if TYPE_CHECKING:
    from pipeline.config.settings import Settings


@verb
def status(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Show the ledger as it stands: images by state, the latest run, tokens and money.

    It may be asked at any time, also while a run is at work.

    Examples:
      tagpipe status
      tagpipe status --json
      tagpipe status --ledger var/demo/ledger.db

    Exit codes: 0 done, whatever the ledger says; 1 a fault of the machine or a bug;
    2 usage or configuration, or there is no ledger.
    """
    return run_async(partial(_show_status, load(chosen, output), output))


async def _show_status(settings: "Settings", output: OutputOptions) -> int:
    from datetime import UTC, datetime

    from pipeline.costs.models import load_models
    from pipeline.insights import describe_status

    models = load_models(*settings.models, on=datetime.now(UTC).date())
    async with open_known_ledger(settings) as ledger:
        document = await describe_status(
            ledger.reader,
            scopes=None,
            profile=None,
            models=models,
            now_ms=time.time_ns() // 1_000_000,
        )
    if output.as_json:
        show_document(document)
    else:
        from pipeline.cli.summary import draw_status

        show(*draw_status(document))
    return DONE
