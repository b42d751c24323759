"""Builds the ways to an answer: servers, keys and models, each with what bounds it."""

import hashlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from pipeline.bootstrap.plan import Plan
from pipeline.config.settings import NO_KEY, FallbackSettings, ProviderSettings, Settings
from pipeline.costs.models import ModelSpec
from pipeline.costs.pricing import FreeOfCharge, RunPricing
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import Question, ServiceTier
from pipeline.engine.retry import Why
from pipeline.engine.routes import Pricing, Route, Routes
from pipeline.engine.step import ROOM_FACTOR
from pipeline.limits.breaker import Breaker
from pipeline.limits.concurrency import AdaptiveConcurrency
from pipeline.limits.deadline import Deadline
from pipeline.limits.gate import Gate
from pipeline.limits.rate import RateLimits, RateModel
from pipeline.providers.base import Provider
from pipeline.providers.local.provider import LocalProvider
from pipeline.tagging.question import compile_question

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """One route as the settings have it."""

    settings: ProviderSettings
    model: str
    rank: int
    opens_for: frozenset[Why]


@asynccontextmanager
async def open_routes(
    plan: Plan,
    *,
    environ: Environ,
    monotonic: Callable[[], float],
    threads: anyio.CapacityLimiter,
    provider: Provider | None = None,
) -> AsyncIterator[Routes]:
    """Open all routes of a run; a ``provider`` of the caller's own is the only one.

    Raises:
        ConfigurationError: a server, a key or a model cannot be used, or has no known price
            although there is a budget.
    """
    builder = _Builder(plan=plan, environ=environ, monotonic=monotonic)
    if plan.is_local or provider is not None:
        given = provider or LocalProvider(limiter=threads)
        yield Routes([builder.build_given(given)])
        return
    wishes = list_wishes(choose_requests(plan), plan.question.model, environ)
    async with AsyncExitStack() as stack:
        routes = [await builder.build(wish, stack) for wish in wishes]
        if plan.has_budget and not plan.settings.limits.allow_unpriced:
            _check_prices(plan, wishes)
        yield Routes(routes)


def choose_requests(plan: Plan) -> ProviderSettings:
    """How single requests are sent: beside batches, in time, and as cheaply as that allows."""
    settings = plan.settings.provider
    if not plan.asks_by_batch:
        return settings
    is_hurried = plan.settings.batch.finish_by is not None
    sells_flex = plan.spec is not None and plan.spec.prices is not None and plan.spec.prices.flex
    if not is_hurried or not sells_flex:
        is_batch = settings.service_tier is ServiceTier.BATCH
        tier = ServiceTier.AUTO if is_batch else settings.service_tier
        return settings.model_copy(update={"service_tier": tier})
    full = FallbackSettings(
        service_tier=ServiceTier.DEFAULT, causes=("no_capacity", "rate", "outage")
    )
    told = {"service_tier": ServiceTier.FLEX, "flex_shortage": "wait"}
    return settings.model_copy(update={**told, "fallback": (full, *settings.fallback)})


def list_wishes(settings: ProviderSettings, model: str, environ: Environ) -> Sequence[_Wish]:
    """The first servers, side by side; then those that take over, in order."""
    own = settings.model_copy(update={"endpoints": (), "fallback": ()})
    beside = [_overlay(own, endpoint.model_dump(), environ) for endpoint in settings.endpoints]
    firsts = [
        _Wish(settings=each, model=model, rank=0, opens_for=frozenset()) for each in (own, *beside)
    ]
    after = list(settings.fallback)
    if settings.service_tier is ServiceTier.FLEX and settings.flex_shortage == "step_up":
        after.insert(0, FallbackSettings(service_tier=ServiceTier.DEFAULT, causes=("no_capacity",)))
    return firsts + [
        _Wish(
            settings=_overlay(own, step.model_dump(exclude={"causes", "model"}), environ),
            model=step.model or model,
            rank=rank,
            opens_for=frozenset(Why(cause) for cause in step.causes),
        )
        for rank, step in enumerate(after, 1)
    ]


def _overlay(
    settings: ProviderSettings, given: Mapping[str, object], environ: Environ
) -> ProviderSettings:
    """The settings with what another server has of its own; a key is for one server only."""
    told = {key: value for key, value in given.items() if value is not None}
    merged = settings.model_copy(update=told)
    if "base_url" in told and "api_key_env" not in told:
        from pipeline.providers.endpoint import choose_base_url

        own, other = (choose_base_url(each, environ).origin() for each in (settings, merged))
        if own != other:
            return merged.model_copy(update={"api_key_env": NO_KEY})
    return merged


