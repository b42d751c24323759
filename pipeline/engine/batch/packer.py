"""Puts prepared pictures into batches: room, money, the attempt on record, then the line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import anyio
import anyio.to_thread

from pipeline.domain.errors import BudgetExhausted
from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import Outcome
from pipeline.domain.usage import NanoDollars
from pipeline.domain.vision import ServiceTier, VisionRequest
from pipeline.engine.batch.base import Entry
from pipeline.engine.batch.pack import Pack
from pipeline.engine.batch.route import BatchRoute
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.progress import Tally
from pipeline.engine.shelf import Picture
from pipeline.engine.stages import Stages
from pipeline.engine.step import ROOM_FACTOR
from pipeline.engine.weighing import describe_cap, reuse, wait_for_other
from pipeline.ledger.batches import BatchBook, BatchPlace
from pipeline.ledger.caps import OverCap
from pipeline.ledger.facts import Facts
from pipeline.ledger.opening import Admission, AlreadyAnswered, BeingAsked, Opened, Terms

UNSENT_AT_ONCE: Final = 3
"""Batches whose file lies here, or that the server was not told of: what bounds the disk."""
_ROOM_POLL_SECONDS: Final = 1.0
_CAP_POLL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """What becomes of a batch that is filled, and of who cannot fill it."""

    on_full: Callable[[Pack], None]
    """Takes a batch that gets no more lines."""
    expects_news: Callable[[], bool]
    """Whether this run will hear of a batch, which frees what it holds."""
    on_stuck: Callable[[], None]
    """There is no money left, and none will come back in this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """One line and what it takes."""

    request: VisionRequest
    step: str
    size: int
    tokens: int
    output_factor: int


