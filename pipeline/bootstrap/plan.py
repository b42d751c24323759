"""What a run will ask, worked out from settings alone: nothing is opened yet."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Literal, TypeAlias

from pipeline.config.profiles import Profile, load_profile
from pipeline.config.settings import Settings
from pipeline.costs.image_tokens import TooManyPatches, fit_side, image_tokens, seen_size
from pipeline.costs.models import ModelSpec, ModelTable, load_models
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import Detail, Question, ServiceTier
from pipeline.preprocess.prepare import PrepareOptions, describe_preparation
from pipeline.preprocess.sizes import fit_longest_side, keep_size
from pipeline.providers.local.provider import LOCAL_MODEL
from pipeline.tagging.question import compile_question

Fit: TypeAlias = Callable[[int, int], tuple[int, int]]

_PROBES = ((6000, 6000), (4000, 3000), (3000, 4000), (1600, 1600), (8000, 1000), (800, 600))
_LOCAL_SIDE = 768
_UNKNOWN_MODEL_SIDE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will ask, worked out from settings alone: nothing is opened yet."""

    settings: Settings
    profile: Profile
    is_local: bool
    table: ModelTable
    spec: ModelSpec | None
    """None for the offline analyser and for models without a row in the table."""
    options: PrepareOptions
    question: Question
    expected_output: int | None = None
    """Tokens of an answer, as earlier ones in the ledger teach; None: by a rule of thumb."""

    @property
    def asks_by_batch(self) -> bool:
        """Whether pictures go into batches first."""
        tier = self.settings.provider.service_tier
        is_timed = tier is ServiceTier.AUTO and self.settings.batch.finish_by is not None
        return not self.is_local and (tier is ServiceTier.BATCH or is_timed)

    @property
    def has_budget(self) -> bool:
        """Whether anything caps what may be spent."""
        limits = self.settings.limits
        caps = (limits.budget_usd, limits.budget_day_usd, limits.budget_month_usd)
        return any(cap is not None for cap in caps)


def make_plan(settings: Settings, *, today: date, model: str | None = None) -> Plan:
    """Load the profile and the model table and compile the question.

    Args:
        settings: all of them.
        today: the day whose prices and limits hold, UTC.
        model: outranks the profile's and the settings' model (a command's own word).

    Raises:
        ConfigurationError: naming what is off.
    """
    profile = load_profile(settings.profile)
    table = load_models(*settings.models, on=today)
    model = model or profile.model or settings.provider.model
    is_local = _is_local(settings, model)
    spec = None if is_local else table.find(str(model))
    _check_detail(profile, spec)
    options = _prepare_options(settings, profile, spec, is_local=is_local)
    question = compile_question(
        profile,
        model=LOCAL_MODEL if is_local else str(model),
        preprocessing=options.description + (_describe_measures(profile) if is_local else ""),
    )
    return Plan(
        settings=settings,
        profile=profile,
        is_local=is_local,
        table=table,
        spec=spec,
        options=options,
        question=question,
    )


def _is_local(settings: Settings, model: str | None) -> bool:
    kind = settings.provider.kind
    if kind == "openai" and not model:
        raise ConfigurationError(
            "provider.kind is openai but no model is named: "
            "pass --model, or set provider.model or the profile's model"
        )
    return kind == "local" or model is None


def _check_detail(profile: Profile, spec: ModelSpec | None) -> None:
    if spec is not None and not spec.offers(profile.detail):
        raise ConfigurationError(
            f"profile {profile.name}: {spec.name} does not know detail {profile.detail.value}; "
            "allowed: low, high, auto"
        )


def _describe_measures(profile: Profile) -> str:
    """What the analyser fills each field with: no part of the schema, but of its answers."""
    pairs = [f"{name}={field.measure}" for name, field in profile.fields.items()]
    return f" measures {','.join(pairs)}"


def _prepare_options(
    settings: Settings, profile: Profile, spec: ModelSpec | None, *, is_local: bool
) -> PrepareOptions:
    image = profile.image
    fit = choose_fit(image.max_side, profile.detail, spec, is_local=is_local)
    return PrepareOptions(
        fit=fit,
        format=image.format,
        quality=image.quality,
        max_bytes=settings.preprocess.max_bytes,
        max_pixels=settings.preprocess.max_pixels,
        min_side=settings.preprocess.min_side,
        description=describe_preparation(
            fit=_describe_fit(fit), output_format=image.format, quality=image.quality
        ),
    )


def choose_fit(
    side: int | Literal["auto", "original"],
    detail: Detail,
    spec: ModelSpec | None,
    *,
    is_local: bool,
) -> Fit:
    """How large pictures are sent.

    Args:
        side: as the profile's ``image.max_side`` has it.
        detail: how closely the model looks.
        spec: the model; None for the offline analyser and unknown ones.
        is_local: the offline analyser answers.
    """
    if side == "auto" and spec is not None:
        return partial(seen_size, spec, detail)
    if side == "auto":
        return fit_longest_side(_LOCAL_SIDE if is_local else _UNKNOWN_MODEL_SIDE)
    if spec is None:
        return keep_size if side == "original" else fit_longest_side(side)
    fit = keep_size if side == "original" else partial(fit_side, spec, side)
    return _fit_accepted(fit, spec, detail)


def _fit_accepted(fit: Fit, spec: ModelSpec, detail: Detail) -> Fit:
    """As ``fit`` says, unless the model would refuse so large a picture."""

    def choose(width: int, height: int) -> tuple[int, int]:
        size = fit(width, height)
        try:
            image_tokens(spec, detail, *size)
        except TooManyPatches:
            return seen_size(spec, detail, *size)
        return size

    return choose


def _describe_fit(fit: Fit) -> str:
    """What the rule makes of some sizes: changes when the rule does, and only then."""
    return ",".join("{}x{}".format(*fit(width, height)) for width, height in _PROBES)
