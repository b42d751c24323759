"""``db``: looks after the ledger."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import typer

from pipeline.cli.faults import DONE, FAULT, USAGE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import flow, run_async, verb

if TYPE_CHECKING:
    from pipeline.bootstrap.ledger import Ledger
    from pipeline.config.settings import Settings

_HELP: Final = """\
Look after the ledger: upgrade it, check it, measure it, give space back.

Examples:
  tagpipe db upgrade
  tagpipe db check --ledger var/demo/ledger.db
  tagpipe db stats --json

Exit codes: 0 done; 1 a rule is broken (check), a fault of the machine or a bug;
2 usage or configuration, or there is no ledger.
"""

db = typer.Typer(invoke_without_command=True)


@db.callback(help=flow(_HELP))
def describe(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)


@db.command("upgrade")
@verb
def upgrade(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Bring the ledger to the tables of this program; a new ledger is made.

    Make a backup first: copy the file while nothing runs; on Postgres, pg_dump.

    Examples:
      tagpipe db upgrade
      tagpipe db upgrade --ledger var/demo/ledger.db

    Exit codes: 0 the ledger is up to date; 1 a fault of the machine or a bug;
    2 usage or configuration.
    """
    return run_async(partial(_upgrade, load(chosen, output), output))


@db.command("check")
@verb
def check(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Check every rule that the ledger must keep, and that a SQLite file is undamaged.

    Examples:
      tagpipe db check
      tagpipe db check --json

    Exit codes: 0 every rule holds; 1 a rule is broken, a fault of the machine or a bug;
    2 usage or configuration, or there is no ledger.
    """
    return _with_ledger(_check, chosen, output)


@db.command("stats")
@verb
def stats(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Count the rows of each table and the bytes on disk (on Postgres, of the whole database).

    Examples:
      tagpipe db stats
      tagpipe db stats --json

    Exit codes: 0 done; 1 a fault of the machine or a bug; 2 usage or configuration, or there is
    no ledger.
    """
    return _with_ledger(_measure, chosen, output)


@db.command("vacuum")
@verb
def vacuum(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Rewrite the ledger's file without its gaps. It needs as much free space again.

    On Postgres, the gaps are given to new rows; the database keeps its size.

    Examples:
      tagpipe db vacuum
      tagpipe db vacuum --ledger var/demo/ledger.db

    Exit codes: 0 done; 1 another process is writing, the disk is full, or a bug; 2 usage or
    configuration, or there is no ledger.
    """
    return _with_ledger(_vacuum, chosen, output)


def _with_ledger(
    work: "Callable[[Ledger, bool], Awaitable[int]]",
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    settings = load(chosen, output)

    async def run() -> int:
        async with open_known_ledger(settings) as ledger:
            return await work(ledger, output.as_json)

    return run_async(run)


async def _upgrade(settings: "Settings", output: OutputOptions) -> int:
    from pipeline.ledger.database import Database, parse_ledger_url
    from pipeline.ledger.schema import read_revision
    from pipeline.ledger.schema import upgrade as bring_up_to_date

    async with Database(parse_ledger_url(settings.ledger.url)) as database:
        before = await read_revision(database)
        await bring_up_to_date(database)
        after = await read_revision(database)
        document = {"ledger": database.name, "from": before, "to": after}
    if output.as_json:
        show_document(document)
    elif before == after:
        show(f"the ledger is up to date (revision {after})")
    else:
        show(f"the ledger went from revision {before or 'none'} to {after}")
    return DONE


async def _check(ledger: "Ledger", as_json: bool) -> int:
    from pipeline.ledger.upkeep import check_ledger

    broken = await check_ledger(ledger.database)
    if as_json:
        show_document([{"rule": one.rule, "count": one.count} for one in broken])
    elif broken:
        show(*(f"broken: {one.rule} ({one.count:,} rows)" for one in broken))
    else:
        show("every rule holds")
    return FAULT if broken else DONE


async def _measure(ledger: "Ledger", as_json: bool) -> int:
    from pipeline.ledger.upkeep import measure_ledger

    # the names of tables are a kind of str that JSON does not take for keys
    sizes = await measure_ledger(ledger.database)
    if as_json:
        show_document(sizes)
    else:
        from pipeline.cli.summary import make_facts

        show(make_facts((name, f"{size:,}", "") for name, size in sizes.items()))
    return DONE


async def _vacuum(ledger: "Ledger", as_json: bool) -> int:
    from pipeline.ledger.upkeep import vacuum_ledger

    before, after = await vacuum_ledger(ledger.database)
    if as_json:
        show_document({"bytes_before": before, "bytes_after": after})
    else:
        show(f"{before:,} bytes before, {after:,} after")
    return DONE
