"""``demo``: the whole thing at work on a sample library, in seconds."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.faults import DONE, IMAGES_FAILED, INTERRUPTED, report
from pipeline.cli.options import OutputOptions
from pipeline.cli.output import defuse, make_console, show, show_document
from pipeline.cli.session import choose_level, start_log
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import EnvironmentFault
from pipeline.domain.outcomes import CAUSE_HELP, Cause

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.bootstrap.plan import Plan
    from pipeline.config.settings import Settings
    from pipeline.engine.tagging import RunResult
    from pipeline.exporters.record import Record

_SHOWN_FIELDS = ("kind", "colors", "keywords")
_CELL_WIDTH = 40
_WIDE = 120
_STATES = ("done", "failed", "skipped", "pending")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """Where the demo does its work."""

    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to make the library, ledger and exports.")
    ] = Path("var/demo")


@verb
def demo(*, where: FolderOptions, output: OutputOptions) -> int:
    """Make a small sample library and tag it: no key, no network, no configuration, no cost.

    The library has rotated pictures, copies and three deliberately broken files, so that you see
    what becomes of each. The offline analyser answers. Run it again: nothing is read twice.

    Examples:
      tagpipe demo
      tagpipe demo --folder /tmp/demo

    Exit codes: 0 done, although the broken files failed; 1 a fault of the machine or a bug;
    2 usage; 130 interrupted.
    """
    from datetime import UTC, datetime

    from pipeline.bootstrap.plan import make_plan

    settings = make_demo_settings(where.folder, choose_level(output))
    start_log(settings.log)
    plan = make_plan(settings, today=datetime.now(UTC).date())
    return run_async(partial(_demo, plan, where.folder, output))


def make_demo_settings(folder: Path, level: Any) -> "Settings":
    """The defaults, with everything kept below ``folder``; no file or variable has a say."""
    from pipeline.config.settings import ExportSettings, LedgerSettings, LogSettings, Settings

    exports = folder / "exports"
    return Settings(
        ledger=LedgerSettings(url=str(folder / "ledger.db")),
        exports=(
            ExportSettings(format="csv", path=exports / "tags.csv"),
            ExportSettings(format="jsonl", path=exports / "tags.jsonl"),
        ),
        log=LogSettings(level=level or "warning"),
    )


async def _demo(plan: "Plan", folder: Path, output: OutputOptions) -> int:
    import anyio

    from pipeline.cli.tag import describe_result, tag_roots
    from pipeline.insights import exit_code_of

    library = folder / "library"
    await _make_library(library)
    result = await tag_roots(plan, [library], limit=None, is_quiet=output.quiet)
    if result is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    code = exit_code_of(result.state, result.counts)
    code = DONE if code == IMAGES_FAILED else code
    if output.as_json:
        show_document({**describe_result(result), "exit_code": code})
    else:
        show(
            await _draw_records(plan, f"{await anyio.Path(library).absolute()}/"),
            *_draw_end(result, folder),
        )
    return code


async def _make_library(library: Path) -> None:
    import anyio.to_thread

    from pipeline.samples import make_sample_library

    try:
        await anyio.to_thread.run_sync(make_sample_library, library)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the sample library {library}: {error.strerror}; choose another --folder"
        ) from error


async def _draw_records(plan: "Plan", root: str) -> "Table":
    """The tagged library as a table, read back from the ledger; ``root`` is left out of names."""
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.cli.summary import make_table
    from pipeline.engine.export import make_record

    # keywords are long: they are shown where there is room
    shown = _SHOWN_FIELDS if make_console(sys.stdout).width >= _WIDE else _SHOWN_FIELDS[:-1]
    table = make_table("file", "status", *shown)
    for column in table.columns[:-1]:
        column.no_wrap = True
    async with open_ledger(plan.settings) as ledger:
        async for rows in ledger.reader.stream_rows(_STATES, None, profile=plan.profile.name):
            for record in map(make_record, rows):
                table.add_row(
                    defuse(record.uri.removeprefix(root)),
                    record.status,
                    *_list_cells(record)[: len(shown)],
                    style=None if record.status == "done" else "yellow",
                )
    return table


def _list_cells(record: "Record") -> list[str]:
    if record.cause is not None:
        cells = [record.cause, "", CAUSE_HELP[Cause(record.cause)]]
    else:
        cells = [_format_cell(record.fields, field) for field in _SHOWN_FIELDS]
    return [shorten(cell, _CELL_WIDTH, placeholder=" …") for cell in cells]


def _format_cell(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return defuse(text)


def _draw_end(result: "RunResult", folder: Path) -> list[str]:
    images = result.document["images"]
    asked = images["tagged"] + images["reused"]
    first = (
        f"{images['tagged']:,} pictures analysed, {images['reused']:,} copies reused"
        if asked
        else "nothing was new: no file was read again"
    )
    return [
        "",
        f"{first}; {images['failed']:,} files failed, because they are broken on purpose.",
        "",
        *(f"{one.format}: {defuse(one.path)} ({one.records:,} records)" for one in result.exports),
        f"ledger: {folder / 'ledger.db'}",
        "",
        "Next:",
        "  tagpipe demo                       again: nothing is read twice",
        f"  tagpipe errors --ledger {folder / 'ledger.db'}",
        "  tagpipe tag ./photos               your own pictures, offline",
        "  tagpipe tag ./photos --model gpt-5.4-mini --budget 5",
    ]
