"""Tokens and money. Money is integer nano-dollars (10⁻⁹ USD), so that sums are exact."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NewType, Self

NanoDollars = NewType("NanoDollars", int)

NANO_PER_DOLLAR = 1_000_000_000


def to_usd(nano: int) -> str:
    """Exact decimal dollars, such as ``0.0021``: never rounded, never in exponent form."""
    text = f"{Decimal(nano) / NANO_PER_DOLLAR:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def from_usd(usd: Decimal | str) -> NanoDollars:
    """Nano-dollars of a decimal amount; a fraction of a nano-dollar is dropped."""
    return NanoDollars(int(Decimal(usd) * NANO_PER_DOLLAR))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of one answer, or of many: usages add with ``+``."""

    input: int = 0
    """All input tokens, the cached and the cache-written ones included."""
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    """All output tokens, the reasoning ones included."""
    reasoning: int = 0

    def __add__(self, other: Self) -> "TokenUsage":
        return TokenUsage(
            input=self.input + other.input,
            cached=self.cached + other.cached,
            cache_write=self.cache_write + other.cache_write,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one request was expected to use and cost, on record from before it was sent."""

    picture_tokens: int = 0
    """Of ``input``, by the model's formula; 0 for a request in words alone."""
    input: int = 0
    cached: int = 0
    output: int = 0
    cost: NanoDollars | None = None
    """None without a price."""
    sent_bytes: int = 0
    """Of the picture as it is sent."""
    original_bytes: int = 0
    """Of the file it was made of."""
    original_tokens: int = 0
    """What the picture would have cost in the size of its file, at the same detail."""


NO_QUOTE: Final = Quote()
