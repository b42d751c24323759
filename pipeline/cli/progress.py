"""Shows a run while it works: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from pipeline.cli.output import make_console, tell
from pipeline.domain.errors import EnvironmentFault
from pipeline.domain.usage import NANO_PER_DOLLAR

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from pipeline.engine.progress import Tally

_REFRESH_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 10.0
_SAME_LINE_SECONDS: Final = 600.0
"""Where nothing changes, which in batches is for hours, it is not told all the time."""
_WINDOW_SECONDS: Final = 30.0
_BATCH_WINDOW_SECONDS: Final = 1_800.0
"""A server's counts are looked at once a minute, and it works by fits and starts."""
_BAR_WIDTH: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a run may do at most; None for no bound."""

    limit: int | None = None
    budget_usd: "Decimal | None" = None
    is_selective: bool = False
    """Not all that is found is to be asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    """Images to bring to an end in this run, those done included: as far as is known."""
    is_total_known: bool
    images_per_s: float
    failed: int
    in_flight: int
    cost_nanos: int
    budget_usd: "Decimal | None"
    waits_for: str = ""
    batches: int = 0
    at_server: int = 0
    """Of the batches, those that the server works on."""
    in_batches: int = 0
    answered_in_batches: int = 0
    answers_per_s: float = 0.0
    """Images settled or answered in batches, while there are batches."""

    @property
    def seconds_left(self) -> float | None:
        """None while nobody can know, and at the end."""
        left, pace = self.total - self.done, self.images_per_s
        if self.batches:
            left, pace = left - self.answered_in_batches, self.answers_per_s
        if not self.is_total_known or pace <= 0 or left <= 0:
            return None
        return left / pace


class Meter:
    """Turns a tally into progress; the rate is that of the last half minute."""

    def __init__(self, tally: "Tally", bounds: Bounds, *, now: float) -> None:
        self._counted = 0
        self._is_counted_whole = False
        self._tally = tally
        self._bounds = bounds
        self._samples: deque[tuple[float, int]] = deque([(now, tally.settled)])
        self._answers: deque[tuple[float, int]] = deque()
        """When how many were settled or answered in batches: only where it changed."""

    def read(self, now: float) -> Progress:
        """How far the run is at ``now`` (seconds of a monotonic clock)."""
        tally = self._tally
        self._samples.append((now, tally.settled))
        while self._samples[1][0] < now - _WINDOW_SECONDS:
            self._samples.popleft()
        began, settled = self._samples[0]
        return Progress(
            done=tally.settled,
            total=self._total(),
            is_total_known=not tally.is_scanning,
            images_per_s=(tally.settled - settled) / (now - began) if now > began else 0.0,
            failed=tally.failed,
            in_flight=tally.in_flight,
            cost_nanos=tally.cost_nanos,
            budget_usd=self._bounds.budget_usd,
            waits_for=tally.waits_for,
            batches=tally.batches,
            at_server=tally.batches_at_server,
            in_batches=tally.in_batches,
            answered_in_batches=tally.answered_in_batches,
            answers_per_s=self._measure_answers(now),
        )

    def _measure_answers(self, now: float) -> float:
        """Since a batch was first seen, but no longer than half an hour."""
        tally, answers = self._tally, self._answers
        if not tally.batches:
            answers.clear()
            return 0.0
        ended = tally.settled + tally.answered_in_batches
        if not answers or answers[-1][1] != ended:
            answers.append((now, ended))
        while len(answers) > 1 and answers[1][0] < now - _BATCH_WINDOW_SECONDS:
            answers.popleft()
        began, before = answers[0]
        return (ended - before) / (now - began) if now > began else 0.0

    def note_waiting(self, count: int, *, is_final: bool) -> None:
        """Take over the ledger's count of images that are not settled.

        Before all are listed it is only the least there is to do.
        """
        self._counted = self._tally.settled + count
        self._is_counted_whole = is_final

    def _total(self) -> int:
        tally = self._tally
        found = tally.findings["new"] + tally.findings["changed"] + tally.stale
        found = 0 if self._bounds.is_selective else found
        total = self._counted if self._is_counted_whole else max(self._counted, found)
        if self._bounds.limit is not None:
            total = min(total, self._bounds.limit)
        return max(total, tally.settled)


