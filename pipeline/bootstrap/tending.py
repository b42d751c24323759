"""Opens what people need to look at batches and to act on them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from pipeline.bootstrap.clock import open_clock
from pipeline.bootstrap.ledger import Ledger
from pipeline.config.settings import Settings
from pipeline.domain.batches import BatchId
from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import RunId
from pipeline.engine.batch.courier import Address, Courier
from pipeline.engine.batch.tending import (
    PATIENCE_SECONDS,
    Tended,
    Tending,
    ask_again,
    choose_batches,
    lose,
)
from pipeline.engine.stages import Clock
from pipeline.ledger.batch_overview import BatchView, find_assignment, view_batches
from pipeline.ledger.batches import Batch, BatchBook
from pipeline.ledger.runs import RunBook, RunState

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """Batches that nobody else acts on for now."""

    book: BatchBook
    clock: Clock


async def list_batches(ledger: Ledger, *, has_over: bool) -> tuple[list[BatchView], int]:
    """The batches on a ledger, and the ledger's time (ms); no server is asked."""
    now_ms = await ledger.database.read_time()
    return await view_batches(ledger.database, now_ms=now_ms, has_over=has_over), now_ms


async def refresh(
    views: Sequence[BatchView], settings: Settings, environ: Environ
) -> list[BatchView]:
    """Batches as their server sees them now; those under another address or key stay as they are.

    Raises:
        ConfigurationError: server or key cannot be used.
        AskError, RunPaused: the server cannot be asked.
    """
    from pipeline.providers.openai_batch import open_batch_desk

    async with open_batch_desk(settings.provider, environ) as desk:
        return [await ask_again(view, desk) for view in views]


async def cancel_batches(
    ledger: Ledger,
    settings: Settings,
    environ: Environ,
    ids: Sequence[int],
    *,
    is_waiting: bool,
    on_look: Callable[[Sequence[Tended]], None],
) -> list[Tended]:
    """End batches that no run looks after; none named means all of the server and key.

    Raises:
        UsageError: one is not there, is over, is looked after, or belongs to another account.
        ConfigurationError: server or key cannot be used.
        RunPaused: the server cannot be asked.
    """
    async with _open_tending(ledger, settings, environ, ids) as (tending, chosen):
        if tending is None:
            return []
        tended = [await tending.cancel(batch) for batch in chosen]
        return await tending.wait(tended, on_look) if is_waiting else tended


async def forget_batch(
    ledger: Ledger, settings: Settings, environ: Environ, wanted: int, *, is_forced: bool
) -> Tended:
    """Put the pictures of a batch back whose answers will not come.

    Raises:
        UsageError: it is not there, is over, or is looked after; the server still knows it, or
            another server or key is meant, unless it ``is_forced``: then nobody is asked.
        ConfigurationError: server or key cannot be used.
        RunPaused: the server cannot be asked.
    """
    if is_forced:
        [batch] = await _choose(ledger, [wanted], account=None)
        async with _take(ledger, settings, [batch]) as taken:
            now_ms = taken.clock.now_ms()
            return await lose(batch, taken.book, now_ms=now_ms, message="it was forgotten by force")
    async with _open_tending(ledger, settings, environ, [wanted]) as (tending, chosen):
        assert tending is not None  # noqa: S101  one was named
        return await tending.forget(chosen[0])


@asynccontextmanager
async def _open_tending(
    ledger: Ledger, settings: Settings, environ: Environ, ids: Sequence[int]
) -> AsyncIterator[tuple[Tending | None, Sequence[Batch]]]:
    # aiohttp is slow to import; a list without --refresh needs none of it
    from pipeline.providers.identity import identify_endpoint
    from pipeline.providers.openai_batch import open_batch_desk

    identity = identify_endpoint(settings.provider, environ)
    chosen = await _choose(ledger, ids, account=identity.account)
    if not chosen:
        yield None, []
        return
    async with (
        open_batch_desk(settings.provider, environ) as desk,
        _take(ledger, settings, chosen) as taken,
    ):
        courier = Courier(
            Address(
                name=identity.label,
                desk=desk,
                poll_seconds=settings.batch.poll_s,
                keeps_files=settings.batch.keep_files,
            ),
            book=taken.book,
            clock=taken.clock,
            patience_seconds=PATIENCE_SECONDS,
        )
        yield Tending(courier, book=taken.book, clock=taken.clock), chosen


async def _choose(ledger: Ledger, ids: Sequence[int], *, account: str | None) -> list[Batch]:
    now_ms = await ledger.database.read_time()
    named = [BatchId(one) for one in ids]
    views = await view_batches(ledger.database, now_ms=now_ms, ids=named)
    return choose_batches(views, ids, account=account)


@asynccontextmanager
async def _take(
    ledger: Ledger, settings: Settings, wanted: Sequence[Batch]
) -> AsyncIterator[_Taken]:
    """Take batches over as a run does, so that no run that begins meanwhile acts on them, too.

    Raises:
        UsageError: somebody was faster.
    """
    clock = await open_clock(ledger.database)
    assignment = await find_assignment(ledger.database, wanted[0])
    run = await ledger.runs.open("batch", assignment, now_ms=clock.now_ms())
    state = RunState.FAULT
    try:
        book = BatchBook(ledger.database, run)
        ours = {one.id for one in await book.adopt(wanted[0].account, now_ms=clock.now_ms())}
        if lost := [one.id for one in wanted if one.id not in ours]:
            raise UsageError(f"another run has just taken batch {lost[0]} over")
        async with anyio.create_task_group() as keeper:
            keeper.start_soon(_beat, ledger.runs, run, clock, settings.ledger.lease_s / 4)
            yield _Taken(book=book, clock=clock)
            keeper.cancel_scope.cancel()
        state = RunState.FINISHED
    except anyio.get_cancelled_exc_class():
        state = RunState.INTERRUPTED
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.runs.close(run, state, {}, now_ms=clock.now_ms())


async def _beat(runs: RunBook, run: RunId, clock: Clock, every_seconds: float) -> None:
    while True:
        await anyio.sleep(every_seconds)
        await runs.beat(run, now_ms=clock.now_ms())
