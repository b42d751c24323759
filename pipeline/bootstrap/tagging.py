"""Builds a run: provider, places, stages, pool; all closed again in reverse order."""

import gc
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import anyio

from pipeline.bootstrap.batches import build_lane, build_timekeeper, open_desk, review_of
from pipeline.bootstrap.clock import open_clock
from pipeline.bootstrap.estimating import find_history
from pipeline.bootstrap.ledger import Ledger
from pipeline.bootstrap.listing import assign, find_candidates, open_place
from pipeline.bootstrap.plan import Plan
from pipeline.bootstrap.routes import open_routes
from pipeline.config.settings import ExportSettings
from pipeline.costs.habits import find_habits
from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import JobState, RunId
from pipeline.domain.usage import NanoDollars, from_usd
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.export import ExportOrder
from pipeline.engine.pacing import Pacing
from pipeline.engine.pool import Pool, PoolPlan, Producing
from pipeline.engine.producer import Place, Producer
from pipeline.engine.progress import Tally
from pipeline.engine.retry import RetryPolicy
from pipeline.engine.routes import Routes
from pipeline.engine.sampling import Pilot, Sampler
from pipeline.engine.stages import Asking, Ceilings, Clock, Pictures, Stages
from pipeline.engine.step import ROOM_FACTOR
from pipeline.engine.tagging import Tagging
from pipeline.engine.worker import Worker
from pipeline.ledger.batches import BatchBook
from pipeline.ledger.caps import Caps
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.pacing import Pacers
from pipeline.ledger.selection import EVERYTHING, Selection
from pipeline.ledger.settling import Settler
from pipeline.ledger.spool import Spool, find_spool_folder
from pipeline.limits.budget import Budget
from pipeline.limits.memory import ByteBudget
from pipeline.preprocess.header import read_info
from pipeline.preprocess.memory import tune_allocators
from pipeline.preprocess.prepare import estimate_memory, prepare_image
from pipeline.providers.base import BatchDesk, Provider
from pipeline.tagging.normalize import flat_tags, says_nothing
from pipeline.tagging.parse import AnswerReader

# What a settled answer takes in the spool: its frame, and its text at eight bytes a token.
_SPOOLED_BYTES = 2_000
_TOKEN_BYTES = 8


@asynccontextmanager
async def open_tagging(  # noqa: PLR0913  all that a caller may choose
    plan: Plan,
    ledger: Ledger,
    roots: Sequence[Path],
    *,
    environ: Mapping[str, str],
    limit: int | None = None,
    selection: Selection = EVERYTHING,
    pilot: Pilot | None = None,
    provider: Provider | None = None,
) -> AsyncIterator[Tagging]:
    """Open a run over ``roots``; nothing is sent before ``Tagging.run``.

    It asks only about images that meet the ``selection``; with a ``pilot``, only about a sample
    of them, which stands there afterwards.

    A ``provider`` of the caller's own takes the place of the one that the settings name.

    Raises:
        ConfigurationError: no root, or the provider's settings are off.
    """
    tune_allocators()
    plan = await _learn(plan, ledger)
    ceilings = _make_ceilings(plan)
    async with (
        open_routes(
            plan,
            environ=environ,
            monotonic=time.monotonic,
            threads=ceilings.threads,
            provider=provider,
        ) as routes,
        open_desk(plan, ledger, environ=environ, is_given=provider is not None) as desk,
    ):
        begun = await _begin(plan, ledger, roots, selection, pilot=pilot)
        tagging = _assemble(plan, ledger, begun, routes, ceilings, limit, desk)
        # What is loaded by now stays: a full collection of it would stop the loop for 40 ms.
        gc.freeze()
        yield tagging