def describe(progress: Progress) -> str:
    """One line: ``1,200 of 5,000 images, 12.3/s, 5 min left, 3 failed, 64 in flight, $0.41``."""
    if not progress.total:
        return "nothing new to tag" if progress.is_total_known else "listing images"
    prefix = "" if progress.is_total_known else "at least "
    parts = [f"{progress.done:,} of {prefix}{progress.total:,} images"]
    if progress.images_per_s or not progress.batches:
        parts.append(f"{progress.images_per_s:.1f}/s")
    parts += _describe_batches(progress)
    if (left := progress.seconds_left) is not None:
        parts.append(f"{format_duration(left)} left")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.in_flight:
        parts.append(f"{progress.in_flight:,} in flight")
    if progress.waits_for:
        parts.append(progress.waits_for)
    if progress.cost_nanos or progress.budget_usd is not None:
        cap = "" if progress.budget_usd is None else f" of ${progress.budget_usd}"
        parts.append(f"${progress.cost_nanos / NANO_PER_DOLLAR:,.4f}{cap}")
    return ", ".join(parts)


def _describe_batches(progress: Progress) -> Iterator[str]:
    if progress.at_server:
        answered = f"{progress.answered_in_batches:,} of {progress.in_batches:,} answered"
        yield f"{name_batches(progress.at_server)} at the server"
        yield answered
    if unsent := progress.batches - progress.at_server:
        yield f"{name_batches(unsent)} on the way"


def name_batches(count: int) -> str:
    """``1 batch``, ``3 batches``."""
    return f"{count:,} {'batch' if count == 1 else 'batches'}"


def describe_listing(tally: "Tally") -> str:
    """One line while images are listed and nothing is asked."""
    return f"{tally.seen:,} images listed, {tally.findings['new']:,} of them new"


def format_duration(seconds: float) -> str:
    """``40 s``, ``5 min``, ``3 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 90:  # noqa: PLR2004 - below that, minutes would be too coarse
        return f"{whole} s"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


async def show_progress(
    meter: Meter, tally: "Tally", count_waiting: Callable[[], Awaitable[int]]
) -> None:
    """Show a run until cancelled; the last state stays visible."""

    def read() -> Progress:
        return meter.read(anyio.current_time())

    async with anyio.create_task_group() as both:
        both.start_soon(_keep_count, meter, tally, count_waiting)
        if sys.stderr.isatty():
            await _draw_live(lambda: _draw_bar(read()))
        else:
            await _print_lines(lambda: describe(read()))


async def show_line(describe_now: Callable[[], str]) -> None:
    """Show one line until cancelled; the last state stays visible."""
    if sys.stderr.isatty():
        await _draw_live(describe_now)
    else:
        await _print_lines(describe_now)


async def _keep_count(
    meter: Meter, tally: "Tally", count_waiting: Callable[[], Awaitable[int]]
) -> None:
    await _try_count(meter, count_waiting, is_final=False)
    while tally.is_scanning:  # noqa: ASYNC110 - a tally has no event to wait for
        await anyio.sleep(_REFRESH_SECONDS)
    await _try_count(meter, count_waiting, is_final=True)


async def _try_count(
    meter: Meter, count_waiting: Callable[[], Awaitable[int]], *, is_final: bool
) -> None:
    """A ledger that is away must not end the run through its display."""
    with suppress(EnvironmentFault):
        meter.note_waiting(await count_waiting(), is_final=is_final)


def _draw_bar(progress: Progress) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.total), completed=progress.done, width=_BAR_WIDTH)
    grid.add_row(bar, describe(progress))
    return grid


async def _draw_live(draw: Callable[[], "RenderableType"]) -> None:
    from rich.live import Live

    with Live(console=make_console(sys.stderr), auto_refresh=False) as live, _log_above():
        try:
            while True:
                live.update(draw(), refresh=True)
                await anyio.sleep(_REFRESH_SECONDS)
        finally:
            live.update(draw(), refresh=True)


async def _print_lines(describe_now: Callable[[], str]) -> None:
    told, told_at = "", anyio.current_time()
    try:
        while True:
            await anyio.sleep(_LINE_SECONDS)
            line, now = describe_now(), anyio.current_time()
            if line != told or now - told_at >= _SAME_LINE_SECONDS:
                tell(line)
                told, told_at = line, now
    finally:
        if line := describe_now():
            tell(line)


@contextmanager
def _log_above() -> Iterator[None]:
    """Log lines go where stderr points while a display is live: above it, not through it."""
    handlers = [
        (handler, handler.stream)
        for handler in logging.getLogger("pipeline").handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]
    for handler, _ in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in handlers:
            handler.setStream(stream)
