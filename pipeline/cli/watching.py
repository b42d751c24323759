"""Work under the eyes of a person: progress is shown, Ctrl-C is obeyed."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from pipeline.cli.progress import (
    Bounds,
    Meter,
    describe_listing,
    name_batches,
    show_line,
    show_progress,
)
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
        return describe_stop(tagging.tally)

    def cancel() -> str:
        tagging.pool.cancel()
        return "cancelling what is under way; Ctrl-C again to leave without writing the exports"

    async def show() -> None:
        meter = Meter(tagging.tally, bounds, now=anyio.current_time())
        await show_progress(meter, tagging.tally, tagging.pool.count_waiting)

    return await _watch(tagging.run, None if is_quiet else show, (stop, cancel))


def describe_stop(tally: "Tally") -> str:
    """What the first Ctrl-C says."""
    settle = f"{tally.in_flight:,} requests under way settle first"
    if not tally.batches_at_server:
        return f"stopping: {settle}; Ctrl-C again to cancel"
    go_on = "go on" if tally.batches_at_server > 1 else "goes on"
    batches = (
        f"{name_batches(tally.batches_at_server)} {go_on} at the server, the same command "
        "collects the answers"
    )
    return f"stopping: {settle}; {batches}" if tally.in_flight else f"stopping: {batches}"


async def watch_scan(
    work: Callable[[], Awaitable[T]], tally: "Tally", *, is_quiet: bool
) -> T | None:
    """Scan to the end; None when interrupted."""
    return await watch(work, lambda: describe_listing(tally), is_quiet=is_quiet)


async def watch(
    work: Callable[[], Awaitable[T]], describe_now: Callable[[], str], *, is_quiet: bool
) -> T | None:
    """Work to the end, telling how far it is in one line; None when interrupted."""
    return await _watch(work, None if is_quiet else lambda: show_line(describe_now), ())


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
