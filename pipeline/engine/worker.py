"""One image's way: read, recognise, prepare, ask, settle."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeVar

import anyio
import anyio.to_thread

from pipeline.domain.errors import ImageError, RunPaused
from pipeline.domain.images import IMAGE_EXTENSIONS, ImageInfo
from pipeline.domain.jobs import ClaimedJob, JobId
from pipeline.domain.outcomes import Cause, Deferred, Failed, Outcome, Skipped
from pipeline.engine.asker import Asker
from pipeline.engine.batch.base import Entry, Lane, NoLane
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.progress import Tally
from pipeline.engine.shelf import Picture, PreparedShelf
from pipeline.engine.stages import Stages
from pipeline.engine.weighing import reuse

T = TypeVar("T")

_PREPARED_AT_ONCE = 2  # a core: one decodes while others are read, looked up, or wait


@dataclass(slots=True)
class _Asking:
    """A request under way that others with the same picture wait for."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: Outcome | None = None


class Worker:
    """Brings claimed jobs to their outcome. One object serves all tasks of a run."""

    def __init__(
        self, stages: Stages, tally: Tally, bookkeeper: Bookkeeper, lane: Lane | None = None
    ) -> None:
        self._pictures = stages.pictures
        self._routes = stages.asking.routes
        self._ceilings = stages.ceilings
        self._settler = stages.settler
        self._threads = stages.ceilings.threads
        self._preparing = anyio.CapacityLimiter(_PREPARED_AT_ONCE * self._threads.total_tokens)
        self._slots = anyio.CapacityLimiter(stages.ceilings.max_concurrency)
        self._under_way: dict[bytes, _Asking] = {}
        self._shelf = PreparedShelf(stages.ceilings.file_memory.total_bytes // 2)
        self._bookkeeper = bookkeeper
        self._lane = lane or NoLane()
        self._asker = Asker(stages, tally, self._bookkeeper, self._shelf)
        self._is_stopped = False

    def stop(self) -> None:
        """Send nothing new; what is under way still settles. Unsent jobs stay leased."""
        self._is_stopped = True
        self._asker.stop()

    def find_wronged(self, pause: RunPaused) -> list[JobId]:
        """Jobs that failed of late for what the pause is to blame for."""
        return self._bookkeeper.suspects.find(pause)

    def take_cleared(self) -> list[JobId]:
        """Jobs that failed at a server that is left alone by now; each is named once."""
        return self._bookkeeper.suspects.take_cleared()

    async def cut_stragglers(self) -> None:
        """Cut requests that hang, until cancelled."""
        await self._asker.stragglers.keep()

    async def process(self, job: ClaimedJob) -> None:
        """Bring one job to an outcome and settle it.

        Raises:
            RunPaused: after the job was given back untouched.
        """
        picture = self._shelf.take(job)
        if picture is None:
            # Few at a time: files read long before a core is free to decode them only fill memory.
            async with self._preparing, self._ceilings.file_memory.hold(job.image.size):
                picture = None if self._is_stopped else await self._make_ready(job)
        if picture is not None:
            async with self._ceilings.file_memory.hold(len(picture.prepared.data)):
                await self._ask_once(job, picture)

    async def _make_ready(self, job: ClaimedJob) -> Picture | None:
        """Read, recognise and prepare; None when the job is settled without a question."""
        sha256 = info = None
        try:
            data = await self._pictures.read(job.image)
            sha256, memory, info = await self._in_thread(self._identify, data)
            if isinstance(info, ImageError):
                raise info
            if known := await self._settler.find_answer(sha256):
                await self._bookkeeper.settle(job, reuse(known), sha256=sha256, info=info)
                return None
            async with self._ceilings.decode_memory.hold(memory):
                prepared = await self._in_thread(self._pictures.prepare, data)
        except ImageError as error:
            await self._bookkeeper.settle(job, _refuse(job, error), sha256=sha256, info=None)
            return None
        return Picture(sha256=sha256, prepared=prepared, version=job.image.version)

    def _identify(self, data: bytes) -> tuple[bytes, int, ImageInfo | ImageError]:
        """Hash, memory need and header in one visit to a thread; a broken file has a hash too."""
        sha256 = hashlib.sha256(data).digest()
        try:
            return sha256, self._pictures.estimate_memory(data), self._pictures.inspect(data)
        except ImageError as error:
            return sha256, 0, error

    async def _ask_once(self, job: ClaimedJob, picture: Picture) -> None:
        """Ask, unless the same picture is being asked about or was answered already."""
        key = self._request_key(picture)
        while (other := self._under_way.get(key)) is not None:
            await other.ended.wait()
            if isinstance(other.outcome, Failed | Deferred):
                await self._bookkeeper.settle_picture(job, picture, _follow(other.outcome))
                return
        mine = self._under_way[key] = _Asking()
        try:
            async with self._slots:
                if self._is_stopped:
                    return
                mine.outcome = await self._bring_to_end(job, picture, key)
        finally:
            del self._under_way[key]
            mine.ended.set()

    async def _bring_to_end(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | None:
        """Ask, or have it asked in a batch: None where its outcome comes later, or never."""
        if self._lane.takes_more:
            entry = await self._lane.add(job, picture, key)
            if not isinstance(entry, Entry):
                return entry
            if entry is Entry.PACKED:
                return None
        if self._is_stopped or self._lane.is_closed:
            return None
        return await self._asker.bring_to_end(job, picture, key)

    def _request_key(self, picture: Picture) -> bytes:
        """Same picture, same question: same key."""
        first = self._routes.first
        parts = [picture.prepared.fingerprint, first.question.fingerprint.encode()]
        if first.provider.reads_metadata:
            parts.append(repr(picture.prepared.info).encode())
        return hashlib.sha256(b"\0".join(parts)).digest()

    async def _in_thread(self, function: Callable[[bytes], T], argument: bytes) -> T:
        return await anyio.to_thread.run_sync(function, argument, limiter=self._threads)


def _refuse(job: ClaimedJob, error: ImageError) -> Outcome:
    extension = PurePosixPath(job.image.uri).suffix.lower().removeprefix(".")
    is_stray = error.cause is Cause.NOT_AN_IMAGE and extension not in IMAGE_EXTENSIONS
    if error.cause is Cause.TOO_SMALL or is_stray:
        # a LICENSE beside the pictures is no failure; a text named .jpg is
        return Skipped(cause=error.cause, message=str(error))
    return Failed(cause=error.cause, message=str(error))


def _follow(leader: Failed | Deferred) -> Outcome:
    """What becomes of a copy when the one that was asked about had no answer."""
    if isinstance(leader, Failed):
        return Failed(cause=leader.cause, message=f"{leader.message} (a copy was asked about)")
    return replace(leader, spend=None, counts=False, may_be_billed=False)