class Packer:
    """Fills batches. One object serves all tasks of a run.

    Args:
        route: whom the batches are for.
        book: where they are on record.
        stages: the rooms of the run.
        bookkeeper: settles what needs no question.
        tally: what the run has done.
        outlet: takes what is full.
    """

    def __init__(
        self,
        route: BatchRoute,
        *,
        book: BatchBook,
        stages: Stages,
        bookkeeper: Bookkeeper,
        tally: Tally,
        outlet: Outlet,
    ) -> None:
        self._route = route
        self._book = book
        self._settler = stages.settler
        self._budget = stages.ceilings.budget
        self._threads = stages.ceilings.threads
        self._clock = stages.clock
        self._bookkeeper = bookkeeper
        self._tally = tally
        self._outlet = outlet
        self._choosing = anyio.Lock()
        self._pack: Pack | None = None
        self._unsent = anyio.Semaphore(UNSENT_AT_ONCE)
        self._waits: set[anyio.CancelScope] = set()
        self._is_stopped = False

    @property
    def planned_lines(self) -> int:
        """Of the batch that is being filled."""
        return self._pack.planned_lines if self._pack is not None else 0

    def stop(self) -> None:
        """Take nothing more; who waits for room leaves."""
        self._is_stopped = True
        for scope in self._waits:
            scope.cancel()

    def flush(self) -> None:
        """Let the batch that is being filled go as it is."""
        if self._pack is not None and self._pack.planned_lines:
            pack, self._pack = self._pack, None
            self._outlet.on_full(pack)

    def take_open(self) -> Pack | None:
        """The batch that is being filled, which nobody fills any more."""
        pack, self._pack = self._pack, None
        return pack

    def note_sent(self) -> None:
        """A batch is at the server, or was given up: there is room for another."""
        self._unsent.release()

    async def add(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | Entry:
        """Bring a picture into a batch, or its outcome where it needs none.

        Raises:
            BudgetExhausted: no money is left for it, and none is held that could come back.
        """
        load = self._measure(job, picture)
        reserved = await self._reserve(picture, load)
        if reserved is None:
            return Entry.LEFT_OUT
        admission: Opened | AlreadyAnswered | BeingAsked | None = None
        try:
            admission = await self._bring_in(job, picture, key, load, reserved)
        finally:
            if not isinstance(admission, Opened):
                self._budget.settle(reserved, NanoDollars(0))
        if admission is None:
            return Entry.LEFT_OUT
        if isinstance(admission, Opened):
            return Entry.PACKED
        return await self._do_without(job, picture, admission)

    async def _bring_in(  # noqa: PLR0917  the picture, its line, and what is set aside for it
        self, job: ClaimedJob, picture: Picture, key: bytes, load: _Load, reserved: NanoDollars
    ) -> Opened | AlreadyAnswered | BeingAsked | None:
        """Find room and write the line; None when the run was stopped meanwhile.

        Raises:
            BudgetExhausted: the day's or the month's cap is reached.
        """
        while (pack := await self._find_pack(load)) is not None:
            is_written = False
            try:
                admission = await self._open(job, picture, key, load, pack, reserved)
                if isinstance(admission, Opened):
                    await self._write(pack, load, str(admission.attempt_id))
                    is_written = True
            finally:
                pack.leave(load.size, load.tokens, is_written=is_written)
            if not isinstance(admission, OverCap):
                return admission
            if not admission.open_nanos and not self._outlet.expects_news():
                raise BudgetExhausted(describe_cap(admission, reserved))
            self.flush()  # else what it holds of the cap would never come back
            with self._wait():
                await anyio.sleep(_CAP_POLL_SECONDS)
        return None

    def _measure(self, job: ClaimedJob, picture: Picture) -> _Load:
        has_more_room = job.next_step == "more_room"
        request = VisionRequest(
            question=self._route.roomy_question if has_more_room else self._route.question,
            image=picture.prepared,
            service_tier=ServiceTier.BATCH,
        )
        return _Load(
            request=request,
            step="more_room" if has_more_room else "ask",
            size=self._route.desk.measure_line(request),
            tokens=self._route.pricing.estimate_usage(picture.prepared).input,
            output_factor=ROOM_FACTOR if has_more_room else 1,
        )

    async def _reserve(self, picture: Picture, load: _Load) -> NanoDollars | None:
        """Set the worst aside; None when the run was stopped meanwhile."""
        worst = self._route.pricing.worst_cost(picture.prepared, output_factor=load.output_factor)
        reserved: NanoDollars | None = None
        with self._wait():
            while reserved is None:
                if not self._budget.has_room(worst):
                    self.flush()  # else what it holds would never come back
                    is_held = bool(self._budget.reserved) and not self._route.bounds.is_waiting
                    if is_held and not self._outlet.expects_news():
                        self._outlet.on_stuck()
                with anyio.move_on_after(_ROOM_POLL_SECONDS):
                    reserved = await self._budget.reserve(worst)
        return reserved

    async def _find_pack(self, load: _Load) -> Pack | None:
        """The batch that has room for a line, which is taken; None when the run was stopped."""
        found: Pack | None = None
        with self._wait():
            async with self._choosing:
                if self._pack is not None and not self._fits(self._pack, load):
                    self.flush()
                found = self._pack or await self._begin()
                self._pack = found
                found.enter(load.size, load.tokens)
        return found

    def _fits(self, pack: Pack, load: _Load) -> bool:
        bounds = self._route.bounds
        if pack.planned_lines >= bounds.max_lines:
            return False
        if pack.planned_bytes + load.size > bounds.max_bytes:
            return not pack.planned_lines
        most = self._route.enqueued.choose_size()
        return most is None or not pack.planned_lines or pack.planned_tokens + load.tokens <= most

    async def _begin(self) -> Pack:
        await self._unsent.acquire()
        # once it is on record somebody has to look after it
        with anyio.CancelScope(shield=True):
            self._pack = await self._make_pack()
        assert self._pack is not None  # noqa: S101  nobody takes it in between
        return self._pack

    async def _make_pack(self) -> Pack:
        route = self._route
        place = BatchPlace(
            version_id=route.version_id,
            account=route.desk.account,
            endpoint=route.name,
            path=route.desk.path,
            model=route.question.model,
            folder=route.bounds.folder,
        )
        batch = await self._book.open(place, now_ms=self._clock.now_ms())
        return await anyio.to_thread.run_sync(Pack.create, batch)

    async def _open(  # noqa: PLR0917  the picture, its line, and what is set aside for it
        self,
        job: ClaimedJob,
        picture: Picture,
        key: bytes,
        load: _Load,
        pack: Pack,
        reserved: NanoDollars,
    ) -> Admission:
        """Put the line on record as an attempt."""
        quote = self._route.pricing.quote(picture.prepared, original_bytes=job.image.size)
        terms = Terms(
            model=self._route.question.model,
            tier=ServiceTier.BATCH.value,
            endpoint=self._route.name,
            step=load.step,
            reserved_nanos=reserved,
            quote=quote,
            batch_id=pack.batch.id,
        )
        facts = Facts(sha256=picture.sha256, info=picture.prepared.info)
        # once it is handed in it will be written: somebody has to look after it
        with anyio.CancelScope(shield=True):
            admission = await self._settler.open_attempt(
                job, key, self._clock.now_ms(), terms, facts=facts
            )
        if isinstance(admission, Opened) and load.step == "ask" and not job.attempts:
            self._tally.estimate_nanos += quote.cost or 0
        return admission

    async def _write(self, pack: Pack, load: _Load, custom_id: str) -> None:
        def write() -> None:
            pack.write(self._route.desk.write_line(custom_id, load.request), load.tokens)

        await anyio.to_thread.run_sync(write, limiter=self._threads)

    async def _do_without(
        self, job: ClaimedJob, picture: Picture, admission: AlreadyAnswered | BeingAsked
    ) -> Outcome:
        """No line is needed: the answer is there, or somebody asks for it."""
        if isinstance(admission, AlreadyAnswered):
            outcome: Outcome = reuse(admission)
        else:
            soon = self._clock.now() + timedelta(seconds=self._route.bounds.poll_seconds)
            outcome = wait_for_other(admission, soon, next_step=job.next_step)
        await self._bookkeeper.settle_picture(job, picture, outcome)
        return outcome

    @contextmanager
    def _wait(self) -> Iterator[None]:
        """Waiting that ``stop`` ends."""
        with anyio.CancelScope() as scope:
            if self._is_stopped:
                scope.cancel()
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
