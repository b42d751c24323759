"""The steps of one batch from its sealed file to its settled answers."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import anyio

from pipeline.domain.batches import BatchReport, BatchState, RemoteState
from pipeline.domain.errors import AskError, BatchRefused, CreditExhausted, RequestRejected
from pipeline.engine.batch.courier import Address, Courier
from pipeline.engine.batch.harvest import Harvester, Yield
from pipeline.engine.batch.route import BatchRoute
from pipeline.engine.progress import Tally
from pipeline.engine.stages import Stages
from pipeline.ledger.batches import Batch, BatchBook

_YOUNG_SHARE: Final = 20
"""A batch is looked at again after a twentieth of its age."""
_LOOKS: Final = 3
"""At the files of a batch that lack lines: a server may need a moment until they are whole."""
_AT_ONCE_SECONDS: Final = 600.0
"""A batch that is given up so soon without an answer was not late."""
_TOKEN_LIMIT: Final = "token_limit_exceeded"  # noqa: S105  no secret
_MONEY: Final = ("billing", "quota", "credit", "spend_limit")


class Mode(Enum):
    """What becomes of batches in this run."""

    FILLING = auto()
    COLLECTING = auto()
    """What is not at the server yet goes back; what is there is collected when it is over."""
    HURRYING = auto()
    """The same, and what is there is told to end."""
    LEAVING = auto()
    """Filled no more: the rest is for the next run."""
    STOPPED = auto()


@dataclass(slots=True)
class Live:
    """A batch that is not over."""

    batch: Batch
    is_adopted: bool
    wake: anyio.Event = field(default_factory=anyio.Event)
    is_left: bool = False
    """At the server, and nobody waits for it in this run."""
    is_cancelled: bool = False
    doubts: int = 0
    """So many times more the server's list is read for a second batch of the same file."""
    is_counted: bool = False
    """Among the requests of this run: an earlier one counted what it submitted itself."""


