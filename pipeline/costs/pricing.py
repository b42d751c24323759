"""What the requests of one run are expected to cost, may cost, and did cost."""

from dataclasses import replace
from functools import lru_cache, partial

from pipeline.costs.differences import NO_GAPS, Gaps, split_difference
from pipeline.costs.estimate import (
    RequestBound,
    assume_cached,
    bound_repair,
    bound_request,
    count_accepted_tokens,
    count_picture_tokens,
    estimate_repair_tokens,
    estimate_usage,
)
from pipeline.costs.models import ModelSpec, ModelTable
from pipeline.costs.prices import caching_saving, price
from pipeline.costs.text_tokens import estimate_text_tokens
from pipeline.domain.images import PreparedImage
from pipeline.domain.outcomes import Spend
from pipeline.domain.usage import NanoDollars, Quote, TokenUsage
from pipeline.domain.vision import Question, ServiceTier

_MOST_SIZES = 1024
_NOTHING = NanoDollars(0)
_FREE = Quote(cost=_NOTHING)
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
    """Prices of one question, by the model table of the day the run began.

    Args:
        table: of that day.
        question: what is asked, and of which model.
        tier: the lane that is asked for.
        expected_output: tokens of an answer as earlier answers teach; None: by a rule of thumb.
    """

    def __init__(
        self,
        table: ModelTable,
        question: Question,
        tier: ServiceTier,
        *,
        expected_output: int | None = None,
    ) -> None:
        self._table = table
        self._spec: ModelSpec | None = table.find(question.model)
        self._question = question
        self._tier = tier
        self._expected_output = expected_output
        # Asked several times about each picture, and pictures of one library are often alike.
        self._count_picture = lru_cache(maxsize=_MOST_SIZES)(
            partial(count_picture_tokens, self._spec, question.detail)
        )
        self._count_original = lru_cache(maxsize=_MOST_SIZES)(
            partial(count_accepted_tokens, self._spec, question.detail)
        )
        self._quote_picture = lru_cache(maxsize=_MOST_SIZES)(self._quote_tokens)

    def estimate_usage(self, image: PreparedImage) -> TokenUsage:
        """Tokens that asking about this picture is expected to take, nothing cached."""
        return self._expect(self._count_picture(image.width, image.height))

    def quote(self, image: PreparedImage, *, original_bytes: int) -> Quote:
        """What asking about this picture is expected to use and cost, the prompt cache included.

        Args:
            image: what is asked about.
            original_bytes: of the file it was made of.

        Raises:
            TooManyPatches: the service would refuse the picture.
        """
        picture = self._count_picture(image.width, image.height)
        usage, cost = self._quote_picture(picture)
        return Quote(
            picture_tokens=picture,
            input=usage.input,
            cached=usage.cached,
            output=usage.output,
            cost=cost,
            sent_bytes=len(image.data),
            original_bytes=original_bytes,
            original_tokens=self._count_original(image.info.width, image.info.height),
        )

    def quote_repair(self, answer: str) -> Quote:
        """What putting this answer right in words is expected to use and cost."""
        answered = estimate_text_tokens(answer)
        words = estimate_repair_tokens(self._question, output_limit=answered)
        usage = assume_cached(self._question, replace(self._expect(0), input=words))
        return Quote(
            input=usage.input,
            cached=usage.cached,
            output=usage.output,
            cost=self._price(usage),
        )

    def split_difference(self, quote: Quote, spend: Spend) -> Gaps:
        """Why an answer cost other than quoted; nothing where one of the two has no price."""
        return split_difference(quote, spend, spec=self._spec, tier=self._tier.value)

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

    def _expect(self, picture_tokens: int) -> TokenUsage:
        usage = estimate_usage(self._question, picture_tokens)
        if self._expected_output is None:
            return usage
        return replace(usage, output=min(self._expected_output, self._question.max_output_tokens))

    def _price(self, usage: TokenUsage) -> NanoDollars | None:
        return price(self._spec, usage, self._tier.value) if self._spec else None

    def _quote_tokens(self, picture_tokens: int) -> tuple[TokenUsage, NanoDollars | None]:
        usage = assume_cached(self._question, self._expect(picture_tokens))
        return usage, self._price(usage)

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

    def quote(self, _image: PreparedImage, *, original_bytes: int) -> Quote:  # noqa: ARG002  the same question as RunPricing answers
        return _FREE

    def quote_repair(self, _answer: str) -> Quote:
        return _FREE

    def split_difference(self, _quote: Quote, _spend: Spend) -> Gaps:
        return NO_GAPS

    def estimate_tokens(self, _image: PreparedImage | None, *, output_factor: int = 1) -> int:  # noqa: ARG002  same
        return 0

    def worst_cost(self, _image: PreparedImage, *, output_factor: int = 1) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def worst_repair_cost(self, _answer: str, *, output_factor: int = 1) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def cost(self, _usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:  # noqa: ARG002  same
        return _NOTHING

    def saving(self, _usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars:  # noqa: ARG002  same
        return _NOTHING
