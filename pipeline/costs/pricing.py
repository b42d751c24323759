"""What the requests of one run are expected to cost, may cost, and did cost."""

from functools import lru_cache, partial

from pipeline.costs.estimate import (
    RequestBound,
    assume_cached,
    bound_repair,
    bound_request,
    count_picture_tokens,
    estimate_repair_tokens,
    estimate_usage,
)
from pipeline.costs.models import ModelSpec, ModelTable
from pipeline.costs.prices import caching_saving, price
from pipeline.domain.images import PreparedImage
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import Question, ServiceTier

_MOST_SIZES = 1024
_NOTHING = NanoDollars(0)
_STANDARD = None
_PRIORITY = ServiceTier.PRIORITY.value
# Where auto is asked for, the account decides; a request for priority may be moved down, and a
# gateway that drops the key makes one for flex an ordinary one.
_ANSWERING_TIERS: dict[ServiceTier, tuple[str | None, ...]] = {
    ServiceTier.AUTO: (_STANDARD, _PRIORITY),
    ServiceTier.DEFAULT: (_STANDARD,),
    ServiceTier.FLEX: (ServiceTier.FLEX.value, _STANDARD),
    ServiceTier.BATCH: (ServiceTier.BATCH.value,),
    ServiceTier.PRIORITY: (_PRIORITY, _STANDARD),
}
_SOLD_APART = (ServiceTier.FLEX, ServiceTier.BATCH)
"""Lanes that a model without a price for them is not sold in."""


class RunPricing:
    """Prices of one question, by the model table of the day the run began."""

    def __init__(self, table: ModelTable, question: Question, tier: ServiceTier) -> None:
        self._table = table
        self._spec: ModelSpec | None = table.find(question.model)
        self._question = question
        self._tier = tier
        # Asked several times about each picture, and pictures of one library are often alike.
        self._count_picture = lru_cache(maxsize=_MOST_SIZES)(
            partial(count_picture_tokens, self._spec, question.detail)
        )

    def estimate_usage(self, image: PreparedImage) -> TokenUsage:
        """Tokens that asking about this picture is expected to take, nothing cached."""
        return estimate_usage(self._question, self._count_picture(image.width, image.height))

    def expected_cost(self, image: PreparedImage) -> NanoDollars | None:
        """Nano-dollars to quote, the prompt cache's effect included; None without a price."""
        usage = assume_cached(self._question, self.estimate_usage(image))
        return price(self._spec, usage, self._tier.value) if self._spec else None

    def estimate_tokens(self, image: PreparedImage | None, *, output_factor: int = 1) -> int:
        """Tokens that a request draws from the rate: input as expected, output up to its limit.

        Args:
            image: what is asked about; None for a request in words, which puts an answer right.
            output_factor: how many times the question's output limit is sent.
        """
        most_output = self._question.max_output_tokens * output_factor
        if image is None:
            return estimate_repair_tokens(self._question, output_limit=most_output) + most_output
        return self.estimate_usage(image).input + most_output

    def worst_cost(self, image: PreparedImage, *, output_factor: int = 1) -> NanoDollars | None:
        """Nano-dollars at most, in any lane that may answer; None when the price is unknown.

        Args:
            image: what is asked about.
            output_factor: how many times the question's output limit is sent.
        """
        picture = self._count_picture(image.width, image.height)
        return self._find_worst(bound_request(self._question, picture, output_factor=output_factor))

    def worst_repair_cost(self, answer: str, *, output_factor: int = 1) -> NanoDollars | None:
        """Nano-dollars at most of a request to put ``answer`` right, without the picture."""
        return self._find_worst(bound_repair(self._question, answer, output_factor=output_factor))

    def cost(self, usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:
        """Nano-dollars of what was used; None when the model that answered has no price."""
        spec = self._table.find(model)
        return None if spec is None else price(spec, usage, tier)

    def saving(self, usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars:
        """Nano-dollars that prompt caching took off that price; 0 when there is none."""
        spec = self._table.find(model)
        return _NOTHING if spec is None else caching_saving(spec, usage, tier)

    def _find_worst(self, bound: RequestBound) -> NanoDollars | None:
        spec, tier = self._spec, self._tier
        if spec is None or (tier in _SOLD_APART and not _sells(spec, tier)):
            return None
        return bound.find_worst_cost(spec, _ANSWERING_TIERS[tier])


def _sells(spec: ModelSpec, tier: ServiceTier) -> bool:
    return spec.prices is not None and spec.prices.find(tier) is not None


class FreeOfCharge:
    """Nothing is sent, nothing is paid: the offline analyser."""

    def estimate_usage(self, _image: PreparedImage) -> TokenUsage:
        return TokenUsage()

    def expected_cost(self, _image: PreparedImage) -> NanoDollars | None:
        return _NOTHING

    def estimate_tokens(self, _image: PreparedImage | None, *, output_factor: int = 1) -> int:  # noqa: ARG002  the same question as RunPricing answers
        return 0

    def worst_cost(self, _image: PreparedImage, *, output_factor: int = 1) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def worst_repair_cost(self, _answer: str, *, output_factor: int = 1) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def cost(self, _usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def saving(self, _usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars:  # noqa: ARG002  same
        return _NOTHING
