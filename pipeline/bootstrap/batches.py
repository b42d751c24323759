"""Builds the batch lane of a run, and what keeps its deadline."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

import orjson

from pipeline.bootstrap.ledger import Ledger
from pipeline.bootstrap.plan import Plan
from pipeline.config.profiles import Profile
from pipeline.costs.estimate import count_picture_tokens
from pipeline.costs.pricing import RunPricing
from pipeline.domain.jobs import ReviewState
from pipeline.domain.vision import ServiceTier
from pipeline.engine.batch.base import Lane, NoLane
from pipeline.engine.batch.lane import BatchLane
from pipeline.engine.batch.punctual import Course, NoHurry, Punctuality, Timekeeper
from pipeline.engine.batch.route import BatchBounds, BatchReading, BatchRoute
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.progress import Tally
from pipeline.engine.routes import Routes
from pipeline.engine.stages import Clock, Stages
from pipeline.ledger.batches import BatchBook, list_live
from pipeline.ledger.catalogue import Assignment
from pipeline.limits.enqueued import EnqueuedTokens
from pipeline.limits.finish import FinishBy, guess_pace, read_finish_by
from pipeline.providers.base import BatchDesk
from pipeline.tagging.normalize import flat_tags
from pipeline.tagging.parse import AnswerReader

_USUAL_SIZE: Final = (1024, 1024)


@asynccontextmanager
async def open_desk(
    plan: Plan, ledger: Ledger, *, environ: Mapping[str, str], is_given: bool
) -> AsyncIterator[BatchDesk | None]:
    """The batch desk of the run's server; None where no batch is to be sent or collected.

    ``is_given`` says that a provider of the caller's own answers: it has no desk.

    Raises:
        ConfigurationError: the server or the key cannot be used.
    """
    is_needed = plan.asks_by_batch or await list_live(ledger.database)
    if plan.is_local or is_given or not is_needed:
        yield None
        return
    # aiohttp is slow to import; a run without batches needs none of it
    from pipeline.providers.openai_batch import open_batch_desk

    async with open_batch_desk(plan.settings.provider, environ) as desk:
        yield desk


def build_lane(  # noqa: PLR0913  the parts of a lane, wired once
    plan: Plan,
    book: BatchBook,
    desk: BatchDesk | None,
    *,
    assignment: Assignment,
    routes: Routes,
    stages: Stages,
    bookkeeper: Bookkeeper,
    tally: Tally,
) -> Lane:
    """The lane of a run; one that does nothing where there is no desk."""
    if desk is None:
        return NoLane()
    return BatchLane(
        _make_route(plan, desk, book, routes, assignment),
        book=book,
        stages=stages,
        bookkeeper=bookkeeper,
        tally=tally,
        fills=plan.asks_by_batch,
    )


def _make_route(  # noqa: PLR0917  same
    plan: Plan, desk: BatchDesk, book: BatchBook, routes: Routes, assignment: Assignment
) -> BatchRoute:
    first, batch = routes.first, plan.settings.batch

    async def read_answers(version_id: int) -> BatchReading:
        if version_id == assignment.version_id:
            return make_reading(plan.profile)
        asked = orjson.loads(await book.read_profile(version_id))
        return make_reading(Profile.model_validate(asked))

    return BatchRoute(
        name=first.name,
        desk=desk,
        question=first.question,
        roomy_question=first.roomy_question,
        pricing=RunPricing(
            plan.table, first.question, ServiceTier.BATCH, expected_output=plan.expected_output
        ),
        bounds=BatchBounds(
            folder=batch.folder,
            max_bytes=batch.max_mb * 1_000_000,
            max_lines=batch.max_requests,
            poll_seconds=batch.poll_s,
            is_waiting=batch.wait,
            keeps_files=batch.keep_files,
        ),
        enqueued=EnqueuedTokens(batch.max_enqueued_tokens, first_wait_seconds=batch.poll_s),
        version_id=assignment.version_id,
        read_answers=read_answers,
    )


def make_reading(profile: Profile) -> BatchReading:
    """How the answers to a profile are read."""
    return BatchReading(
        reader=AnswerReader(profile, allow_empty=False),
        flat_tags=partial(flat_tags, profile),
        review_of=partial(review_of, profile.review_below),
    )


def review_of(review_below: float | None, confidence: float | None) -> ReviewState:
    """Whether a person should look at an answer."""
    is_unsure = review_below is not None and confidence is not None and confidence < review_below
    return ReviewState.NEEDS_REVIEW if is_unsure else ReviewState.NONE


def build_timekeeper(
    plan: Plan, lane: Lane, routes: Routes, *, clock: Clock, tally: Tally
) -> Timekeeper:
    """What keeps ``batch.finish_by``, where it is set.

    Raises:
        ConfigurationError: it is no time, or over already.
    """
    wanted = plan.settings.batch.finish_by
    if wanted is None or plan.is_local:
        return NoHurry()
    now = datetime.now().astimezone()
    seconds = (read_finish_by(wanted, now) - now).total_seconds()
    began = clock.monotonic()
    limits = plan.settings.limits
    pace = guess_pace(
        at_once=limits.max_concurrency,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        tokens=routes.first.pricing.estimate_tokens(None)
        + count_picture_tokens(plan.spec, plan.question.detail, *_USUAL_SIZE),
    )
    is_flex = routes.first.tier is ServiceTier.FLEX
    course = Course(
        lane=lane, routes=routes, slow_route=routes.first if is_flex else None, pace=pace
    )
    finish = FinishBy(began=began, at=began + seconds)
    return Punctuality(finish, course, clock=clock, tally=tally)
