"""Work under the eyes of a person: progress is shown, Ctrl-C is obeyed."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from pipeline.cli.progress import Bounds, Meter, show_listing, show_progress
from pipeline.cli.signals import obey_signals

if TYPE_CHECKING:
    from pipeline.engine.progress import Tally
    from pipeline.engine.tagging import RunResult, Tagging

T = TypeVar("T")


async def watch_tagging(
    tagging: "Tagging", bounds: Bounds, *, is_quiet: bool
) -> "RunResult | None":
    """Run to the end; None when the user would not even wait for the exports."""

    def stop() -> str:
        tagging.pool.stop()
        under_way = tagging.tally.in_flight
        return f"stopping: {under_way:,} requests under way settle first; Ctrl-C again to cancel"

    def cancel() -> str:
        tagging.pool.cancel()
        return "cancelling what is under way; Ctrl-C again to leave without writing the exports"

    async def show() -> None:
        meter = Meter(tagging.tally, bounds, now=anyio.current_time())
        await show_progress(meter, tagging.tally, tagging.pool.count_waiting)

    return await _watch(tagging.run, None if is_quiet else show, (stop, cancel))


async def watch_scan(
    work: Callable[[], Awaitable[T]], tally: "Tally", *, is_quiet: bool
) -> T | None:
    """Scan to the end; None when interrupted."""
    return await _watch(work, None if is_quiet else lambda: show_listing(tally), ())


async def _watch(
    work: Callable[[], Awaitable[T]],
    show: Callable[[], Coroutine[Any, Any, None]] | None,
    steps: Sequence[Callable[[], str]],
) -> T | None:
    result: T | None = None
    async with anyio.create_task_group() as around:

        def leave() -> str:
            around.cancel_scope.cancel()
            return "leaving; what was settled is safe"

        await around.start(obey_signals, (*steps, leave))
        if show is not None:
            around.start_soon(show)
        result = await work()
        around.cancel_scope.cancel()
    return result
