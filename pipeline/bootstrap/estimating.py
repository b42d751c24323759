"""Builds an estimate: reads headers and the ledger, sends nothing, writes nothing."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pipeline.bootstrap.ledger import Ledger
from pipeline.bootstrap.plan import Plan, choose_fit
from pipeline.costs.comparing import Choice, Comparison, compare
from pipeline.costs.estimate import count_accepted_tokens, count_picture_tokens
from pipeline.costs.habits import FREE, Habits, Record, find_habits
from pipeline.costs.models import ModelSpec
from pipeline.costs.quote import count_images
from pipeline.costs.sending import estimate_encoded_bytes
from pipeline.costs.size_tally import SizeTally
from pipeline.domain.vision import Detail, Question
from pipeline.engine.estimating import Counting, Survey, Surveyor
from pipeline.engine.heads import HeadReader
from pipeline.engine.quoting import Inquiry, describe_quote
from pipeline.ledger.history import History
from pipeline.ledger.selection import EVERYTHING, Selection
from pipeline.sources.local import LocalSource
from pipeline.tagging.question import compile_question

Side: TypeAlias = int | Literal["auto", "original"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """Other ways to ask, each with each; what is empty is as in the plan."""

    models: Sequence[str] = ()
    """Beside the plan's own."""
    details: Sequence[Detail] = ()
    sides: Sequence[Side] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateOrder:
    """What is to be quoted of a plan."""

    selection: Selection = EVERYTHING
    sample_size: int | None = 20_000
    """Headers that are read at most; None: all."""
    comparing: Comparing | None = None


def make_survey(*, seed: int) -> Survey:
    """An empty survey, whose figures may be watched while it is filled."""
    return Survey(sizes=SizeTally(random.Random(seed)), seed=seed)


async def estimate(  # noqa: PLR0913  what is asked, where, and what decides
    plan: Plan,
    ledger: Ledger | None,
    roots: Sequence[Path],
    survey: Survey,
    *,
    order: EstimateOrder,
    environ: Mapping[str, str],
    today: date,
) -> dict[str, Any]:
    """Look over ``roots`` and quote what tagging them would cost.

    Args:
        plan: what would be asked.
        ledger: None where there is none yet: nothing is paid.
        roots: folders and files.
        survey: is filled.
        order: how much is looked at, and what else is quoted.
        environ: names the server, which decides how its prompt cache is used.
        today: the day whose prices hold, UTC.

    Returns:
        The document of ``estimate --json``.

    Raises:
        EnvironmentFault: a library or the ledger is away.
        ConfigurationError: the server's address cannot be used.
    """
    history = None if ledger is None else await find_history(plan, ledger)
    inquiry = await _inquire(plan, history, environ=environ, today=today)
    surveyor = Surveyor(
        HeadReader(plan.options),
        _count_by(plan),
        history=history,
        selection=order.selection,
        sample_size=order.sample_size,
    )
    await surveyor.survey([LocalSource(root, plan.settings.library) for root in roots], survey)
    compared = None
    if order.comparing is not None:
        choices = await _list_choices(plan, order.comparing, history, environ=environ, today=today)
        compared = _compare(choices, survey)
    return describe_quote(inquiry, survey, compared)


def _compare(choices: Sequence[Choice], survey: Survey) -> Sequence[Comparison]:
    images = count_images(survey.sample).expected
    return compare(choices, survey.sizes.sizes, images=images)


async def find_history(plan: Plan, ledger: Ledger) -> History:
    question = plan.question
    return await History.find(
        ledger.database, profile=plan.profile.name, fingerprint=question.fingerprint
    )


async def _inquire(
    plan: Plan, history: History | None, *, environ: Mapping[str, str], today: date
) -> Inquiry:
    model = plan.question.model
    question = _with_caching(plan, plan.spec, plan.question, environ)
    record = None if history is None else await history.read_record(model)
    return Inquiry(
        question=question,
        spec=plan.spec,
        is_local=plan.is_local,
        options=plan.options,
        limits=plan.settings.limits,
        batch=plan.settings.batch,
        habits=FREE if plan.is_local else _find_habits(question, plan.spec, record),
        record=record,
        pace=None if history is None else await history.read_pace(model),
        has_ledger=history is not None,
        today=today,
    )


def _find_habits(question: Question, spec: ModelSpec | None, record: Record | None) -> Habits:
    return find_habits(question, record, reasons=spec is not None and spec.reasons)


def _count_by(plan: Plan) -> Counting:
    if plan.is_local:
        return Counting(sent=_count_nothing, original=_count_nothing, encoded_bytes=lambda _: 0)
    detail, options = plan.question.detail, plan.options
    return Counting(
        encoded_bytes=partial(
            estimate_encoded_bytes, output=options.format, quality=options.quality
        ),
        sent=partial(count_picture_tokens, plan.spec, detail),
        original=partial(count_accepted_tokens, plan.spec, detail),
    )


def _count_nothing(_width: int, _height: int) -> int:
    return 0


def _with_caching(
    plan: Plan, spec: ModelSpec | None, question: Question, environ: Mapping[str, str]
) -> Question:
    """The question as the plan's server is asked it."""
    if question.model == plan.question.model and plan.is_local:
        return question
    # the providers' room is slow to import; the offline analyser needs none of it
    from pipeline.providers.caching import choose_caching
    from pipeline.providers.endpoint import choose_base_url

    provider = plan.settings.provider
    host = choose_base_url(provider, environ).host or ""
    caching = choose_caching(spec, question, host=host, setting=provider.prompt_cache)
    return replace(question, caching=caching)


async def _list_choices(
    plan: Plan,
    comparing: Comparing,
    history: History | None,
    *,
    environ: Mapping[str, str],
    today: date,
) -> Sequence[Choice]:
    """Each model at each detail in each size; the plan's own come first."""
    own = () if plan.is_local else (plan.question.model,)
    details = comparing.details or (plan.profile.detail,)
    sides = comparing.sides or (plan.profile.image.max_side,)
    choices = []
    for model in dict.fromkeys((*own, *comparing.models)):
        spec = plan.table.find(model)
        compiled = compile_question(plan.profile, model=model, preprocessing="")
        record = None if history is None else await history.read_record(model)
        habits = _find_habits(_with_caching(plan, spec, compiled, environ), spec, record)
        choices += [
            Choice(
                model=model,
                spec=spec,
                detail=detail,
                side=str(side),
                fit=choose_fit(side, detail, spec, is_local=False),
                habits=habits,
                is_retired=spec is not None and spec.is_retired(today),
            )
            for detail in details
            for side in sides
        ]
    return choices
