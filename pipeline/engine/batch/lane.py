"""The batch lane as workers and pool see it: pictures go in, news comes out."""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.domain.batches import OVER, BatchId, BatchState
from pipeline.domain.errors import (
    AskError,
    BatchesUnderWay,
    BatchRefused,
    EnvironmentFault,
    RunPaused,
)
from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import Outcome
from pipeline.engine.batch.base import Entry
from pipeline.engine.batch.harvest import Harvester
from pipeline.engine.batch.journey import Journey, Live, Mode
from pipeline.engine.batch.pack import Pack
from pipeline.engine.batch.packer import Outlet, Packer
from pipeline.engine.batch.route import BatchRoute
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.progress import Tally
from pipeline.engine.shelf import Picture
from pipeline.engine.stages import Clock, Stages
from pipeline.ledger.batches import Batch, BatchBook


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
        self._mode = Mode.FILLING if fills else Mode.COLLECTING
        self._packer = Packer(
            route,
            book=book,
            stages=stages,
            bookkeeper=bookkeeper,
            tally=tally,
            outlet=Outlet(
                on_full=self._send_off, expects_news=self._expects_news, on_stuck=self._leave_off
            ),
        )
        self._journey = Journey(
            route,
            book=book,
            stages=stages,
            harvester=Harvester(
                route, book=book, stages=stages, bookkeeper=bookkeeper, tally=tally
            ),
            tally=tally,
        )
        self._live: dict[BatchId, Live] = {}
        self._unsealed: dict[BatchId, Pack] = {}
        self._group: TaskGroup | None = None
        self._on_news: Callable[[], Awaitable[None]] | None = None
        self._adopted: list[Batch] = []
        self._is_ready = False
        self._fault: RunPaused | EnvironmentFault | None = None

    @property
    def takes_more(self) -> bool:
        return self._mode is Mode.FILLING

    @property
    def is_closed(self) -> bool:
        return self._mode in {Mode.LEAVING, Mode.STOPPED}

    @property
    def is_busy(self) -> bool:
        return self._mode is not Mode.STOPPED and self._expects_news()

    def _expects_news(self) -> bool:
        if not self._is_ready or self._packer.planned_lines or self._unsealed:
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

    @property
    def expected(self) -> int:
        # what is told to end may still be answered: none is asked about in its place
        return 0 if self._mode is Mode.COLLECTING else self.outstanding

    async def add(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | Entry:
        return await self._packer.add(job, picture, key)

    def flush(self) -> None:
        self._packer.flush()

    async def begin(self) -> None:
        self._adopted = await self._book.adopt(
            self._route.desk.account, path=self._route.desk.path, now_ms=self._clock.now_ms()
        )
        await self._hold(self._adopted)
        strange = await self._book.count_ownerless()
        if strange:
            batches = "1 batch is" if strange == 1 else f"{strange:,} batches are"
            self._tally.warn(
                f"{batches} on the ledger of another key, server or API, which only a run with the "
                "same can collect: see tagpipe batch list"
            )

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
            if self._mode is Mode.STOPPED:
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
            desk = self._route.desk
            taken = await self._book.take_over(
                desk.account, path=desk.path, now_ms=self._clock.now_ms()
            )
            await self._hold(taken)
            for batch in taken:
                self._look_after(batch, is_adopted=True)

    def stop(self) -> None:
        self._mode = Mode.STOPPED
        self._packer.stop()
        if self._group is not None:
            self._group.cancel_scope.cancel()

    def hurry(self) -> None:
        if self._mode is Mode.FILLING:
            self._mode = Mode.HURRYING
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
            await self._journey.give_up(pack.batch, message="the run ended before it was sent")
            await anyio.to_thread.run_sync(pack.throw_away)

    async def _guard(self, work: Callable[..., Awaitable[None]], *given: object) -> None:
        """What concerns all batches, or the machine, ends the lane; it is told from ``run``."""
        try:
            await work(*given)
        except (RunPaused, EnvironmentFault) as fault:
            self._end(fault)
        except AskError as error:
            self._end(BatchRefused(f"a call about batches failed: {error}"))

    def _end(self, fault: RunPaused | EnvironmentFault) -> None:
        self._fault = self._fault or fault
        self.stop()

    def describe_rest(self) -> BatchesUnderWay | None:
        if not self.outstanding:
            return None
        batches = "1 batch" if len(self._live) == 1 else f"{len(self._live):,} batches"
        pictures = "1 picture is" if self.outstanding == 1 else f"{self.outstanding:,} pictures are"
        rest = f"{pictures} in {batches} at the server"
        if self._mode is Mode.COLLECTING:
            self._tally.warn(f"{rest}; `tagpipe tag --mode batch` waits for them")
            return None
        more = " and it takes no more for now" if self._mode is Mode.LEAVING else ""
        return BatchesUnderWay(f"{rest}{more}; the same command collects the answers")

    def _send_off(self, pack: Pack) -> None:
        """A batch gets no more lines."""
        self._unsealed[pack.batch.id] = pack
        if self._group is not None and self._mode is not Mode.STOPPED:
            self._group.start_soon(self._guard, self._seal, pack)

    async def _seal(self, pack: Pack) -> None:
        await pack.wait_until_quiet()
        if pack.is_empty or self._mode is Mode.HURRYING:
            await self._journey.give_up(pack.batch, message="it was not sent")
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
        live = self._live[batch.id] = Live(batch=batch, is_adopted=is_adopted)
        self._show()
        if batch.state is BatchState.SUBMITTED:
            self._route.enqueued.enter(batch.id, batch.tokens)
        if self._group is not None:
            self._group.start_soon(self._guard, self._see_through, live)

    async def _see_through(self, live: Live) -> None:
        """Bring one batch to its end, step by step."""
        was_unsent = not live.is_adopted
        while live.batch.state not in OVER and not live.is_left:
            try:
                await self._journey.take_step(live, self._mode)
            finally:
                self._show()
            if was_unsent and live.batch.state in {BatchState.SUBMITTED, *OVER}:
                was_unsent = False
                self._packer.note_sent()
        if not live.is_left:
            del self._live[live.batch.id]
            self._show()
        elif live.batch.state is not BatchState.SUBMITTED:
            # the server takes no more for now: what is not packed waits for the next run
            self._leave_off()
        await self._tell_news()

    def _leave_off(self) -> None:
        """Fill no more in this run."""
        if self._mode is Mode.FILLING:
            self._mode = Mode.LEAVING
            self._packer.stop()

    async def _tell_news(self) -> None:
        for live in self._live.values():
            if live.batch.state is not BatchState.SUBMITTED:
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
        self._tally.answered_in_batches = sum(batch.lines - batch.unanswered for batch in batches)
