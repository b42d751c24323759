"""What people do about batches while no run looks after them: end them, or forget them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import anyio

from pipeline.domain.batches import OVER, BatchId, BatchReport, BatchState, RemoteState
from pipeline.domain.errors import AskError, RequestRejected, UsageError
from pipeline.engine.batch.courier import Courier
from pipeline.engine.stages import Clock
from pipeline.ledger.batch_overview import BatchView
from pipeline.ledger.batches import Batch, BatchBook
from pipeline.limits.finish import LONGEST_CANCELLING_SECONDS
from pipeline.providers.base import BatchDesk

PATIENCE_SECONDS: Final = 120.0
"""Somebody sits in front of it: no quarter of an hour, as a run has."""
_FIRST_LOOK_SECONDS: Final = 0.5
_LONGEST_SLEEP_SECONDS: Final = 15.0
_UNTOLD: Final = frozenset({BatchState.PACKING, BatchState.PACKED, BatchState.UPLOADED})


class Fate(StrEnum):
    """What became of a batch."""

    ENDING = "ending"
    """The server was told to end it, and has not yet."""
    ENDED = "ended"
    """The server is done with it: its answers are to be collected."""
    GIVEN_UP = "given_up"
    """It was never worked on: its pictures wait again."""
    FORGOTTEN = "forgotten"
    """Its pictures wait again, although its lines may have been billed."""
    UNKNOWN = "unknown"
    """The server does not know it any more; nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tended:
    """One batch and what became of it."""

    batch: Batch
    fate: Fate
    freed: int = 0
    """Pictures that wait again."""
    told: str = ""
    """What the server said of it, where that matters."""


def choose_batches(
    views: Sequence[BatchView], ids: Sequence[int], *, account: str | None
) -> list[Batch]:
    """The batches that are meant, all of which nobody looks after.

    Args:
        views: the batches on record, those named by ``ids`` among them.
        ids: those meant; none means all that are not over.
        account: theirs, where a server is to be asked; None where none is.

    Raises:
        UsageError: one is not there, is over, is looked after, or belongs to another account.
    """
    found = {view.batch.id: view for view in views}
    if ids:
        chosen = [_find(found, BatchId(one), account) for one in dict.fromkeys(ids)]
    else:
        chosen = [
            view for view in views if view.batch.state not in OVER and view.batch.account == account
        ]
    for view in chosen:
        if view.keeper is not None:
            raise UsageError(
                f"{view.keeper} looks after batch {view.batch.id}: end that run first (Ctrl-C; "
                "its batches go on at the server), then give this command again"
            )
    return [view.batch for view in chosen]


def _find(found: dict[BatchId, BatchView], wanted: BatchId, account: str | None) -> BatchView:
    view = found.get(wanted)
    if view is None:
        raise UsageError(f"there is no batch {wanted}: tagpipe batch list --all names them")
    if view.batch.state in OVER:
        raise UsageError(f"batch {wanted} is over already: there is nothing to do")
    if account is not None and view.batch.account != account:
        raise UsageError(
            f"batch {wanted} is at {view.batch.endpoint}, under another address or key than the "
            "settings have: name them as for the tag that sent it (--base-url, -c, the key)"
        )
    return view