class Journey:
    """Takes the steps. One object serves all batches of a run.

    Args:
        route: whom they are for.
        book: where they are on record.
        stages: the rooms of the run.
        harvester: settles what came of them.
        tally: what the run has done.
    """

    def __init__(
        self,
        route: BatchRoute,
        *,
        book: BatchBook,
        stages: Stages,
        harvester: Harvester,
        tally: Tally,
    ) -> None:
        self._route = route
        self._book = book
        self._clock = stages.clock
        self._budget = stages.ceilings.budget
        self._tally = tally
        self._harvester = harvester
        self._courier = Courier(_find_address(route), book=book, clock=stages.clock)
        self._uploading = anyio.Lock()

    async def take_step(self, live: Live, mode: Mode) -> None:
        """One step of a batch towards its end; it is ``over``, or left, after some.

        Raises:
            RunPaused: the server takes no batches, or would fail all.
            AskError: a call will never succeed.
            EnvironmentFault: disk or ledger failed.
        """
        batch = live.batch
        is_sending = mode in {Mode.FILLING, Mode.LEAVING}
        match batch.state:
            case BatchState.PACKED if is_sending:
                async with self._uploading:
                    uploaded = await self._courier.upload(batch, may_be_there=live.is_adopted)
                if uploaded is None:
                    live.batch = await self.give_up(
                        batch, message=f"its file {batch.file} is not here, or not as it was"
                    )
                else:
                    live.batch = uploaded
            case BatchState.UPLOADED if is_sending:
                await self._submit(live)
            case BatchState.SUBMITTING:
                live.batch = await self._courier.find_out(batch)
                live.doubts = _LOOKS if live.batch.state is BatchState.UPLOADED else live.doubts
                self._note_submitted(live)
            case BatchState.SUBMITTED:
                await self._wait_for(live, mode)
            case _:
                live.batch = await self.give_up(batch, message="it was not sent")

    async def _submit(self, live: Live) -> None:
        """Tell the server of it when its quota has room."""
        batch, enqueued = live.batch, self._route.enqueued
        wait = (batch.not_before_ms - self._clock.now_ms()) / 1000
        if batch.lines > 1 and enqueued.is_too_large(batch.tokens):
            await self._split(live)
        elif wait > 0 or not enqueued.has_room(batch.tokens):
            if not self._route.bounds.is_waiting:
                await self._leave(live)
                return
            await self._sleep(live, max(wait, min(1.0, self._route.bounds.poll_seconds)))
        else:
            enqueued.enter(batch.id, batch.tokens)
            await self._tell(live)
            self._note_submitted(live)

    async def _tell(self, live: Live) -> None:
        try:
            live.batch = await self._courier.submit(live.batch)
        except RequestRejected as error:
            live.batch = await self.give_up(live.batch, message=str(error))
            if not live.is_adopted:
                raise BatchRefused(
                    f"a file of this run is gone at the server ({error}); its pictures wait "
                    "again, and the same command sends them"
                ) from error

    def _note_submitted(self, live: Live) -> None:
        batch = live.batch
        if batch.state is BatchState.SUBMITTED:
            self._route.enqueued.enter(batch.id, batch.tokens)
            self._tally.requests += batch.lines
            live.is_counted = True
        elif batch.state is BatchState.UPLOADED:
            self._route.enqueued.leave(batch.id)

    async def _split(self, live: Live) -> None:
        """No batch so large will ever be taken: its pictures go into smaller ones."""
        live.batch = await self.give_up(
            live.batch, message="it has more tokens than the server lets wait at once"
        )

    async def _wait_for(self, live: Live, mode: Mode) -> None:
        """Look at it; settle it when it is over."""
        batch, report = await self._courier.look(live.batch)
        live.batch = batch
        if report.is_refused:
            await self._take_back(live, report)
        elif report.state.is_over:
            await self._harvest(live, report)
        elif live.doubts:
            await self._end_doubles(live)
        elif mode is Mode.HURRYING and not live.is_cancelled:
            await self._courier.cancel(batch)
            live.is_cancelled = True
        elif not self._route.bounds.is_waiting or mode is Mode.COLLECTING:
            await self._leave(live)
        else:
            await self._sleep(live, self._choose_poll(batch))

    async def _end_doubles(self, live: Live) -> None:
        live.doubts -= 1
        if await self._courier.end_doubles(live.batch):
            self._tally.warn(
                f"the server had made batch {live.batch.remote_id} twice, because its list did not "
                "name the first: the other was told to end; what it answered by then is billed"
            )
        elif self._route.bounds.is_waiting:
            await self._sleep(live, self._choose_poll(live.batch))

    async def _leave(self, live: Live) -> None:
        """Nobody waits for it here: the next run does, and pays for it."""
        live.is_left = True
        if live.is_adopted:
            self._budget.give_back(await self._book.sum_reserved(live.batch.id))

    async def _harvest(self, live: Live, report: BatchReport) -> None:
        batch, brought = live.batch, Yield()
        await self._read_files(live, report, brought, is_last_look=False)
        for look in range(1, _LOOKS):
            if not brought.is_short:
                break
            await anyio.sleep(self._route.bounds.poll_seconds)
            _, latest = await self._courier.look(batch)
            report = latest if latest.state.is_over else report
            await self._read_files(live, report, brought, is_last_look=look == _LOOKS - 1)
        live.batch = await self._book.close(batch.id, now_ms=self._clock.now_ms())
        self._route.enqueued.leave(batch.id)
        self._tally.batches_over += 1
        await self._courier.clear_away(live.batch)
        if brought.pause is not None:
            raise brought.pause
        if self._is_cut_short(live, report, brought):
            raise BatchRefused(
                f"batch {batch.remote_id} was {report.state} at the server, and not by this run; "
                "what it had answered is settled, and the same command asks for the rest"
            )

    async def _read_files(
        self, live: Live, report: BatchReport, brought: Yield, *, is_last_look: bool
    ) -> None:
        batch = live.batch
        try:
            await self._courier.persist(
                lambda: self._harvester.harvest(batch, report, brought, is_last_look=is_last_look)
            )
        except AskError as error:
            raise BatchRefused(
                f"what came of batch {batch.remote_id} cannot be read: {error}; what was read of "
                "it is settled, and the same command tries again. If it is gone for good, "
                f"`tagpipe batch forget {batch.id} --force` puts its pictures back"
            ) from error

    def _is_cut_short(self, live: Live, report: BatchReport, brought: Yield) -> bool:
        """Whether another batch in its place might end like it, at once and again and again."""
        if live.is_adopted or live.is_cancelled:
            return False
        age = (self._clock.now_ms() - (live.batch.submitted_at_ms or 0)) / 1000
        is_sudden = age < _AT_ONCE_SECONDS and not (brought.answers or brought.useless)
        return report.state is RemoteState.CANCELLED or (
            report.state is not RemoteState.COMPLETED and is_sudden
        )

    async def _take_back(self, live: Live, report: BatchReport) -> None:
        """The server refused it as a whole; nothing of it was worked on, or billed."""
        batch = live.batch
        self._tally.requests -= batch.lines if live.is_counted else 0
        live.is_counted = False
        fault = next(iter(report.faults), None)
        code = fault.code if fault else ""
        message = fault.message if fault else "it gave no reason"
        if code == _TOKEN_LIMIT:
            wait = self._route.enqueued.note_refusal(
                batch.id, batch.tokens, message, is_smallest=batch.lines <= 1
            )
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
        live.batch = await self.give_up(batch, message=f"{code}: {message}")
        where = f", line {fault.line}" if fault and fault.line else ""
        raise BatchRefused(
            f"the server refused batch {batch.remote_id} ({code or 'no code'}{where}): {message}. "
            "Nothing of it was billed and its pictures wait again; without --mode batch the same "
            "command asks one by one"
        )

    async def give_up(self, batch: Batch, *, message: str) -> Batch:
        """A batch that nobody worked on is none; its pictures wait again."""
        held = await self._book.sum_reserved(batch.id)
        # first: once it is forgotten, nobody would look for it after a kill
        await self._courier.remove_file(batch)
        await self._book.discard(batch.id, now_ms=self._clock.now_ms(), message=message)
        self._budget.give_back(held)
        self._route.enqueued.leave(batch.id)
        await self._courier.clear_away(batch)
        return await self._book.read(batch.id)

    async def _sleep(self, live: Live, seconds: float) -> None:
        live.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            await live.wake.wait()

    def _choose_poll(self, batch: Batch) -> float:
        """Often while it is young, seldom when it has taken long already."""
        longest = self._route.bounds.poll_seconds
        age = (self._clock.now_ms() - (batch.submitted_at_ms or 0)) / 1000
        return min(longest, max(longest / _YOUNG_SHARE, age / _YOUNG_SHARE))


def _find_address(route: BatchRoute) -> Address:
    return Address(
        name=route.name,
        desk=route.desk,
        poll_seconds=route.bounds.poll_seconds,
        keeps_files=route.bounds.keeps_files,
    )
