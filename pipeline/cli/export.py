"""``export``: writes results out."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.cli.output import defuse, show, show_document, tell
from pipeline.cli.session import load, open_known_ledger
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import ConfigurationError, UsageError
from pipeline.domain.jobs import JobState

if TYPE_CHECKING:
    from pipeline.config.settings import Settings
    from pipeline.engine.export import ExportOrder
    from pipeline.ledger.reading import LedgerReader

_STATES = (JobState.DONE, JobState.FAILED, JobState.SKIPPED, JobState.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to write, and where."""

    path: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="File to write; replaced whole, never half."
        ),
    ]
    status: Annotated[
        str,
        typer.Option(
            metavar="STATES",
            help="Which images to write, with commas: done, failed, skipped, pending.",
        ),
    ] = "done,failed,skipped"
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False,
            help="Profile whose answers to write, by its name in the ledger (default: that of "
            "the configuration).",
        ),
    ] = None  # fmt: skip
    all_profiles: Annotated[
        bool, typer.Option("--all-profiles", help="Write the answers of every profile.")
    ] = False


def parse_states(text: str) -> tuple[JobState, ...]:
    """Read ``done,failed``.

    Raises:
        UsageError: naming what is allowed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in _STATES]:
        raise UsageError(f"--status {', '.join(unknown)}: the states are {', '.join(_STATES)}")
    return tuple(JobState(name) for name in names)


@verb
def export(
    *,
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="csv, json or jsonl.")],
    wanted: ExportOptions,
    chosen: SettingsOptions,
    output: OutputOptions,
) -> int:
    """Write results to a file: one flat record for each image.

    The file appears when it is whole; what stood there before stays until then.

    Examples:
      tagpipe export csv -o tags.csv
      tagpipe export jsonl -o done.jsonl --status done
      tagpipe export json -o all.json --all-profiles

    Exit codes: 0 done; 1 the file cannot be written, another fault of the machine or a bug;
    2 usage or configuration, or there is no ledger.
    """
    from pipeline.engine.export import ExportOrder
    from pipeline.exporters.catalog import FORMATS

    if format_name not in FORMATS:
        raise UsageError(f"{format_name} is no format; the formats are {', '.join(FORMATS)}")
    if wanted.profile and wanted.all_profiles:
        raise UsageError("--profile and --all-profiles contradict each other: give one of them")
    states = parse_states(wanted.status)
    settings = load(chosen, output, {"profile": wanted.profile})
    order = ExportOrder(
        format=format_name,
        path=wanted.path,
        states=states,
        profile=None if wanted.all_profiles else settings.profile,
    )
    return run_async(partial(_export, settings, order, output))


async def _export(settings: "Settings", order: "ExportOrder", output: OutputOptions) -> int:
    from pipeline.engine.export import write_export

    async with open_known_ledger(settings) as ledger:
        if order.profile is not None:
            order = replace(order, profile=await _name_profile(ledger.reader, order.profile))
        report = await write_export(ledger.reader, order)
        now_ms = time.time_ns() // 1_000_000
        await ledger.runs.record_export(report.path, report.format, report.records, now_ms=now_ms)
        elsewhere = {} if report.records else await _count_records(ledger.reader, order.states)
    if output.as_json:
        show_document({"format": report.format, "path": report.path, "records": report.records})
    else:
        show(f"{report.records:,} records written to {defuse(report.path)}")
    if elsewhere and not output.quiet:
        named = ", ".join(f"{name} ({count:,})" for name, count in elsewhere.items())
        tell(f"profiles in the ledger that have such records: {named}; --profile NAME writes them")
    return DONE


async def _name_profile(reader: "LedgerReader", wanted: str) -> str:
    """The profile's name: what the ledger has may be neither shipped nor on disk any more.

    Raises:
        UsageError: nobody knows it.
    """
    from pipeline.config.profiles import load_profile

    if await reader.read_definitions(wanted):
        return wanted
    try:
        return load_profile(wanted).name
    except ConfigurationError as error:
        known = ", ".join(await _list_profiles(reader)) or "none yet"
        raise UsageError(f"{error}. Profiles in the ledger: {known}") from error


async def _count_records(reader: "LedgerReader", states: tuple[JobState, ...]) -> dict[str, int]:
    """Records in these states by profile, where there are any."""
    counts = {name: await reader.count_jobs(profile=name) for name in await _list_profiles(reader)}
    sums = {name: sum(of[state] for state in states) for name, of in counts.items()}
    return {name: count for name, count in sums.items() if count}


async def _list_profiles(reader: "LedgerReader") -> list[str]:
    return sorted({definition["name"] for definition in await reader.read_definitions()})
