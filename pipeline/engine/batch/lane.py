"""The batch lane as workers and pool see it: pictures go in, news comes out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.domain.batches import OVER, BatchId, BatchReport, BatchState, RemoteState
from pipeline.domain.errors import (
    AskError,
    BatchesUnderWay,
    BatchRefused,
    CreditExhausted,
    EnvironmentFault,
    RunPaused,
)
from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import Outcome
from pipeline.engine.batch.courier import Address, Courier
from pipeline.engine.batch.harvest import Harvester
from pipeline.engine.batch.pack import Pack
from pipeline.engine.batch.packer import Entry, Packer
from pipeline.engine.batch.route import BatchRoute
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.progress import Tally
from pipeline.engine.shelf import Picture
from pipeline.engine.stages import Clock, Stages
from pipeline.ledger.batches import Batch, BatchBook

_YOUNG_SHARE: Final = 20
"""A batch is looked at again after a twentieth of its age."""
_TOKEN_LIMIT: Final = "token_limit_exceeded"  # noqa: S105  no secret
_MONEY: Final = ("billing", "quota", "credit", "spend_limit")


class Lane(Protocol):
    """What takes pictures for later."""

    @property
    def takes_more(self) -> bool:
        """Whether pictures go into batches."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is to be begun in this run, in no lane."""

    @property
    def is_busy(self) -> bool:
        """Whether waiting will bring news."""

    @property
    def outstanding(self) -> int:
        """Pictures in batches that are not over."""

    async def add(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | Entry:
        """Bring a picture into a batch."""

    async def begin(self) -> None:
        """Take over what runs that are over have left; call it before anything is added."""

    def flush(self) -> None:
        """Nothing more comes for now: let go what is being filled."""

    async def run(self, on_news: Callable[[], Awaitable[None]]) -> None:
        """Look after all batches, until stopped; ``on_news`` when pictures may wait again."""

    def stop(self) -> None:
        """Leave the batches to the server and to the next run."""

    def hurry(self) -> None:
        """Pack nothing more and end what is under way: the rest is asked one by one."""

    async def close(self) -> None:
        """Give up what was never sent; call it when nobody adds any more."""

    def describe_rest(self) -> BatchesUnderWay | None:
        """Why the run ends although pictures wait for answers; None when none does."""


class NoLane:
    """For runs without batches."""

    takes_more = False
    is_closed = False
    is_busy = False
    outstanding = 0

    async def add(self, _job: ClaimedJob, _picture: Picture, _key: bytes) -> Outcome | Entry:
        return Entry.LEFT_OUT

    async def begin(self) -> None:
        pass

    def flush(self) -> None:
        pass

    async def run(self, _on_news: Callable[[], Awaitable[None]]) -> None:
        pass

    def stop(self) -> None:
        pass

    def hurry(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def describe_rest(self) -> None:
        return None


class _Mode(Enum):
    FILLING = auto()
    COLLECTING = auto()
    """What is not at the server yet goes back; what is there is collected when it is over."""
    HURRYING = auto()
    """The same, and what is there is told to end."""
    LEAVING = auto()
    """Filled no more: the rest is for the next run."""
    STOPPED = auto()


@dataclass(slots=True)
class _Live:
    """A batch that is not over."""

    batch: Batch
    is_adopted: bool
    wake: anyio.Event = field(default_factory=anyio.Event)
    is_left: bool = False
    """At the server, and nobody waits for it in this run."""
    is_cancelled: bool = False
    is_counted: bool = False
    """Among the requests of this run: an earlier one counted what it submitted itself."""


class BatchLane:
    """Fills batches, sends them, waits for them and settles what came of them.

    Args:
        route: whom they are for.
        book: where they are on record.
        stages: the rooms of the run.
        bookkeeper: settles what needs no question.
        tally: what the run has done.
        fills: whether the run is to ask by batches; else it only collects what earlier runs sent.
    """

    def __init__(
        self,
        route: BatchRoute,
        *,
        book: BatchBook,
        stages: Stages,
        bookkeeper: Bookkeeper,
        tally: Tally,
        fills: bool,
    ) -> None:
        self._route = route
        self._book = book
        self._clock: Clock = stages.clock
        self._budget = stages.ceilings.budget
        self._tally = tally
        self._mode = _Mode.FILLING if fills else _Mode.COLLECTING
        self._courier = Courier(_find_address(route), book=book, clock=stages.clock)
        self._harvester = Harvester(
            route, book=book, stages=stages, bookkeeper=bookkeeper, tally=tally
        )
        self._packer = Packer(
            route,
            book=book,
            stages=stages,
            bookkeeper=bookkeeper,
            tally=tally,
            on_full=self._send_off,
        )
        self._live: dict[BatchId, _Live] = {}
        self._unsealed: dict[BatchId, Pack] = {}
        self._group: TaskGroup | None = None
        self._on_news: Callable[[], Awaitable[None]] | None = None
        self._uploading = anyio.Lock()
        self._adopted: list[Batch] = []
        self._is_ready = False
        self._fault: RunPaused | EnvironmentFault | None = None

    @property
    def takes_more(self) -> bool:
        return self._mode is _Mode.FILLING

    @property
    def is_closed(self) -> bool:
        return self._mode in {_Mode.LEAVING, _Mode.STOPPED}

    @property
    def is_busy(self) -> bool:
        if self._mode is _Mode.STOPPED:
            return False
        if not self._is_ready or self._packer.has_open or self._unsealed:
            return True
        return any(not live.is_left for live in self._live.values())

    @property
    def outstanding(self) -> int:
        packing = sum(pack.planned_lines for pack in self._unsealed.values())
        return (
            self._packer.planned_lines
            + packing
            + sum(live.batch.lines for live in self._live.values())
        )

    async def add(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | Entry:
        return await self._packer.add(job, picture, key)

    def flush(self) -> None:
        self._packer.flush()

    async def begin(self) -> None:
        self._adopted = await self._book.adopt(
            self._route.desk.account, now_ms=self._clock.now_ms()
        )
        await self._hold(self._adopted)

    async def _hold(self, adopted: Sequence[Batch]) -> None:
        """What batches of other runs may still cost is held of our budget."""
        for batch in adopted:
            self._budget.take_over(await self._book.sum_reserved(batch.id))

    async def run(self, on_news: Callable[[], Awaitable[None]]) -> None:
        """Look after all batches until stopped.

        Raises:
            RunPaused: the server takes no batches, or would fail all.
            EnvironmentFault: disk or ledger failed.
        """
        self._on_news = on_news
        async with anyio.create_task_group() as group:
            self._group = group
            if self._mode is _Mode.STOPPED:
                return
            for batch in self._adopted:
                self._look_after(batch, is_adopted=True)
            self._is_ready = True
            await self._tell_news()
            await self._guard(self._keep_taking_over)
        if self._fault is not None:
            raise self._fault

    async def _keep_taking_over(self) -> None:
        """Copies here may wait for a batch of a run that ended or died meanwhile."""
        while True:
            await anyio.sleep(self._route.bounds.poll_seconds)
            taken = await self._book.take_over(
                self._route.desk.account, now_ms=self._clock.now_ms()
            )
            await self._hold(taken)
            for batch in taken:
                self._look_after(batch, is_adopted=True)

    def stop(self) -> None:
        self._mode = _Mode.STOPPED
        self._packer.stop()
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def hurry(self) -> None:
        if self._mode is _Mode.FILLING:
            self._mode = _Mode.HURRYING
            self._packer.stop()
            if (pack := self._packer.take_open()) is not None:
                self._send_off(pack)
            for live in self._live.values():
                live.wake.set()

    async def close(self) -> None:
        self._packer.stop()
        open_pack = self._packer.take_open()
        packs = [*self._unsealed.values(), *([open_pack] if open_pack else [])]
        self._unsealed.clear()
        for pack in packs:
            await self._give_up(pack.batch, message="the run ended before it was sent")
            await anyio.to_thread.run_sync(pack.throw_away)

    async def _guard(self, work: Callable[..., Awaitable[None]], *given: object) -> None:
        """What concerns all batches, or the machine, ends the lane; it is told from ``run``."""
        try:
            await work(*given)
        except (RunPaused, EnvironmentFault) as fault:
            self._fault = self._fault or fault
            self.stop()

    def describe_rest(self) -> BatchesUnderWay | None:
        if not self.outstanding:
            return None
        batches = "1 batch" if len(self._live) == 1 else f"{len(self._live):,} batches"
        pictures = "1 picture is" if self.outstanding == 1 else f"{self.outstanding:,} pictures are"
        rest = f"{pictures} in {batches} at the server"
        if self._mode is _Mode.COLLECTING:
            self._tally.warn(f"{rest}; `tagpipe tag --mode batch` waits for them")
            return None
        more = " and it takes no more for now" if self._mode is _Mode.LEAVING else ""
        return BatchesUnderWay(f"{rest}{more}; the same command collects the answers")

    def _send_off(self, pack: Pack) -> None:
        """A batch gets no more lines."""
        self._unsealed[pack.batch.id] = pack
        if self._group is not None and self._mode is not _Mode.STOPPED:
            self._group.start_soon(self._guard, self._seal, pack)

    async def _seal(self, pack: Pack) -> None:
        await pack.wait_until_quiet()
        if pack.is_empty or self._mode is _Mode.HURRYING:
            await self._give_up(pack.batch, message="it was not sent")
            await anyio.to_thread.run_sync(pack.throw_away)
            self._packer.note_sent()
            del self._unsealed[pack.batch.id]
            await self._tell_news()
            return
        sealed = await anyio.to_thread.run_sync(pack.seal)
        batch = await self._book.seal(pack.batch.id, sealed)
        del self._unsealed[pack.batch.id]
        self._look_after(batch, is_adopted=False)

    def _look_after(self, batch: Batch, *, is_adopted: bool) -> None:
        live = self._live[batch.id] = _Live(batch=batch, is_adopted=is_adopted)
        self._show()
        if batch.state is BatchState.SUBMITTED:
            self._route.enqueued.enter(batch.id, batch.tokens)
        if self._group is not None:
            self._group.start_soon(self._guard, self._see_through, live)

    async def _see_through(self, live: _Live) -> None:
        """Bring one batch to its end, step by step."""
        was_unsent = not live.is_adopted
        while live.batch.state not in OVER and not live.is_left:
            try:
                await self._take_step(live)
            finally:
                self._show()
            if was_unsent and live.batch.state in {BatchState.SUBMITTED, *OVER}:
                was_unsent = False
                self._packer.note_sent()
        if not live.is_left:
            del self._live[live.batch.id]
            self._show()
        await self._tell_news()

    async def _take_step(self, live: _Live) -> None:
        batch = live.batch
        is_sending = self._mode in {_Mode.FILLING, _Mode.LEAVING}
        match batch.state:
            case BatchState.PACKED if is_sending:
                async with self._uploading:
                    uploaded = await self._courier.upload(batch, may_be_there=live.is_adopted)
                if uploaded is None:
                    live.batch = await self._give_up(
                        batch, message=f"its file {batch.file} is not here, or not as it was"
                    )
                else:
                    live.batch = uploaded
            case BatchState.UPLOADED if is_sending:
                await self._submit(live)
            case BatchState.SUBMITTING:
                live.batch = await self._courier.find_out(batch)
                self._note_submitted(live)
            case BatchState.SUBMITTED:
                await self._wait_for(live)
            case _:
                live.batch = await self._give_up(batch, message="it was not sent")

    async def _submit(self, live: _Live) -> None:
        """Tell the server of it when its quota has room."""
        batch, enqueued = live.batch, self._route.enqueued
        wait = (batch.not_before_ms - self._clock.now_ms()) / 1000
        if enqueued.is_too_large(batch.tokens):
            await self._split(live)
        elif wait > 0 or not enqueued.has_room(batch.tokens):
            if not self._route.bounds.is_waiting:
                self._leave(live)
                return
            self._tally.waits_for = "room for another batch at the server"
            await self._sleep(live, max(wait, min(1.0, self._route.bounds.poll_seconds)))
        else:
            enqueued.enter(batch.id, batch.tokens)
            live.batch = await self._courier.submit(batch)
            self._note_submitted(live)

    def _note_submitted(self, live: _Live) -> None:
        batch = live.batch
        if batch.state is BatchState.SUBMITTED:
            self._route.enqueued.enter(batch.id, batch.tokens)
            self._tally.requests += batch.lines
            live.is_counted = True
        elif batch.state is BatchState.UPLOADED:
            self._route.enqueued.leave(batch.id)

    async def _split(self, live: _Live) -> None:
        """No batch so large will ever be taken: its pictures go into smaller ones."""
        live.batch = await self._give_up(
            live.batch, message="it has more tokens than the server lets wait at once"
        )

    async def _wait_for(self, live: _Live) -> None:
        """Look at it; settle it when it is over."""
        batch, report = await self._courier.look(live.batch)
        live.batch = batch
        if report.state is RemoteState.FAILED:
            await self._take_back(live, report)
        elif report.state.is_over:
            await self._harvest(live, report)
        elif self._mode is _Mode.HURRYING and not live.is_cancelled:
            await self._courier.cancel(batch)
            live.is_cancelled = True
        elif not self._route.bounds.is_waiting or self._mode is _Mode.COLLECTING:
            self._leave(live)
        else:
            await self._sleep(live, self._choose_poll(batch))

    def _leave(self, live: _Live) -> None:
        """Nobody waits for it here: the next run does."""
        live.is_left = True
        if self._mode is _Mode.FILLING and live.batch.state is not BatchState.SUBMITTED:
            # the server takes no more for now: what is not packed waits for the next run
            self._mode = _Mode.LEAVING
            self._packer.stop()

    async def _harvest(self, live: _Live, report: BatchReport) -> None:
        batch = live.batch
        try:
            brought = await self._courier.persist(lambda: self._harvester.harvest(batch, report))
        except AskError as error:
            raise BatchRefused(
                f"what came of batch {batch.remote_id} cannot be read: {error}; what was read of "
                "it is settled, and the same command tries again"
            ) from error
        live.batch = await self._book.close(batch.id, now_ms=self._clock.now_ms())
        self._route.enqueued.leave(batch.id)
        self._tally.batches_over += 1
        await self._courier.clear_away(live.batch)
        if brought.pause is not None:
            raise brought.pause

    async def _take_back(self, live: _Live, report: BatchReport) -> None:
        """The server refused it as a whole; nothing of it was worked on, or billed."""
        batch = live.batch
        self._tally.requests -= batch.lines if live.is_counted else 0
        live.is_counted = False
        fault = next(iter(report.faults), None)
        code = fault.code if fault else ""
        message = fault.message if fault else "it gave no reason"
        if code == _TOKEN_LIMIT:
            wait = self._route.enqueued.note_refusal(batch.id, batch.tokens, message)
            self._packer.max_tokens = self._route.enqueued.choose_size()
            again_ms = self._clock.now_ms() + int(1000 * wait)
            live.batch = await self._book.put_off(batch.id, not_before_ms=again_ms, message=message)
            return
        self._route.enqueued.leave(batch.id)
        if any(word in code for word in _MONEY):
            live.batch = await self._book.put_off(batch.id, not_before_ms=0, message=message)
            raise CreditExhausted(
                f"the server takes no batch for want of credit ({code}: {message}); it has the "
                "file, and the same command goes on with it"
            )
        live.batch = await self._give_up(batch, message=f"{code}: {message}")
        where = f", line {fault.line}" if fault and fault.line else ""
        raise BatchRefused(
            f"the server refused batch {batch.remote_id} ({code or 'no code'}{where}): {message}. "
            "Nothing of it was billed and its pictures wait again; without --mode batch the same "
            "command asks one by one"
        )

    async def _give_up(self, batch: Batch, *, message: str) -> Batch:
        """A batch that nobody worked on is none; its pictures wait again."""
        held = await self._book.sum_reserved(batch.id)
        # first: once it is forgotten, nobody would look for it after a kill
        await self._courier.remove_file(batch)
        await self._book.discard(batch.id, now_ms=self._clock.now_ms(), message=message)
        self._budget.give_back(held)
        self._route.enqueued.leave(batch.id)
        await self._courier.clear_away(batch)
        return await self._book.read(batch.id)

    async def _sleep(self, live: _Live, seconds: float) -> None:
        live.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            await live.wake.wait()

    def _choose_poll(self, batch: Batch) -> float:
        """Often while it is young, seldom when it has taken long already."""
        longest = self._route.bounds.poll_seconds
        age = (self._clock.now_ms() - (batch.submitted_at_ms or 0)) / 1000
        return min(longest, max(longest / _YOUNG_SHARE, age / _YOUNG_SHARE))

    async def _tell_news(self) -> None:
        for live in self._live.values():
            live.wake.set()  # there may be room now
        if self._on_news is not None:
            await self._on_news()

    def _show(self) -> None:
        """Put the batches as they stand where those who watch can see them."""
        batches = [live.batch for live in self._live.values() if live.batch.state not in OVER]
        self._tally.batches = len(batches)
        self._tally.batches_at_server = sum(
            batch.state is BatchState.SUBMITTED for batch in batches
        )
        self._tally.in_batches = sum(batch.lines for batch in batches)
        self._tally.answered_in_batches = sum(batch.completed + batch.failed for batch in batches)


def _find_address(route: BatchRoute) -> Address:
    return Address(
        name=route.name,
        desk=route.desk,
        poll_seconds=route.bounds.poll_seconds,
        keeps_files=route.bounds.keeps_files,
    )
