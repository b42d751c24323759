"""The nightly job: work to the end, close the run, export as configured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from pipeline.domain.errors import EnvironmentFault, LedgerStaysAway, RunPaused
from pipeline.domain.jobs import JobState, RunId
from pipeline.engine.export import ExportOrder, ExportReport, write_export
from pipeline.engine.pool import Pool
from pipeline.engine.progress import Tally
from pipeline.engine.report import describe_run
from pipeline.engine.stages import Clock
from pipeline.ledger.catalogue import Scope
from pipeline.ledger.reading import LedgerReader
from pipeline.ledger.runs import RunBook, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended."""

    state: RunState
    document: Mapping[str, Any]
    counts: Mapping[JobState, int]
    """How the tagged part of the library stands now."""
    pause: RunPaused | None
    exports: tuple[ExportReport, ...]
    export_errors: tuple[str, ...]


class Tagging:
    """One open run: start it with ``run``, watch ``tally``, end it early with ``pool.stop``."""

    def __init__(  # noqa: PLR0913  the parts of a run, wired once in bootstrap
        self,
        run: RunId,
        *,
        pool: Pool,
        tally: Tally,
        reader: LedgerReader,
        runs: RunBook,
        clock: Clock,
        scopes: Sequence[Scope],
        profile: str,
        orders: Sequence[ExportOrder],
    ) -> None:
        self.run_id = run
        self.pool = pool
        self.tally = tally
        self._reader = reader
        self._runs = runs
        self._clock = clock
        self._scopes = scopes
        self._profile = profile
        self._orders = orders

    async def run(self) -> RunResult:
        """Work until all is done, paused or stopped; then export.

        Raises:
            EnvironmentFault: disk or database failed; what was settled stays settled.
        """
        began = self._clock.monotonic()
        state = RunState.FAULT
        document: dict[str, Any] = {}
        is_away = False
        try:
            state = await self.pool.run()
            counts = await self._reader.count_jobs(self._scopes, profile=self._profile)
            self._tell_of_others(state, counts[JobState.LEASED] - self.tally.in_batches)
            elapsed = self._clock.monotonic() - began
            document = describe_run(
                self.run_id, state, self.tally, counts=counts, elapsed_seconds=elapsed
            )
        except LedgerStaysAway:
            is_away = True  # the next start finds that this run is dead
            raise
        finally:
            if not is_away:
                with anyio.CancelScope(shield=True):
                    now_ms = self._clock.now_ms()
                    await self._runs.close(self.run_id, state, document, now_ms=now_ms)
        reports, errors = await self._export()
        return RunResult(
            state=state,
            document=document,
            counts=counts,
            pause=self.pool.pause,
            exports=tuple(reports),
            export_errors=tuple(errors),
        )

    def _tell_of_others(self, state: RunState, leased: int) -> None:
        if state is RunState.FINISHED and leased > 0:
            self.tally.warnings.append(
                f"held by another run, or by one that was lost with its machine: {leased:,} "
                "images; tagpipe status tells when they are done"
            )

    async def _export(self) -> tuple[list[ExportReport], list[str]]:
        """Write every configured export; one that fails keeps none of the others back."""
        reports: list[ExportReport] = []
        errors: list[str] = []
        for order in self._orders:
            try:
                report = await write_export(self._reader, order)
            except EnvironmentFault as error:
                errors.append(str(error))
            else:
                reports.append(report)
                await self._runs.record_export(
                    report.path, report.format, report.records, now_ms=self._clock.now_ms()
                )
        return reports, errors
