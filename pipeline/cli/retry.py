"""``retry``: puts failed images back."""

from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import run_async, verb
from pipeline.cli.where import RETRY_KEYS, Conditions, WhereOptions, make_selection, parse_where

if TYPE_CHECKING:
    from pipeline.config.settings import Settings


@verb
def retry(*, where: WhereOptions, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Put failed images back, as if never tried; the next tag asks about them again.

    Skipped images stay as they are unless a cause or state=skipped asks for them.

    Examples:
      tagpipe retry
      tagpipe retry --where cause=timeout,connection
      tagpipe retry --where cause=refused --where path='*/shoes/*'
      tagpipe retry --where profile=product --where age=-7d

    Exit codes: 0 done, also when there was nothing to put back; 1 a fault of the machine or a
    bug; 2 usage or configuration, or there is no ledger.
    """
    wanted = parse_where(where.where or (), keys=RETRY_KEYS)
    return run_async(partial(_put_back, load(chosen, output), wanted, output))


async def _put_back(settings: "Settings", wanted: Conditions, output: OutputOptions) -> int:
    from pipeline.ledger.returns import put_back

    async with open_known_ledger(settings) as ledger:
        selection = make_selection(wanted, now_ms=await ledger.database.read_time())
        count = await put_back(
            ledger.database,
            selection,
            states=selection.ends if wanted.state is None else (wanted.state,),
            profile=wanted.profile,
        )
    document: dict[str, Any] = {"put_back": count}
    if output.as_json:
        show_document(document)
    else:
        more = "; tagpipe tag asks about them again" if count else ""
        show(f"{count:,} {'image' if count == 1 else 'images'} put back{more}")
    return DONE
