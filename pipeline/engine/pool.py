"""A run: produce, claim, process with bounded concurrency, and end in good order."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream

from pipeline.domain.errors import EnvironmentFault, LedgerAway, LedgerStaysAway, RunPaused
from pipeline.domain.jobs import ClaimedJob, RunId
from pipeline.engine.batch.base import Lane
from pipeline.engine.batch.punctual import Timekeeper
from pipeline.engine.pacing import Pacing
from pipeline.engine.producer import Place
from pipeline.engine.progress import Tally
from pipeline.engine.stages import Clock
from pipeline.engine.worker import Worker
from pipeline.ledger.catalogue import Assignment, Scope
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.runs import RunBook, RunState

_log = logging.getLogger(__name__)

_IDLE_POLL_SECONDS = 0.5
_LEAST_WAIT_SECONDS = 0.05  # what is due may be locked by somebody who is claiming it


class Producing(Protocol):
    """What finds the images that are to be asked about."""

    async def produce(
        self,
        places: Sequence[Place],
        tally: Tally,
        clock: Clock,
        on_work: Callable[[], None],
    ) -> None: ...


class Serving(Protocol):
    """What writes for the workers: it ends by ``close`` alone, whatever is cancelled around it."""

    async def prepare(self) -> None: ...

    async def replay_spools(self) -> int: ...

    async def serve(self) -> None: ...

    def hurry(self) -> None: ...

    def describe_spool(self) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """What one run is to do and within what bounds."""

    run: RunId
    assignment: Assignment
    places: Sequence[Place]
    workers: int
    """Jobs in hand at once: in the air, being prepared, and waiting for a turn."""
    beat_seconds: float
    limit: int | None = None
    """Images this run may bring to an end."""


class Pool:
    """Runs the producer, the claimer and the workers until there is nothing left to do."""

    def __init__(  # noqa: PLR0913  the parts of a run, wired once in bootstrap
        self,
        plan: PoolPlan,
        *,
        producer: Producing,
        queue: JobQueue,
        worker: Worker,
        settler: Serving,
        pacing: Pacing,
        lane: Lane,
        timekeeper: Timekeeper,
        runs: RunBook,
        clock: Clock,
        tally: Tally,
    ) -> None:
        self._plan = plan
        self._producer = producer
        self._queue = queue
        self._worker = worker
        self._settler = settler
        self._pacing = pacing
        self._lane = lane
        self._timekeeper = timekeeper
        self._runs = runs
        self._clock = clock
        self._tally = tally
        self._wake = anyio.Event()
        self._in_hand = 0
        self._is_stopping = False
        self._pause: RunPaused | None = None
        self._fault: EnvironmentFault | None = None
        self._may_have_work = True
        self._scanning = anyio.CancelScope()
        self._cancelling = anyio.CancelScope()

    @property
    def pause(self) -> RunPaused | None:
        """Why the run stopped by itself, if it did."""
        return self._pause

    async def count_waiting(self) -> int:
        """Images that this run is still to bring to an end, those in hand included."""
        return await self._queue.count_wanted(self._scopes, self._plan.assignment)

    async def _count_left(self) -> int:
        """The same, within the limit."""
        waiting = await self.count_waiting()
        return (
            waiting
            if self._plan.limit is None
            else min(waiting, self._plan.limit - self._tally.settled)
        )

    def stop(self) -> None:
        """Claim and send nothing more; let what is under way settle."""
        self._is_stopping = True
        self._worker.stop()
        self._lane.stop()
        self._scanning.cancel()
        self._wake.set()

    def cancel(self) -> None:
        """Break off what is under way; each open attempt is still settled as interrupted."""
        self.stop()
        self._settler.hurry()
        self._cancelling.cancel()

    async def run(self) -> RunState:
        """Work until all is done, paused or stopped; say which.

        Raises:
            EnvironmentFault: the disk, the database or the library failed; what was under way
                was settled first.
        """
        await self._settler.prepare()
        await self._take_over()
        # a run that ended had no news of the batches they wait for
        await self._queue.hurry_copies()
        await self._lane.begin()
        await self._pacing.begin()
        try:
            await self._serve_and_work()
            wronged = self._worker.take_cleared()
            if self._pause is not None:
                wronged += self._worker.find_wronged(self._pause)
            await self._queue.put_back(wronged)
            await self._tell_of_copies()
            if self._fault is not None:
                raise self._fault
        except LedgerStaysAway as fault:
            raise LedgerStaysAway(f"{fault}{self._settler.describe_spool()}") from fault
        return self._end_state()

    async def _serve_and_work(self) -> None:
        try:
            async with anyio.create_task_group() as keepers:
                keepers.start_soon(self._settler.serve)
                try:
                    await self._work_until_done()
                finally:
                    # What was handed in is written before anything is given back.
                    self._settler.close()
        finally:
            with anyio.CancelScope(shield=True):
                await self._pacing.end()
                await self._give_back()

    async def _give_back(self) -> None:
        try:
            await self._lane.close()
            await self._queue.release(now_ms=self._clock.now_ms())
        except LedgerAway:
            if self._fault is None:  # else that is what has to be told
                raise

    async def _tell_of_copies(self) -> None:
        copies = await self._queue.count_copies()
        if copies:
            what = "1 image waits" if copies == 1 else f"{copies:,} images wait"
            self._tally.warn(
                f"{what} for an answer about the same picture, which is in a batch: a later run "
                "takes it over"
            )

    def _end_state(self) -> RunState:
        if self._pause is None and not self._is_stopping:
            self._pause = self._lane.describe_rest()
        if self._pause is not None:
            return RunState.PAUSED
        return RunState.INTERRUPTED if self._is_stopping else RunState.FINISHED

    async def _work_until_done(self) -> None:
        send, receive = anyio.create_memory_object_stream[ClaimedJob](self._plan.workers)
        with self._cancelling:
            async with anyio.create_task_group() as heart:
                heart.start_soon(self._guard, self._beat)
                heart.start_soon(self._pacing.keep)
                heart.start_soon(self._worker.cut_stragglers)
                heart.start_soon(self._serve_lane)
                heart.start_soon(self._guard, self._timekeeper.keep, self._count_left)
                async with anyio.create_task_group() as hands, receive:
                    hands.start_soon(self._guard, self._produce)
                    hands.start_soon(self._guard, self._claim, send)
                    for _ in range(self._plan.workers):
                        hands.start_soon(self._work, receive.clone())
                heart.cancel_scope.cancel()

    async def _serve_lane(self) -> None:
        try:
            await self._guard(self._lane.run, self._hear_news)
        except RunPaused as pause:
            self._pause = self._pause or pause
            self.stop()

    async def _hear_news(self) -> None:
        """Answers came home, or pictures wait again."""
        await self._queue.hurry_copies()
        self._queue.look_again()
        self._signal_work()

    async def _guard(self, work: Callable[..., Awaitable[None]], *given: object) -> None:
        """A fault of the machine ends the run in good order: what is under way still settles."""
        try:
            await work(*given)
        except EnvironmentFault as fault:
            self._fault = self._fault or fault
            self.stop()

    async def _produce(self) -> None:
        with self._scanning:
            await self._producer.produce(
                self._plan.places, self._tally, self._clock, self._signal_work
            )

    async def _work(self, receive: ObjectReceiveStream[ClaimedJob]) -> None:
        async with receive:
            async for job in receive:
                try:
                    await self._guard(self._worker.process, job)
                except RunPaused as pause:
                    self._pause = self._pause or pause
                    self.stop()
                finally:
                    self._in_hand -= 1
                    self._wake.set()

    async def _claim(self, send: ObjectSendStream[ClaimedJob]) -> None:
        async with send:
            while not self._is_stopping:
                self._wake = anyio.Event()
                claimed = await self._claim_some()
                for job in claimed:
                    await send.send(job)
                if not claimed and not await self._wait_for_work():
                    return

    async def _claim_some(self) -> list[ClaimedJob]:
        room = self._plan.workers - self._in_hand
        if self._plan.limit is not None:
            ends = self._tally.settled + self._in_hand + self._lane.expected
            room = min(room, self._plan.limit - ends)
        # A claim is a transaction: take many at a time, and only when there may be some.
        is_worth_it = self._may_have_work and (room >= self._plan.workers // 4 or not self._in_hand)
        if room <= 0 or not is_worth_it or self._lane.is_closed:
            return []
        claimed = await self._queue.claim(
            self._scopes, self._plan.assignment, limit=room, now_ms=self._clock.now_ms()
        )
        self._in_hand += len(claimed)
        self._may_have_work = len(claimed) == room
        return claimed

    async def _wait_for_work(self) -> bool:
        """Sleep until something may be claimable; False when nothing ever will be."""
        timeout, is_idle = _IDLE_POLL_SECONDS, not self._in_hand and not self._tally.is_scanning
        if is_idle:
            self._lane.flush()
        if is_idle and (not self._may_have_work or self._lane.is_closed):
            if self._lane.is_closed and not self._lane.is_busy:
                return False
            due = await self._queue.find_next_due(
                self._scopes, self._plan.assignment, now_ms=self._clock.now_ms()
            )
            if due is None and not self._lane.is_busy:
                return await self._take_back()
            # no longer than a heartbeat: others may have done it, or given it back, by then
            wait = self._plan.beat_seconds if due is None else (due - self._clock.now_ms()) / 1000
            timeout = min(max(_LEAST_WAIT_SECONDS, wait), self._plan.beat_seconds)
        if self._is_limit_reached():
            return False
        with anyio.move_on_after(timeout) as waited:
            await self._wake.wait()
        self._may_have_work |= waited.cancelled_caught
        return True

    async def _take_back(self) -> bool:
        """Jobs that a claim leased for us without our hearing of it: its connection broke.

        And those that failed at a server that turned out to be at fault itself.
        """
        returned = await self._queue.release(now_ms=self._clock.now_ms())
        cleared = self._worker.take_cleared()
        if cleared:
            count = await self._queue.put_back(cleared)
            returned += count
            self._tally.failed -= count
        self._may_have_work |= bool(returned)
        return bool(returned)

    def _is_limit_reached(self) -> bool:
        if self._plan.limit is None or self._in_hand or self._lane.is_busy:
            return False
        return self._tally.settled + self._lane.expected >= self._plan.limit

    async def _beat(self) -> None:
        """Keep our lease, and take over from those whose lease ran out meanwhile."""
        while True:
            await anyio.sleep(self._plan.beat_seconds)
            now_ms = self._clock.now_ms()
            await self._runs.beat(self._plan.run, now_ms=now_ms)
            if await self._take_over():
                self._signal_work()

    async def _take_over(self) -> int:
        """Take what the dead held, their spools first; and what a clock that jumped delays."""
        now_ms = self._clock.now_ms()
        returned = await self._queue.reclaim_dead(now_ms=now_ms)
        self._tally.note_recovered(await self._settler.replay_spools())
        return returned + await self._queue.correct_waits(now_ms=now_ms)

    @property
    def _scopes(self) -> list[Scope]:
        return [scope for place in self._plan.places for scope in place.scopes]

    def _signal_work(self) -> None:
        self._may_have_work = True
        self._wake.set()
