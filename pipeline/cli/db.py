"""``db``: looks after the ledger."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli.faults import DONE, FAULT, USAGE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import defuse, show, show_document
from pipeline.cli.session import load, open_known_ledger, require_ledger
from pipeline.cli.verbs import flow, run_async, verb

if TYPE_CHECKING:
    from pipeline.bootstrap.ledger import Ledger
    from pipeline.config.settings import Settings
    from pipeline.ledger.upkeep import LedgerSize, Violation

_HELP: Final = """\
Look after the ledger: back it up, upgrade it, check it, measure it, give space back.

Examples:
  tagpipe db backup -o ledger-monday.db
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


@db.command("backup")
@verb
def backup(
    *,
    path: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to make.", show_default=False
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    """Copy a SQLite ledger to a file, also while runs write to it.

    The copy is checked, and is whole or absent. To restore it, stop all runs, copy it over the
    ledger and remove the ledger's -wal and -shm files. On Postgres use pg_dump.

    Examples:
      tagpipe db backup -o ledger-monday.db
      tagpipe db backup -o /backup/ledger.db --force --json

    Exit codes: 0 the backup is made; 1 a fault of the machine, damage or a bug; 2 usage or
    configuration, the file is there already, or there is no ledger.
    """
    settings = load(chosen, output)
    return run_async(partial(_back_up, settings, path, force=force, as_json=output.as_json))


@db.command("upgrade")
@verb
def upgrade(*, chosen: SettingsOptions, output: OutputOptions) -> int:
    """Bring the ledger to the tables of this program; a new ledger is made.

    Make a backup first: tagpipe db backup; on Postgres, pg_dump.

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
    """Count rows by table, jobs by state and bytes on disk (on Postgres, of the whole database).

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

    Make a backup first: tagpipe db backup.

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


async def _back_up(settings: "Settings", path: Path, *, force: bool, as_json: bool) -> int:
    from pipeline.ledger.backup import back_up
    from pipeline.ledger.database import Database, parse_ledger_url

    database = Database(parse_ledger_url(settings.ledger.url))
    if database.is_sqlite:
        # of any revision: a backup is what one makes before an upgrade
        await require_ledger(settings)
    async with database:
        made = await back_up(database, path, replace=force)
    if as_json:
        show_document(
            {
                "path": str(made.path),
                "revision": made.revision,
                "bytes": made.bytes,
                "seconds": made.seconds,
            }
        )
    else:
        show(f"{defuse(str(made.path))}: {made.bytes:,} bytes in {made.seconds:.1f} s")
    return DONE


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
        show_document([asdict(one) for one in broken])
    elif broken:
        show(*(line for one in broken for line in _describe(one)))
    else:
        show("every rule holds")
    return FAULT if broken else DONE


def _describe(broken: "Violation") -> Iterator[str]:
    ids = ", ".join(str(one) for one in broken.examples)
    more = ", …" if broken.count > len(broken.examples) else ""
    where = f", in {broken.table}: {ids}{more}" if ids else ""
    yield f"broken: {broken.rule} ({broken.count:,}{where})"
    yield f"    {broken.advice}"


async def _measure(ledger: "Ledger", as_json: bool) -> int:
    from pipeline.ledger.upkeep import measure_ledger

    size = await measure_ledger(ledger.database)
    if as_json:
        show_document({**asdict(size), "bytes_per_image": size.bytes_per_image})
    else:
        from pipeline.cli.summary import make_facts

        show(make_facts(_facts_of(size)))
    return DONE


def _facts_of(size: "LedgerSize") -> Iterator[tuple[str, str, str]]:
    for name, count in size.rows.items():
        taken = f"{size.bytes_of_tables[name]:,} bytes" if size.bytes_of_tables else ""
        yield name, f"{count:,}", taken
    for state, count in size.jobs.items():
        yield f"jobs {state}", f"{count:,}", ""
    average = size.bytes_per_image
    yield "bytes", f"{size.bytes:,}", "" if average is None else f"{average:,} an image"


async def _vacuum(ledger: "Ledger", as_json: bool) -> int:
    from pipeline.ledger.upkeep import vacuum_ledger

    before, after = await vacuum_ledger(ledger.database)
    if as_json:
        show_document({"bytes_before": before, "bytes_after": after})
    else:
        show(f"{before:,} bytes before, {after:,} after")
    return DONE