def _check_prices(plan: Plan, wishes: Sequence[_Wish]) -> None:
    lanes = [(wish.model, wish.settings.service_tier) for wish in wishes]
    if plan.asks_by_batch:
        lanes.append((plan.question.model, ServiceTier.BATCH))
    for model, tier in lanes:
        spec = plan.table.find(model)
        if spec is None or spec.prices is None or spec.prices.find(tier) is None:
            lane = "" if tier is ServiceTier.AUTO else f" in service tier {tier}"
            raise ConfigurationError(
                f"there is a budget, but no price is known for the model {model}{lane}: add "
                "it to a file named under `models:` in the configuration (see "
                "configs/models.yaml), or allow it with --allow-unpriced (limits.allow_unpriced), "
                "or run without a budget"
            )


@dataclass(slots=True, kw_only=True)
class _Builder:
    plan: Plan
    environ: Environ
    monotonic: Callable[[], float]
    gates: dict[str | None, Gate] = field(default_factory=dict)
    """By account: routes with one server, key and model share what they are allowed."""

    async def build(self, wish: _Wish, stack: AsyncExitStack) -> Route:
        # aiohttp is slow to import; a run without a server needs none of it
        from pipeline.providers.identity import identify_endpoint
        from pipeline.providers.openai import check_question, open_openai

        identity = identify_endpoint(wish.settings, self.environ)
        question = self._compile(wish, host=identity.host)
        check_question(wish.settings, question)
        provider = await stack.enter_async_context(open_openai(wish.settings, self.environ))
        facts = f"{identity.account}\0{wish.model}".encode()
        return self._assemble(
            wish,
            question,
            provider=provider,
            name=identity.label,
            account=hashlib.sha256(facts).hexdigest()[:16],
        )

    def build_given(self, provider: Provider) -> Route:
        """The one route to a provider that is no server, or that a caller has opened itself."""
        question = self.plan.question
        wish = _Wish(
            settings=self.plan.settings.provider,
            model=question.model,
            rank=0,
            opens_for=frozenset(),
        )
        return self._assemble(wish, question, provider=provider, name=provider.name, account=None)

    def _compile(self, wish: _Wish, *, host: str) -> Question:
        """The plan's question as this model is asked it; its answers stand for the plan's."""
        from pipeline.providers.caching import choose_caching

        question = self.plan.question
        if wish.model != question.model:
            compiled = compile_question(self.plan.profile, model=wish.model, preprocessing="")
            question = replace(compiled, fingerprint=question.fingerprint)
        spec = self.plan.table.find(wish.model)
        caching = choose_caching(spec, question, host=host, setting=wish.settings.prompt_cache)
        return replace(question, caching=caching)

    def _assemble(
        self, wish: _Wish, question: Question, *, provider: Provider, name: str, account: str | None
    ) -> Route:
        settings = self.plan.settings
        room = question.max_output_tokens * ROOM_FACTOR
        is_flex = wish.settings.service_tier is ServiceTier.FLEX
        is_adaptive = wish.settings.cut_stragglers and not is_flex and not self.plan.is_local
        return Route(
            name=name,
            account=account,
            rank=wish.rank,
            opens_for=wish.opens_for,
            question=question,
            roomy_question=replace(question, max_output_tokens=room),
            provider=provider,
            tier=wish.settings.service_tier,
            pricing=self._price(question, wish.settings.service_tier),
            gate=self.gates.setdefault(account, self._make_gate(settings)),
            deadline=Deadline(self._find_patience(wish.settings), is_adaptive=is_adaptive),
            breaker=Breaker(),
            retirement=_describe_retirement(self.plan.table.find(question.model)),
        )

    def _price(self, question: Question, tier: ServiceTier) -> Pricing:
        if self.plan.is_local:
            return FreeOfCharge()
        is_known = question.model == self.plan.question.model
        expected = self.plan.expected_output if is_known else None
        return RunPricing(self.plan.table, question, tier, expected_output=expected)

    def _make_gate(self, settings: Settings) -> Gate:
        limits = settings.limits
        concurrency = AdaptiveConcurrency(limits.max_concurrency)
        if self.plan.is_local:
            concurrency.trust_headers()
        rate = RateModel(
            RateLimits(
                requests_per_minute=limits.requests_per_minute,
                tokens_per_minute=limits.tokens_per_minute,
                burst_seconds=limits.burst_s,
            )
        )
        return Gate(rate=rate, concurrency=concurrency, monotonic=self.monotonic)

    def _find_patience(self, settings: ProviderSettings) -> float:
        """A little more than the wire's own deadline, which says better what went wrong."""
        if self.plan.is_local:
            return math.inf
        from pipeline.providers.transport import choose_timeout_seconds

        return choose_timeout_seconds(settings) + 5


def _describe_retirement(spec: ModelSpec | None) -> str:
    if spec is None or spec.retired_on is None:
        return ""
    instead = f": its maker names {spec.successor} instead" if spec.successor else ""
    return f"{spec.name} retires or has retired on {spec.retired_on}{instead}."