async def _learn(plan: Plan, ledger: Ledger) -> Plan:
    """The plan with what earlier answers teach about the next ones."""
    if plan.is_local:
        return plan
    history = await find_history(plan, ledger)
    record = await history.read_record(plan.question.model)
    habits = find_habits(plan.question, record, reasons=False)
    return replace(plan, expected_output=habits.output.expected) if record else plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A run that is on record."""

    run: RunId
    assignment: Assignment
    selection: Selection
    places: Sequence[Place]
    clock: Clock
    pilot: Pilot | None


async def _begin(
    plan: Plan,
    ledger: Ledger,
    roots: Sequence[Path],
    selection: Selection,
    *,
    pilot: Pilot | None,
) -> _Begun:
    clock = await open_clock(ledger.database)
    assignment = await assign(plan, ledger, clock)
    places = [await open_place(root, plan.settings, ledger) for root in roots]
    run = await ledger.runs.open("tag", assignment, now_ms=clock.now_ms())
    return _Begun(
        run=run,
        assignment=assignment,
        selection=selection,
        places=places,
        clock=clock,
        pilot=pilot,
    )


def _assemble(  # noqa: PLR0913, PLR0917  every part of a run meets here
    plan: Plan,
    ledger: Ledger,
    begun: _Begun,
    routes: Routes,
    ceilings: Ceilings,
    limit: int | None,
    desk: BatchDesk | None,
) -> Tagging:
    tally = Tally()
    spool = _make_spool(plan, ledger, begun.run, ceilings)
    provider = routes.first.provider.name
    settler = _make_settler(plan, ledger, begun, provider=provider, spool=spool)
    stages = Stages(
        pictures=_make_pictures(plan, begun.places),
        asking=_make_asking(plan, routes),
        ceilings=ceilings,
        settler=settler,
        clock=begun.clock,
    )
    queue = JobQueue(ledger.database, begun.run, begun.selection)
    bookkeeper = Bookkeeper(stages, tally)
    lane = build_lane(
        plan, BatchBook(ledger.database, begun.run), desk, assignment=begun.assignment,
        routes=routes, stages=stages, bookkeeper=bookkeeper, tally=tally,
    )  # fmt: skip
    pool = Pool(
        _make_pool_plan(plan, begun, ceilings, limit),
        producer=_make_producer(ledger, begun, queue),
        queue=queue,
        worker=Worker(stages, tally, bookkeeper, lane),
        settler=settler,
        pacing=Pacing(Pacers(ledger.database, begun.run), routes.all, begun.clock, tally),
        lane=lane,
        timekeeper=build_timekeeper(plan, lane, routes, clock=begun.clock, tally=tally),
        runs=ledger.runs,
        clock=begun.clock,
        tally=tally,
    )
    return Tagging(
        begun.run,
        pool=pool,
        tally=tally,
        reader=ledger.reader,
        runs=ledger.runs,
        clock=begun.clock,
        scopes=[place.scope for place in begun.places],
        profile=plan.profile.name,
        orders=[make_order(wanted, plan.profile.name) for wanted in plan.settings.exports],
    )


def _make_producer(ledger: Ledger, begun: _Begun, queue: JobQueue) -> Producing:
    producer = Producer(ledger.catalogue, queue, begun.assignment, begun.run)
    if begun.pilot is None:
        return producer
    candidates = find_candidates(
        ledger, begun.places, begun.assignment, begun.selection, is_begun=True
    )
    return Sampler(begun.pilot, producer, candidates=candidates, queue=queue, reader=ledger.reader)


def _make_settler(
    plan: Plan, ledger: Ledger, begun: _Begun, *, provider: str, spool: Spool
) -> Settler:
    limits = plan.settings.limits
    return Settler(
        ledger.database,
        begun.run,
        begun.assignment,
        provider=provider,
        caps=Caps(
            day_nanos=_to_nanos(limits.budget_day_usd),
            month_nanos=_to_nanos(limits.budget_month_usd),
        ),
        linger_seconds=plan.settings.ledger.group_ms / 1000,
        spool=spool,
    )


def _make_spool(plan: Plan, ledger: Ledger, run: RunId, ceilings: Ceilings) -> Spool:
    folder = plan.settings.ledger.spool or find_spool_folder(ledger.database.url)
    factor = ROOM_FACTOR if plan.profile.more_room else 1
    answer_bytes = _SPOOLED_BYTES + _TOKEN_BYTES * plan.question.max_output_tokens * factor
    return Spool(folder, run, reserved_bytes=_count_workers(ceilings) * answer_bytes)


def _make_pool_plan(plan: Plan, begun: _Begun, ceilings: Ceilings, limit: int | None) -> PoolPlan:
    return PoolPlan(
        run=begun.run,
        assignment=begun.assignment,
        places=begun.places,
        workers=_count_workers(ceilings),
        beat_seconds=plan.settings.ledger.lease_s / 4,
        limit=limit,
    )


def _count_workers(ceilings: Ceilings) -> int:
    """As many as may be asked at once, and those that are prepared or settled meanwhile."""
    at_once = ceilings.max_concurrency
    return at_once + max(2 * int(ceilings.threads.total_tokens), at_once // 2)


def make_order(wanted: ExportSettings, profile: str | None) -> ExportOrder:
    """One configured export as an order."""
    return ExportOrder(
        format=wanted.format,
        path=wanted.path,
        states=tuple(JobState(state) for state in wanted.status),
        profile=profile,
    )


def _make_ceilings(plan: Plan) -> Ceilings:
    settings, limits = plan.settings, plan.settings.limits
    needs_price = plan.has_budget and not limits.allow_unpriced
    half = limits.memory_mb * 1_000_000 // 2
    return Ceilings(
        budget=Budget(_to_nanos(limits.budget_usd), needs_price=needs_price),
        file_memory=ByteBudget(half),
        decode_memory=ByteBudget(half),
        threads=anyio.CapacityLimiter(settings.preprocess.threads or _count_cores()),
        max_concurrency=limits.max_concurrency,
    )


def _to_nanos(usd: Decimal | None) -> NanoDollars | None:
    return None if usd is None else from_usd(usd)


def _count_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _make_pictures(plan: Plan, places: Sequence[Place]) -> Pictures:
    async def read(image: ImageRef) -> bytes:
        source = next(place.source for place in places if place.scope.covers(image.uri))
        return await source.read(image, max_bytes=plan.options.max_bytes)

    return Pictures(
        read=read,
        inspect=read_info,
        prepare=partial(prepare_image, options=plan.options),
        estimate_memory=partial(estimate_memory, options=plan.options),
    )


def _make_asking(plan: Plan, routes: Routes) -> Asking:
    limits, profile = plan.settings.limits, plan.profile
    is_partial = routes.first.provider.is_partial
    return Asking(
        routes=routes,
        reader=AnswerReader(profile, allow_empty=is_partial),
        flat_tags=partial(flat_tags, profile),
        says_nothing=partial(says_nothing, profile),
        review_of=partial(review_of, profile.review_below),
        policy=RetryPolicy(
            max_attempts=limits.max_attempts,
            base_seconds=limits.retry_base_s,
            cap_seconds=limits.retry_cap_s,
            deadline_seconds=limits.retry_for_s,
            may_repair=profile.repair,
            may_have_more_room=profile.more_room,
        ),
        requires_model=plan.settings.provider.require_model == "exact",
    )
