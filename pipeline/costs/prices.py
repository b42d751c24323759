"""Money of one answer, exact, by the lane that answered."""

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


def worst_price(
    spec: ModelSpec, *, input_tokens: int, output_tokens: int, tier: str | None
) -> NanoDollars | None:
    """The most that so many tokens can cost: nothing cached, or all of it written to the cache."""
    plain = TokenUsage(input=input_tokens, output=output_tokens)
    written = TokenUsage(input=input_tokens, cache_write=input_tokens, output=output_tokens)
    costs = (price(spec, plain, tier), price(spec, written, tier))
    return max((cost for cost in costs if cost is not None), default=None)


def _input_pico(rates: Rates, usage: TokenUsage) -> int:
    fresh = max(usage.input - usage.cached - usage.cache_write, 0)
    return fresh * rates.input + usage.cached * rates.cached + usage.cache_write * rates.cache_write


def _round(pico: int | Fraction) -> NanoDollars:
    return NanoDollars(int((2 * pico + PICO_PER_NANO) // (2 * PICO_PER_NANO)))
