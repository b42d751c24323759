"""Money of one answer, exact, by the lane that answered."""

from dataclasses import replace
from fractions import Fraction

from pipeline.costs.models import ModelSpec
from pipeline.costs.rates import PICO_PER_NANO, Rates
from pipeline.domain.usage import NanoDollars, TokenUsage


def price(spec: ModelSpec, usage: TokenUsage, tier: str | None) -> NanoDollars | None:
    """What one answer costs.

    Cached and cache-written tokens are part of ``usage.input`` and priced apart. A request with
    more input tokens than the model's long-context limit pays the raised price for all of it, so
    ``usage`` must be that of one answer, never a sum. The sum in pico-dollars is rounded once, half
    up, to nano-dollars. Surcharges for regional processing are not included.

    Args:
        spec: the model that answered.
        usage: tokens of one answer.
        tier: the lane that answered, as the server or a setting names it; None is standard.

    Returns:
        None when the model has no known price in this lane.
    """
    rates = spec.prices.find(tier) if spec.prices else None
    if rates is None:
        return None
    input_pico, output_pico = _input_pico(rates, usage), usage.output * rates.output
    long = spec.long_context
    if long is not None and usage.input > long.above:
        return _round(input_pico * long.input + output_pico * long.output)
    return _round(input_pico + output_pico)


def caching_saving(spec: ModelSpec, usage: TokenUsage, tier: str | None) -> NanoDollars:
    """What prompt caching took off the price of one answer; negative where writing cost more.

    Nothing when the model has no known price in this lane.
    """
    paid = price(spec, usage, tier)
    plain = price(spec, replace(usage, cached=0, cache_write=0), tier)
    return NanoDollars(0 if paid is None or plain is None else plain - paid)


def worst_price(
    spec: ModelSpec,
    *,
    input_tokens: int,
    output_tokens: int,
    tier: str | None,
    written_tokens: int | None = None,
) -> NanoDollars | None:
    """The most that so many tokens can cost: nothing cached, or as much written as can be.

    Args:
        spec: the model.
        input_tokens: all of them.
        output_tokens: all of them.
        tier: the lane that answers.
        written_tokens: how many may be written to the cache; None: all of the input.
    """
    plain = TokenUsage(input=input_tokens, output=output_tokens)
    most = input_tokens if written_tokens is None else min(written_tokens, input_tokens)
    costs = (price(spec, plain, tier), price(spec, replace(plain, cache_write=most), tier))
    return max((cost for cost in costs if cost is not None), default=None)


def _input_pico(rates: Rates, usage: TokenUsage) -> int:
    fresh = max(usage.input - usage.cached - usage.cache_write, 0)
    return fresh * rates.input + usage.cached * rates.cached + usage.cache_write * rates.cache_write


def _round(pico: int | Fraction) -> NanoDollars:
    return NanoDollars(int((2 * pico + PICO_PER_NANO) // (2 * PICO_PER_NANO)))
