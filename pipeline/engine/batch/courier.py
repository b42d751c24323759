"""Brings a batch to the server and asks how it is: each step on record before or after it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from pipeline.domain.batches import BatchReport, RemoteState
from pipeline.domain.errors import (
    AskError,
    BatchRefused,
    RateLimited,
    RequestRejected,
    RunPaused,
    ServerDown,
    TransientError,
)
from pipeline.engine.batch.pack import is_whole
from pipeline.engine.stages import Clock
from pipeline.ledger.batches import Batch, BatchBook
from pipeline.providers.base import BatchDesk

T = TypeVar("T")

_log = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 900.0
"""A server that takes no call about batches for so long makes the run pause."""
_UPLOADS: Final = 8
_CREATES: Final = 8
"""Batches in a row that the server failed to make."""
_LOOKS: Final = 2
"""A server may need a moment until it lists what it was told."""
_APART_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where batches are brought, and how they are looked after."""

    name: str
    """The server, as users may see it."""
    desk: BatchDesk
    poll_seconds: float
    """The longest time between two looks at a batch."""
    keeps_files: bool


class Courier:
    """One step at a time; who calls decides which."""

    def __init__(
        self,
        address: Address,
        *,
        book: BatchBook,
        clock: Clock,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._address = address
        self._desk = address.desk
        self._book = book
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._failed_creates = 0

    async def upload(self, batch: Batch, *, may_be_there: bool) -> Batch | None:
        """Bring the file to the server; None when there is none to bring.

        Args:
            batch: it is packed.
            may_be_there: an earlier try may have brought it, whose answer nobody heard.
        """
        file_id = await self._find_file(batch) if may_be_there else None
        if file_id is None:
            if not await anyio.to_thread.run_sync(is_whole, batch):
                return None
            file_id = await self._bring(batch)
        batch = await self._book.note_uploaded(batch.id, file_id)
        await self.remove_file(batch)
        _log.info("batch.uploaded", extra={"batch": batch.id, "file": file_id})
        return batch

    async def _bring(self, batch: Batch) -> str:
        """Upload until it is there.

        Raises:
            ServerDown: it failed too often.
            BatchRefused: the server takes no such file.
        """
        wait = _FIRST_WAIT_SECONDS
        for _ in range(_UPLOADS):
            try:
                return await self._desk.upload(batch.file, name=batch.file.name)
            except TransientError as error:
                _log.warning("batch.upload_failed", extra={"batch": batch.id, "why": str(error)})
                await anyio.sleep(self._choose_wait(error, wait))
                wait = min(_LONGEST_WAIT_SECONDS, 2 * wait)
            except AskError as error:
                raise BatchRefused(f"the server takes no file of a batch: {error}") from error
            if (found := await self._find_file(batch)) is not None:
                return found
        raise ServerDown(
            f"{self._address.name} took no file of a batch in {_UPLOADS} tries; the same command "
            "goes on with it"
        )

    async def submit(self, batch: Batch) -> Batch:
        """Have the server work on it, once.

        Raises:
            RunPaused: it takes none, or failed too often.
            RequestRejected: its file is gone.
        """
        assert batch.input_file is not None  # noqa: S101  it is uploaded
        batch = await self._book.note_submitting(batch.id)
        try:
            report = await self._desk.create(str(batch.input_file), token=batch.token)
        except TransientError as error:
            _log.warning("batch.create_failed", extra={"batch": batch.id, "why": str(error)})
            self._note_failed_create(error)
            wait = self._choose_wait(error, _FIRST_WAIT_SECONDS)
            await anyio.sleep(min(wait, _LONGEST_WAIT_SECONDS))
            # whether it was heard is found out next
            return batch
        except RequestRejected as error:
            await self._book.put_off(batch.id, not_before_ms=0, message=str(error))
            raise
        except AskError as error:
            await self._book.put_off(batch.id, not_before_ms=0, message=str(error))
            raise BatchRefused(f"the server takes no batch: {error}") from error
        return await self._note_submitted(batch, report)

    def _note_failed_create(self, error: TransientError) -> None:
        """What is refused for its rate alone, an hour of which is the API's measure, may wait."""
        self._failed_creates += not isinstance(error, RateLimited)
        if self._failed_creates >= _CREATES:
            raise ServerDown(
                f"{self._address.name} made no batch in {_CREATES} tries ({error}); the same "
                "command finds out whether it was heard, and goes on"
            ) from error

    async def find_out(self, batch: Batch) -> Batch:
        """Whether the server was told of a batch: nothing is submitted before that is known."""
        for look in range(_LOOKS):
            if look:
                await anyio.sleep(min(_APART_SECONDS, self._address.poll_seconds))
            found = await self.persist(lambda: self._find_batch(batch))
            if found is not None:
                _log.info("batch.recovered", extra={"batch": batch.id, "as": found.remote_id})
                return await self._note_submitted(batch, found)
        return await self._book.put_off(batch.id, not_before_ms=0, message="it was not heard of")

    async def end_doubles(self, batch: Batch) -> int:
        """End what else the server made of a batch that it did not name when asked; say how many.

        A list may lag behind by more than the looks at it were apart.
        """
        doubles = await self.persist(lambda: self._list_doubles(batch))
        for remote_id in doubles:
            _log.warning("batch.double", extra={"batch": batch.id, "as": remote_id})
            await self.persist(lambda one=remote_id: self._desk.cancel(one))  # type: ignore[misc]
        return len(doubles)

    async def _list_doubles(self, batch: Batch) -> list[str]:
        return [
            report.remote_id
            async for report in self._desk.list_batches()
            if report.token == batch.token
            and report.remote_id != batch.remote_id
            and report.state in {RemoteState.VALIDATING, RemoteState.IN_PROGRESS}
        ]

    async def look(self, batch: Batch) -> tuple[Batch, BatchReport]:
        """How the server gets on with it."""
        try:
            return await self.read(batch)
        except AskError as error:
            raise BatchRefused(
                f"the server knows batch {batch.remote_id} no more ({error}): if it is gone for "
                f"good, `tagpipe batch forget {batch.id}` puts its pictures back"
            ) from error

    async def read(self, batch: Batch) -> tuple[Batch, BatchReport]:
        """The same.

        Raises:
            AskError: the server does not know it any more.
        """
        report = await self.persist(lambda: self._desk.read(batch.remote_id or ""))
        return await self._book.note_report(batch.id, report), report

    async def cancel(self, batch: Batch) -> BatchReport:
        """Have the server end it; say how it stands then."""
        return await self.persist(lambda: self._desk.cancel(batch.remote_id or ""))

    async def clear_away(self, batch: Batch) -> None:
        """Remove what nobody needs any more, here and at the server."""
        await self.remove_file(batch)
        if batch.input_file is None or self._address.keeps_files:
            return
        try:
            await self._desk.delete_file(batch.input_file)
        except (AskError, RunPaused) as error:  # it ends by itself
            _log.info("batch.file_kept", extra={"file": batch.input_file, "why": str(error)})

    async def remove_file(self, batch: Batch) -> None:
        """Remove the file that lies here."""
        await anyio.to_thread.run_sync(lambda: batch.file.unlink(missing_ok=True))

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it works.

        Raises:
            ServerDown: it did not for as long as agreed, a quarter of an hour unless told.
            AskError: it never will.
        """
        began, wait = self._clock.monotonic(), _FIRST_WAIT_SECONDS
        while True:
            try:
                return await call()
            except TransientError as error:
                if self._clock.monotonic() - began > self._patience_seconds:
                    minutes = f"{self._patience_seconds / 60:.0f} minutes"
                    raise ServerDown(
                        f"{self._address.name} has not answered about batches for {minutes} "
                        f"({error}); the batches go on, and so does the same command"
                    ) from error
                _log.info("batch.call_failed", extra={"why": str(error)})
                await anyio.sleep(self._choose_wait(error, wait))
                wait = min(_LONGEST_WAIT_SECONDS, 2 * wait)

    async def _note_submitted(self, batch: Batch, report: BatchReport) -> Batch:
        self._failed_creates = 0
        _log.info("batch.submitted", extra={"batch": batch.id, "as": report.remote_id})
        return await self._book.note_submitted(
            batch.id, report.remote_id, now_ms=self._clock.now_ms()
        )

    async def _find_file(self, batch: Batch) -> str | None:
        """The file at the server; of several, the first: the others were never told of."""
        found = await self.persist(lambda: self._desk.find_files(batch.file.name))
        for stray in found[1:]:
            await self.persist(lambda stray=stray: self._desk.delete_file(stray))  # type: ignore[misc]
        return found[0] if found else None

    async def _find_batch(self, batch: Batch) -> BatchReport | None:
        """What the server made of it; a refusal of an earlier time says nothing of this one."""
        async for report in self._desk.list_batches():
            is_it = report.token == batch.token or report.input_file == batch.input_file
            if is_it and not report.is_refused:
                return report
        return None

    def _choose_wait(self, error: TransientError, least: float) -> float:
        return max(error.retry_after_seconds or 0.0, least * (0.5 + self._clock.chance()))
