"""What a pilot found: each image of the sample, and what the rest will come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from pipeline.costs.lanes import compare_lanes
from pipeline.costs.models import ModelSpec
from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import JobId, JobState, ReviewState
from pipeline.domain.outcomes import Cause
from pipeline.domain.usage import TokenUsage
from pipeline.engine.export import make_record
from pipeline.engine.pilot import Stratum
from pipeline.engine.projection import Interval, Measured, Projection, project
from pipeline.engine.sampling import Pilot, Sample, SpentBefore
from pipeline.exporters.record import Record
from pipeline.ledger.reading import LedgerReader

_ENDED: Final = (JobState.DONE, JobState.FAILED, JobState.SKIPPED)
_REFUSALS: Final = (Cause.REFUSED, Cause.CONTENT_FILTER)
_NOTHING: Final = SpentBefore(
    input_tokens=0, cached_tokens=0, output_tokens=0, cost_nanos=0, is_unpriced=False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledImage:
    """One image of the sample, brought to an end."""

    image: ImageRef
    record: Record
    measured: Measured
    """What it took in this run alone; the record has all it ever took."""
    usage: TokenUsage
    is_unpriced: bool
    """In this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumFinding:
    """One stratum in figures."""

    stratum: Stratum
    waiting: int
    """Images that waited before, the sampled ones included."""
    sampled: int
    failed: int
    cost_nanos: int
    """Of the sampled ones together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a pilot found."""

    images: tuple[SampledImage, ...]
    """Those brought to an end."""
    drawn: int
    """A paused or interrupted run brings fewer to an end than it drew."""
    strata: tuple[StratumFinding, ...]
    projection: Projection
    has_price: bool
    """False when a model without a known price answered: then nobody knows what anything costs."""
    lanes: Mapping[str, Interval]
    """Nano-dollars of the rest by lane, the one that was used first; empty without a price."""
    seconds: float | None
    """That the rest takes at the pilot's pace; None when nothing was brought to an end."""

    @property
    def cost_nanos(self) -> int:
        """Of the sampled images together."""
        return sum(one.measured.cost_nanos for one in self.images)


async def read_findings(
    reader: LedgerReader, pilot: Pilot, sample: Sample, *, spec: ModelSpec | None, tier: str
) -> Findings:
    """Read what became of the sample and project the rest.

    Args:
        reader: of the ledger that the pilot ran on.
        pilot: of a run that is over.
        sample: what it drew.
        spec: the model that was asked; None for one without a row in the table.
        tier: the lane that was asked for.
    """
    images = [
        _measure(row, sample.drawn[row.job_id], pilot.before.get(row.job_id, _NOTHING))
        async for rows in reader.stream_jobs(list(sample.drawn))
        for row in rows
        if row.state in _ENDED
    ]
    places = {job: place for place, job in enumerate(sample.drawn)}
    ordered = [one for _, one in sorted(images, key=lambda pair: places[pair[0]])]
    return summarise(ordered, sample, spec=spec, tier=tier, asked_seconds=pilot.asked_seconds)


def _measure(row: Any, stratum: Stratum, before: SpentBefore) -> tuple[JobId, SampledImage]:
    usage = TokenUsage(
        input=row.input_tokens - before.input_tokens,
        cached=row.cached_tokens - before.cached_tokens,
        output=row.output_tokens - before.output_tokens,
    )
    measured = Measured(
        stratum=stratum,
        cost_nanos=row.cost_nanos - before.cost_nanos,
        input_tokens=usage.input,
        output_tokens=usage.output,
        is_failed=row.state != JobState.DONE,
        is_refused=row.state != JobState.DONE and row.cause in _REFUSALS,
        needs_review=row.review == ReviewState.NEEDS_REVIEW,
    )
    return row.job_id, SampledImage(
        image=ImageRef(uri=row.uri, size=row.size, version=row.version),
        record=make_record(row),
        measured=measured,
        usage=usage,
        is_unpriced=bool(row.is_unpriced) and not _was_unpriced(before, measured),
    )


def _was_unpriced(before: SpentBefore, measured: Measured) -> bool:
    """Whether what has no price was asked before; what this run used and has no cost was not."""
    is_used = measured.input_tokens or measured.output_tokens
    return before.is_unpriced and bool(measured.cost_nanos or not is_used)


def summarise(
    images: Sequence[SampledImage],
    sample: Sample,
    *,
    spec: ModelSpec | None,
    tier: str,
    asked_seconds: float,
) -> Findings:
    """What these images say of all that waited."""
    measured = [one.measured for one in images]
    projection = project(measured, sample.waiting)
    has_price = not any(one.is_unpriced for one in images)
    factors = compare_lanes(spec, (one.usage for one in images), tier) if has_price else {}
    return Findings(
        images=tuple(images),
        drawn=len(sample.drawn),
        strata=_describe_strata(measured, sample),
        projection=projection,
        has_price=has_price,
        lanes=_price_lanes(projection.cost_nanos, factors),
        seconds=projection.images * asked_seconds / len(images) if images else None,
    )


def _price_lanes(cost: Interval, factors: Mapping[str, Fraction]) -> dict[str, Interval]:
    return {lane: cost.scale(float(factor)) for lane, factor in factors.items()}


def _describe_strata(measured: Sequence[Measured], sample: Sample) -> tuple[StratumFinding, ...]:
    sampled = Counter(one.stratum for one in measured)
    failed = Counter(one.stratum for one in measured if one.is_failed)
    costs: Counter[Stratum] = Counter()
    for one in measured:
        costs[one.stratum] += one.cost_nanos
    return tuple(
        StratumFinding(
            stratum=stratum,
            waiting=waiting,
            sampled=sampled[stratum],
            failed=failed[stratum],
            cost_nanos=costs[stratum],
        )
        for stratum, waiting in sorted(sample.waiting.items())
    )