class Tending:
    """Acts on batches that are ours. One object serves one command."""

    def __init__(self, courier: Courier, *, book: BatchBook, clock: Clock) -> None:
        self._courier = courier
        self._book = book
        self._clock = clock

    async def cancel(self, batch: Batch) -> Tended:
        """Have the server end a batch, or give it up where it was not told of it.

        Raises:
            RunPaused: the server cannot be asked.
        """
        batch = await self._find_out(batch)
        if batch.state is not BatchState.SUBMITTED:
            return await self._give_up(batch, "it was cancelled before it was submitted")
        try:
            batch, report = await self._courier.read(batch)
        except AskError as error:
            return Tended(batch=batch, fate=Fate.UNKNOWN, told=str(error))
        if report.is_refused:
            return await self._give_up(batch, _describe_refusal(report))
        if not report.state.is_over:
            report = await self._courier.cancel(batch)
            batch = await self._book.note_report(batch.id, report)
        return _judge(batch)

    async def wait(
        self, tended: Sequence[Tended], on_look: Callable[[Sequence[Tended]], None]
    ) -> list[Tended]:
        """Until the server has ended all, but no longer than it may take for that.

        Raises:
            RunPaused: the server cannot be asked.
        """
        began, pause = self._clock.monotonic(), _FIRST_LOOK_SECONDS
        now = list(tended)
        while any(one.fate is Fate.ENDING for one in now):
            on_look(now)
            if self._clock.monotonic() - began > LONGEST_CANCELLING_SECONDS:
                break
            await anyio.sleep(pause)
            pause = min(_LONGEST_SLEEP_SECONDS, 2 * pause)
            now = [await self._look(one) if one.fate is Fate.ENDING else one for one in now]
        return now

    async def forget(self, batch: Batch) -> Tended:
        """Put the pictures of a batch back that the server does not know any more.

        Raises:
            UsageError: it does.
            RunPaused: the server cannot be asked.
        """
        batch = await self._find_out(batch)
        if batch.state is not BatchState.SUBMITTED:
            return await self._give_up(batch, "it was forgotten before it was submitted")
        try:
            batch, report = await self._courier.read(batch)
        except AskError as error:
            return await lose(batch, self._book, now_ms=self._clock.now_ms(), message=str(error))
        raise UsageError(
            f"the server still knows batch {batch.id} ({batch.remote_id}: {report.state}, "
            f"{report.completed:,} of {batch.lines:,} answered): tagpipe tag collects it, "
            f"tagpipe batch cancel {batch.id} ends it. With --force it is forgotten all the same: "
            "what it has answered is billed and nobody reads it"
        )

    async def _look(self, one: Tended) -> Tended:
        batch, _ = await self._courier.look(one.batch)
        return _judge(batch)

    async def _find_out(self, batch: Batch) -> Batch:
        if batch.state is BatchState.SUBMITTING:
            return await self._courier.find_out(batch)
        return batch

    async def _give_up(self, batch: Batch, message: str) -> Tended:
        # first: once it is forgotten, nobody would look for it after a kill
        await self._courier.remove_file(batch)
        freed = await self._book.discard(batch.id, now_ms=self._clock.now_ms(), message=message)
        await self._courier.clear_away(batch)
        return Tended(batch=await self._book.read(batch.id), fate=Fate.GIVEN_UP, freed=freed)


async def lose(batch: Batch, book: BatchBook, *, now_ms: int, message: str) -> Tended:
    """Put the pictures of a batch back whatever becomes of it, asking nobody."""
    await anyio.Path(batch.file).unlink(missing_ok=True)
    if batch.state in _UNTOLD:
        freed, fate = await book.discard(batch.id, now_ms=now_ms, message=message), Fate.GIVEN_UP
    else:
        freed, fate = await book.lose(batch.id, now_ms=now_ms, message=message), Fate.FORGOTTEN
    return Tended(batch=await book.read(batch.id), fate=fate, freed=freed, told=message)


async def ask_again(view: BatchView, desk: BatchDesk) -> BatchView:
    """A batch as its server sees it now; nothing is put on record.

    Raises:
        AskError, RunPaused: the server cannot be asked.
    """
    batch = view.batch
    is_there = batch.state is BatchState.SUBMITTED and batch.account == desk.account
    if not is_there or batch.remote_id is None:
        return view
    try:
        report = await desk.read(batch.remote_id)
    except RequestRejected:
        return replace(view, is_unknown=True)
    seen = replace(
        batch, remote_state=report.state, completed=report.completed, failed=report.failed
    )
    return replace(view, batch=seen)


def _judge(batch: Batch) -> Tended:
    is_over = batch.remote_state is not None and RemoteState(batch.remote_state).is_over
    return Tended(batch=batch, fate=Fate.ENDED if is_over else Fate.ENDING)


def _describe_refusal(report: BatchReport) -> str:
    fault = next(iter(report.faults), None)
    return f"the server refused it: {fault.message if fault else 'it gave no reason'}"
