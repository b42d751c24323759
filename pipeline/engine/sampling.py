"""A run that asks about a sample only: all is listed first, then it is drawn."""

import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from pipeline.domain.jobs import JobId
from pipeline.engine.pilot import Census, Draw, Stratum, allocate, stratify
from pipeline.engine.producer import Place, Producer
from pipeline.engine.progress import Tally
from pipeline.engine.stages import Clock
from pipeline.ledger.candidates import Candidates
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.reading import LedgerReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was drawn, and from what."""

    waiting: Mapping[Stratum, int]
    """Images that waited, by stratum, the drawn ones included."""
    drawn: Mapping[JobId, Stratum]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentBefore:
    """What an image had used before this run: what is on record are sums."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nanos: int
    is_unpriced: bool
    """Some of it had no known price."""


@dataclass(slots=True, kw_only=True)
class Pilot:
    """How large a sample is wanted; what was drawn stands here once it was."""

    count: int
    seed: int = 0
    sample: Sample | None = None
    before: Mapping[JobId, SpentBefore] = field(default_factory=dict)
    drawn_at: float = 0.0
    """Seconds of a monotonic clock: what is asked is asked from then on."""
    asked_seconds: float = 0.0
    """How long the sample was asked about, once the run is over."""


async def draw_sample(
    candidates: Candidates, roots: Sequence[str], *, count: int, seed: int
) -> Sample:
    """Draw up to ``count`` images.

    Args:
        candidates: what is drawn from; it is gone through twice.
        roots: what uris start with, up to what tells folders apart.
        count: how many to draw.
        seed: another one draws others.
    """
    census = Census(count)
    async for rows in candidates.stream():
        for row in rows:
            census.add(stratify(find_path(row.uri, roots), row.size))
    draw = Draw(allocate(census.counts, count), seed=seed)
    async for rows in candidates.stream():
        for row in rows:
            path = find_path(row.uri, roots)
            draw.add(census.place(stratify(path, row.size)), row.id, path=path, uri=row.uri)
    drawn = draw.finish()
    _log.info("pilot.drawn", extra={"waiting": census.counts.total(), "drawn": len(drawn)})
    return Sample(waiting=dict(census.counts), drawn=drawn)


def list_roots(places: Sequence[Place]) -> list[str]:
    """What uris of these places start with; of several places each is a folder by itself."""
    prefixes = [prefix for place in places for prefix in place.scope.prefixes]
    if len(places) == 1 and not places[0].scope.is_single:
        return prefixes
    return [prefix.rstrip("/").rpartition("/")[0] + "/" for prefix in prefixes]


def find_path(uri: str, roots: Sequence[str]) -> str:
    """What comes after the first of the roots that a uri starts with."""
    for root in roots:
        if uri.startswith(root):
            return uri[len(root) :]
    return uri


class Sampler:
    """A producer that lets nothing be asked before all is listed, and then only the sample."""

    def __init__(
        self,
        pilot: Pilot,
        producer: Producer,
        *,
        candidates: Candidates,
        queue: JobQueue,
        reader: LedgerReader,
    ) -> None:
        self._pilot = pilot
        self._producer = producer
        self._candidates = candidates
        self._queue = queue
        self._reader = reader
        queue.narrow(())

    async def produce(
        self,
        places: Sequence[Place],
        tally: Tally,
        clock: Clock,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        """Scan all places, draw, and open the queue for what was drawn."""
        await self._producer.list(places, tally, clock)
        pilot = self._pilot
        sample = await draw_sample(
            self._candidates, list_roots(places), count=pilot.count, seed=pilot.seed
        )
        pilot.before = await _read_spent(self._reader, sample.drawn.keys())
        pilot.sample, pilot.drawn_at = sample, clock.monotonic()
        self._queue.narrow(sample.drawn)
        tally.is_scanning = False
        on_work()


async def _read_spent(reader: LedgerReader, ids: AbstractSet[JobId]) -> Mapping[JobId, SpentBefore]:
    return {
        JobId(row.job_id): SpentBefore(
            input_tokens=row.input_tokens,
            cached_tokens=row.cached_tokens,
            output_tokens=row.output_tokens,
            cost_nanos=row.cost_nanos,
            is_unpriced=bool(row.is_unpriced),
        )
        async for rows in reader.stream_jobs(list(ids))
        for row in rows
    }
