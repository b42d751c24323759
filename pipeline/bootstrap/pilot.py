"""What a pilot found becomes a page: figures into words, pictures into thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from pipeline.bootstrap.clock import open_clock
from pipeline.bootstrap.ledger import Ledger
from pipeline.bootstrap.listing import assign, find_candidates, open_place
from pipeline.bootstrap.plan import Plan
from pipeline.domain.errors import EnvironmentFault, ImageError
from pipeline.domain.jobs import ReviewState
from pipeline.domain.outcomes import CAUSE_HELP, Cause
from pipeline.engine.findings import Findings, SampledImage, StratumFinding
from pipeline.engine.pilot import Stratum
from pipeline.engine.producer import Place
from pipeline.engine.projection import Interval
from pipeline.engine.sampling import Sample, draw_sample, find_path, list_roots
from pipeline.exporters.whole_file import WholeFile
from pipeline.ledger.selection import Selection
from pipeline.pages.figures import write_count, write_duration, write_share, write_usd
from pipeline.pages.pilot import Card, Figure, LanePrice, PilotPage, StratumRow, render_pilot
from pipeline.pages.thumbnail import make_thumbnail

_MOST_THUMBNAILS: Final = 500
"""A page of 8 MB; what a browser still shows at once."""
_PROBE: Final = (4_000, 3_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the page says beside the findings."""

    command: str
    """What goes on with the rest."""
    seed: int


async def preview_sample(
    plan: Plan,
    ledger: Ledger,
    roots: Sequence[Path],
    selection: Selection,
    *,
    count: int,
    seed: int,
) -> Sample:
    """What a pilot would draw from what is listed; nothing is changed."""
    assignment = await assign(plan, ledger, await open_clock(ledger.database))
    places = [await open_place(root, plan.settings, ledger) for root in roots]
    candidates = find_candidates(ledger, places, assignment, selection, is_begun=False)
    return await draw_sample(candidates, list_roots(places), count=count, seed=seed)


