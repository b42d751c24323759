"""What asking about many pictures will use and cost: sums, bands around them, and how long. Pure.

A quote rests on how many pictures have how many tokens: of each such group one is priced, with the
same rounding as an answer of its own, so that the sum is the bill to the nano-dollar if words and
answers are as long as expected.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.costs.habits import Band, Habits
from pipeline.costs.models import ModelSpec
from pipeline.costs.prices import price
from pipeline.domain.usage import NanoDollars, TokenUsage

_SURE: Final = 1.96
"""Standard errors to each side of 95 % of a normal distribution."""
_MINUTES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Pictures that were looked at, copies aside, and how many they stand for."""

    picture_tokens: Mapping[int, int]
    """Of the pictures that are to be asked about: how many there are of each size in tokens."""
    looked_at: int
    """All that were looked at, those included that nothing will be asked about."""
    population: Band
    """All that they were drawn from; as many as were looked at when that were all."""

    @property
    def is_whole(self) -> bool:
        return self.looked_at >= self.population.high

    def scale(self, amount: int) -> int:
        """What an amount found in the sample comes to in all, rounded half up."""
        return self._scale_to(amount, self.population.expected)

    def _scale_to(self, amount: int, population: int) -> int:
        if self.looked_at in {0, population}:
            return amount
        return (2 * amount * population + self.looked_at) // (2 * self.looked_at)

    def find_margin(self, total: int, squares: int) -> int:
        """How far the scaled total may be off to either side, 95 % sure.

        Of a simple random sample without replacement, by the normal approximation (W. G. Cochran,
        Sampling Techniques, 1977, 2.8).

        Args:
            total: sum over all that were looked at.
            squares: sum of the squares.
        """
        n, population = self.looked_at, self.population.expected
        if n >= population or n < 2:  # noqa: PLR2004  one alone has no spread
            return 0
        variance = max(squares * n - total * total, 0) / (n * (n - 1))
        return math.ceil(_SURE * population * math.sqrt(variance / n * (1 - n / population)))

    def sum_up(self, value: Callable[[int], int]) -> Band:
        """The sum of a value that a picture has by its tokens, with the sample's own error."""
        total = squares = 0
        for tokens, count in self.picture_tokens.items():
            one = value(tokens)
            total += one * count
            squares += one * one * count
        return self._widen(total, squares)

    def sum_between(self, values: Callable[[int], Band]) -> Band:
        """The same of values that are not sure themselves: both errors are added up."""
        low = self.sum_up(lambda tokens: values(tokens).low)
        high = self.sum_up(lambda tokens: values(tokens).high)
        expected = self.sum_up(lambda tokens: values(tokens).expected)
        return Band(expected=expected.expected, low=low.low, high=high.high)

    def _widen(self, total: int, squares: int) -> Band:
        margin = self.find_margin(total, squares)
        low, high = (
            self._scale_to(total, end) for end in (self.population.low, self.population.high)
        )
        return Band(expected=self.scale(total), low=max(low - margin, 0), high=high + margin)


def count_images(sample: Sample) -> Band:
    """How many images are to be asked about: no more than there are.

    The interval of a sample is that of E. B. Wilson (1927), which also says something of what never
    came up: a sample without any broken file does not mean that there is none.
    """
    found, n, all_ = sum(sample.picture_tokens.values()), sample.looked_at, sample.population
    if not n or sample.is_whole:
        return sample.sum_up(lambda _: 1)
    share, z = found / n, _SURE * _SURE
    center = (share + z / (2 * n)) / (1 + z / n)
    spread = _SURE * math.sqrt(share * (1 - share) / n + z / (4 * n * n)) / (1 + z / n)
    expected = sample.scale(found)
    return Band(
        expected=expected,
        low=min(max(math.floor(all_.low * (center - spread)), found), expected),
        high=max(min(math.ceil(all_.high * (center + spread)), all_.high), expected),
    )


def count_input(sample: Sample, habits: Habits) -> Band:
    """Input tokens of all requests."""
    words = habits.words
    return sample.sum_between(
        lambda tokens: Band(
            expected=words.expected + tokens, low=words.low + tokens, high=words.high + tokens
        )
    )


def count_output(sample: Sample, habits: Habits) -> Band:
    """Output tokens of all answers."""
    return sample.sum_between(lambda _: habits.output)


def quote_cost(
    spec: ModelSpec | None, sample: Sample, habits: Habits, *, tier: str | None
) -> Band | None:
    """Nano-dollars of all requests in one lane; None when it is not sold or has no known price.

    Each picture is asked about once: tries that fail are not billed, and repairs are not foreseen.

    Args:
        spec: the model; None when it is unknown.
        sample: how many pictures have how many tokens.
        habits: what a request uses beside its picture.
        tier: the lane; None is standard.
    """
    if spec is None or spec.prices is None or spec.prices.find(tier) is None:
        return None
    return sample.sum_between(lambda tokens: price_request(spec, tokens, habits, tier=tier))


def price_request(
    spec: ModelSpec, picture_tokens: int, habits: Habits, *, tier: str | None
) -> Band:
    """Nano-dollars of one request; the lane must have a price."""

    def pay(words: int, output: int, cached: int, cache_write: int) -> NanoDollars:
        cached = min(cached, words + picture_tokens)
        usage = TokenUsage(
            input=words + picture_tokens,
            cached=cached,
            cache_write=min(cache_write, words + picture_tokens - cached),
            output=output,
        )
        found = price(spec, usage, tier)
        assert found is not None  # noqa: S101  the caller has looked
        return found

    words, output, cached, write = habits.words, habits.output, habits.cached, habits.cache_write
    expected = pay(words.expected, output.expected, cached.expected, write.expected)
    return Band(
        expected=expected,
        low=min(expected, pay(words.low, output.low, cached.high, write.low)),
        high=max(expected, pay(words.high, output.high, cached.low, write.high)),
    )


def estimate_hours(
    requests: int,
    drawn_tokens: int,
    *,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
) -> float | None:
    """Hours that the limits allow no less than; None without a limit.

    Args:
        requests: to be sent.
        drawn_tokens: what they draw from the rate: input, and output up to its limit.
        requests_per_minute: None for no limit.
        tokens_per_minute: likewise.
    """
    minutes = [
        amount / limit
        for amount, limit in (
            (requests, requests_per_minute),
            (drawn_tokens, tokens_per_minute),
        )
        if limit
    ]
    return max(minutes) / _MINUTES if minutes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How many batches the requests fill."""

    count: int
    waves: int | None
    """How many times the server's queue is filled, one after the other; None: no limit is set."""


def count_batches(
    requests: int,
    line_bytes: int,
    input_tokens: int,
    *,
    max_requests: int,
    max_bytes: int,
    max_enqueued_tokens: int | None,
) -> Batches:
    """Batches by the limits of one file, and by what may wait at the server at once.

    Args:
        requests: one line each.
        line_bytes: of all lines.
        input_tokens: of all lines.
        max_requests: lines of one file.
        max_bytes: of one file.
        max_enqueued_tokens: input tokens that may wait in all batches; None for no limit.
    """
    waves = None
    if max_enqueued_tokens is not None:
        waves = _divide_up(input_tokens, max_enqueued_tokens)
    count = max(_divide_up(requests, max_requests), _divide_up(line_bytes, max_bytes), waves or 0)
    return Batches(count=count, waves=waves)


def _divide_up(amount: int, by: int) -> int:
    return -(-amount // by)
