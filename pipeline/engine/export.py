"""From the ledger's rows to a file: read in chunks, written beside, renamed when whole."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson

from pipeline.domain.jobs import JobState
from pipeline.domain.usage import to_usd
from pipeline.exporters.base import Exporter
from pipeline.exporters.catalog import open_exporter
from pipeline.exporters.record import Record
from pipeline.ledger.catalogue import Scope
from pipeline.ledger.reading import LedgerReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    """What to write, and where."""

    format: str
    path: Path
    states: tuple[JobState, ...]
    profile: str | None = None
    """Name of the one profile to write; None for all."""
    scopes: tuple[Scope, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written."""

    format: str
    path: str
    records: int


async def write_export(reader: LedgerReader, order: ExportOrder) -> ExportReport:
    """Write one file, whole or not at all.

    Raises:
        EnvironmentFault: the destination cannot be written; what stood there is untouched.
    """
    fields = await _field_names(reader, order.profile)
    exporter = open_exporter(order.format, order.path, fields)
    count = 0
    states = [state.value for state in order.states]
    async with _in_threads(exporter):
        async for rows in reader.stream_rows(states, order.scopes, profile=order.profile):
            await anyio.to_thread.run_sync(_write_rows, exporter, rows)
            count += len(rows)
    _log.info("export.written", extra={"path": str(order.path), "records": count})
    return ExportReport(format=order.format, path=str(order.path), records=count)


@asynccontextmanager
async def _in_threads(exporter: Exporter) -> AsyncIterator[None]:
    """The exporter's own context, entered and left in a thread: both wait for the disk."""
    await anyio.to_thread.run_sync(exporter.__enter__)
    try:
        yield
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            leave = partial(exporter.__exit__, type(error), error, error.__traceback__)
            await anyio.to_thread.run_sync(leave)
        raise
    await anyio.to_thread.run_sync(exporter.__exit__, None, None, None)


def _write_rows(exporter: Exporter, rows: Sequence[Any]) -> None:
    for row in rows:
        exporter.write(make_record(row))


async def _field_names(reader: LedgerReader, profile: str | None) -> tuple[str, ...]:
    """Field names over all versions of the profile, the newest version's order first."""
    definitions = await reader.read_definitions(profile)
    names: dict[str, None] = {}
    for definition in definitions:
        names.update(dict.fromkeys(_fields_of(definition)))
    return tuple(names)


def _fields_of(definition: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(definition.get("fields", ()))


def make_record(row: Any) -> Record:
    """The flat record of one ledger row."""
    has_ended_in_vain = row.state in {JobState.FAILED, JobState.SKIPPED}
    return Record(
        image_id=row.image_id,
        uri=row.uri,
        sha256=row.sha256.hex() if row.sha256 else None,
        width=row.width,
        height=row.height,
        format=row.format,
        profile=row.profile,
        profile_version=row.profile_version,
        model=row.model,
        status=row.state,
        tags=tuple(orjson.loads(row.tags)) if row.tags else (),
        fields=orjson.loads(row.answer) if row.answer else {},
        confidence=row.confidence,
        review=row.review,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        cost_usd=None if row.is_unpriced else to_usd(row.cost_nanos),
        tagged_at=_instant(row.settled_at) if row.answer else None,
        cause=row.cause if has_ended_in_vain else None,
        message=row.message if has_ended_in_vain else None,
    )


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