async def write_pilot_page(
    plan: Plan,
    ledger: Ledger,
    roots: Sequence[Path],
    findings: Findings,
    *,
    draft: Draft,
    path: Path,
) -> None:
    """Write the page, whole or not at all.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    places = [await open_place(root, plan.settings, ledger) for root in roots]
    ordered = sorted(findings.images, key=lambda one: not _is_odd(one))
    thumbnails = await _make_thumbnails(plan, places, ordered[:_MOST_THUMBNAILS])
    lacking: list[bytes | None] = [None] * (len(ordered) - len(thumbnails))
    prefixes = list_roots(places)
    cards = [
        _make_card(one, thumbnail, prefixes)
        for one, thumbnail in zip(ordered, [*thumbnails, *lacking], strict=True)
    ]
    page = _make_page(plan, findings, cards, draft)
    await anyio.to_thread.run_sync(_write, page, path)


def _write(page: PilotPage, path: Path) -> None:
    with WholeFile(path) as file:
        file.write(render_pilot(page).encode())


def _is_odd(one: SampledImage) -> bool:
    return one.measured.is_failed or one.measured.needs_review


async def _make_thumbnails(
    plan: Plan, places: Sequence[Place], images: Sequence[SampledImage]
) -> list[bytes | None]:
    """Of each image, in order; None where the file is none any more, or never was a picture."""
    found: list[bytes | None] = [None] * len(images)
    threads = anyio.CapacityLimiter(plan.settings.preprocess.threads or 2)
    options = plan.options
    make = partial(make_thumbnail, max_bytes=options.max_bytes, max_pixels=options.max_pixels)

    async def fill(number: int) -> None:
        image = images[number].image
        source = next(place.source for place in places if place.scope.covers(image.uri))
        async with one_more:
            try:
                data = await source.read(image, max_bytes=options.max_bytes)
            except (ImageError, EnvironmentFault):
                return  # a page without this picture says more than none
            found[number] = await anyio.to_thread.run_sync(make, data, limiter=threads)

    one_more = anyio.Semaphore(int(threads.total_tokens))
    async with anyio.create_task_group() as group:
        for number in range(len(images)):
            group.start_soon(fill, number)
    return found


def _make_card(one: SampledImage, thumbnail: bytes | None, roots: Sequence[str]) -> Card:
    record, measured = one.record, one.measured
    return Card(
        name=find_path(record.uri, roots),
        uri=record.uri,
        stratum=name_stratum(measured.stratum),
        state=record.status,
        thumbnail=thumbnail,
        fields=record.fields,
        confidence=record.confidence,
        needs_review=measured.needs_review,
        review=record.review if record.review != ReviewState.NEEDS_REVIEW else "none",
        tokens=_describe_tokens(measured.input_tokens, measured.output_tokens),
        cost=_describe_cost(one),
        cause=record.cause,
        meaning=CAUSE_HELP[Cause(record.cause)] if record.cause else "",
        message=record.message or "",
    )


def _describe_tokens(read: int, written: int) -> str:
    return f"{read:,} tokens in, {written:,} out" if read or written else "no tokens"


def _describe_cost(one: SampledImage) -> str:
    if one.is_unpriced:
        return "price unknown"
    return write_usd(one.measured.cost_nanos) if one.measured.cost_nanos else "free"


def name_stratum(stratum: Stratum) -> str:
    """A stratum for people: ``shoes/red, 64 to 256 kB, jpg``."""
    folder = {"": "", ".": "top folder"}.get(stratum.folder, stratum.folder)
    parts = [part for part in (folder, stratum.size, stratum.extension) if part]
    return ", ".join(parts) or "all images"


def _make_page(plan: Plan, findings: Findings, cards: Sequence[Card], draft: Draft) -> PilotPage:
    waiting = findings.projection.images
    return PilotPage(
        title=f"Pilot of {plan.profile.name} with {plan.question.model}",
        lead=(
            f"{len(findings.images):,} images were asked about, drawn from "
            f"{waiting + len(findings.images):,} that waited. {waiting:,} still wait. "
            "The answers here are kept: they are not asked for, nor paid for, again."
        ),
        command=draft.command,
        figures=_list_figures(findings),
        lanes=_list_lanes(findings),
        shares=_list_shares(findings),
        asked=_list_asked(plan, draft),
        strata=[_make_row(one, has_price=findings.has_price) for one in findings.strata],
        notes=_list_notes(findings),
        cards=cards,
    )


def _list_figures(findings: Findings) -> list[Figure]:
    count, cost = len(findings.images), findings.projection.cost_nanos
    per_image = findings.cost_nanos / count if count else None
    if not count:
        price = [Figure(name="The rest", figure="unknown", remark="no image has its answer")]
    elif not findings.has_price:
        price = [Figure(name="The rest", figure="unknown", remark="the model has no known price")]
    else:
        price = [
            Figure(name="This pilot", figure=write_usd(findings.cost_nanos)),
            Figure(name="Per image of it", figure=write_usd(per_image)),
            Figure(
                name="The rest, probably",
                figure=write_usd(cost.expected),
                remark=_describe_range(cost),
            ),
        ]
    pace = Figure(
        name="At this pace",
        figure=write_duration(findings.seconds),
        remark="for the rest; a longer run is seldom slower",
    )
    return [Figure(name="Images asked", figure=f"{count:,}"), *price, pace]


def _describe_range(cost: Interval) -> str:
    if cost.low is None:
        return "one image alone tells no range"
    return f"{write_usd(cost.low)} to {write_usd(cost.high)}, with 95 %"


def _list_lanes(findings: Findings) -> list[LanePrice]:
    used = next(iter(findings.lanes), None)
    return [
        LanePrice(
            lane=lane,
            low=write_usd(cost.low),
            expected=write_usd(cost.expected),
            high=write_usd(cost.high),
            remark="asked here" if lane == used else "by its price list",
        )
        for lane, cost in findings.lanes.items()
    ]


def _list_shares(findings: Findings) -> list[Figure]:
    if not findings.images:
        return []
    projection, rest = findings.projection, max(findings.projection.images, 1)
    shares = (
        ("free", projection.free, "copies, and files that cannot be read"),
        ("failed", projection.failed, ""),
        ("refused", projection.refused, ""),
        ("to review", projection.needs_review, ""),
    )
    tokens = (("tokens in", projection.input_tokens), ("tokens out", projection.output_tokens))
    return [
        *(
            Figure(name=name, figure=_write_shares(share), remark=remark)
            for name, share, remark in shares
        ),
        *(
            Figure(
                name=name,
                figure=write_count(total.expected),
                remark=f"{total.expected / rest:,.0f} an image",
            )
            for name, total in tokens
        ),
    ]


def _write_shares(share: Interval) -> str:
    if share.low is None:
        return "unknown"
    return f"{write_share(share.expected)} ({write_share(share.low)} to {write_share(share.high)})"


def _list_asked(plan: Plan, draft: Draft) -> list[Figure]:
    width, height = plan.options.fit(*_PROBE)
    tier = plan.settings.provider.service_tier.value
    return [
        Figure(name="profile", figure=plan.profile.name),
        Figure(name="model", figure=plan.question.model),
        Figure(name="lane", figure="none" if plan.is_local else tier),
        Figure(name="detail", figure=plan.profile.detail.value),
        Figure(name="size sent", figure=f"{width:,} x {height:,}", remark="of 4,000 x 3,000"),
        Figure(name="most tokens out", figure=f"{plan.question.max_output_tokens:,}"),
        Figure(name="seed", figure=str(draft.seed)),
    ]


def _make_row(one: StratumFinding, *, has_price: bool) -> StratumRow:
    per_image = one.cost_nanos / one.sampled if one.sampled else None
    return StratumRow(
        name=name_stratum(one.stratum),
        waiting=f"{one.waiting:,}",
        sampled=f"{one.sampled:,}",
        failed=f"{one.failed:,}",
        per_image=write_usd(per_image if has_price else None),
    )


def _list_notes(findings: Findings) -> list[str]:
    notes = []
    if len(findings.images) < findings.drawn:
        notes.append(
            f"{findings.drawn - len(findings.images):,} images of the sample have no answer yet: "
            "the run ended before. The figures rest on the others."
        )
    if len(findings.images) > _MOST_THUMBNAILS:
        notes.append(f"Only the first {_MOST_THUMBNAILS:,} pictures are shown.")
    if findings.has_price and findings.cost_nanos:
        notes.append(
            "The range is for a rest that is like the sample. Copies cost nothing, and a small "
            "sample meets few of them: the rest may cost less."
        )
    return notes


def require_writable(path: Path) -> None:
    """Make sure, before anything is paid, that the page has a place.

    Raises:
        EnvironmentFault: it has none.
    """
    if path.is_dir():
        raise EnvironmentFault(f"cannot write {path}: it is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"cannot make {path.parent}: {error.strerror}") from error
