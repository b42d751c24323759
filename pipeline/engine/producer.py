"""Scans the sources into the ledger: new, changed, moved, gone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.domain.jobs import RunId
from pipeline.engine.progress import Tally
from pipeline.engine.stages import Clock
from pipeline.ledger.catalogue import Assignment, Catalogue, Scope, SeenImages
from pipeline.ledger.jobs import JobQueue
from pipeline.sources.base import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A source and the part of the ledger that it fills."""

    source: Source
    scopes: tuple[Scope, ...]
    """The library it is listed into, then any libraries that lie inside it."""

    @property
    def scope(self) -> Scope:
        return self.scopes[0]


class Producer:
    """Lists every place and gives each image that needs one a job."""

    def __init__(
        self, catalogue: Catalogue, queue: JobQueue, assignment: Assignment, run: RunId
    ) -> None:
        self._catalogue = catalogue
        self._queue = queue
        self._assignment = assignment
        self._run = run

    async def produce(
        self,
        places: Sequence[Place],
        tally: Tally,
        clock: Clock,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        """Scan all places; ``on_work`` is called whenever there may be something to claim."""
        await self.list(places, tally, clock, on_work)
        tally.is_scanning = False
        on_work()

    async def list(
        self,
        places: Sequence[Place],
        tally: Tally,
        clock: Clock,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        """The same, but that the tally's scan goes on: its end is the caller's to tell."""
        for place in places:
            # first: what failed under an older version of the profile is no less wanted
            await self._queue.put_back_failed(place.scope, self._assignment)
            tally.stale += await self._queue.mark_stale(place.scope, self._assignment)
            on_work()
        now_ms = clock.now_ms()
        for place in places:
            await self._scan(place, tally, now_ms, on_work)
        if tally.gone:
            tally.moved = await self._catalogue.match_moved(self._run, now_ms=now_ms)
        _log.info("scan.finished", extra={"seen": tally.seen, "gone": tally.gone})

    async def _scan(
        self, place: Place, tally: Tally, now_ms: int, on_work: Callable[[], None]
    ) -> None:
        seen = SeenImages()
        async for refs in place.source.scan():
            counts, ids = await self._catalogue.record(
                refs, place.scopes, assignment=self._assignment, run=self._run
            )
            for image_id in ids:
                seen.add(image_id)
            tally.seen += len(refs)
            tally.findings.update({kind.value: count for kind, count in counts.items()})
            on_work()
        unlistable = place.source.unlistable_prefixes
        if unlistable:
            tally.warnings.append(f"could not look into {unlistable[0]}: nothing below it is gone")
        if not seen.bits and await self._catalogue.has_images(place.scope):
            # an unmounted disk looks like this; tombstones for a whole library do not come cheap
            tally.warnings.append(
                f"{place.source.root} has no images any more: is it mounted? Nothing is marked gone"
            )
            return
        tally.gone += await self._catalogue.mark_gone(
            place.scope, seen, unlistable=unlistable, now_ms=now_ms
        )
