"""What the requests of one run are expected to cost, may cost, and did cost."""

from pipeline.costs.estimate import Estimate, estimate_request
from pipeline.costs.models import ModelSpec, ModelTable
from pipeline.costs.prices import price
from pipeline.domain.images import PreparedImage
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import Question, ServiceTier


class RunPricing:
    """Prices of one question, by the model table of the day the run began."""

    def __init__(self, table: ModelTable, question: Question, tier: ServiceTier) -> None:
        self._table = table
        self._spec: ModelSpec | None = table.find(question.model)
        self._question = question
        self._tier = None if tier is ServiceTier.AUTO else tier.value

    def estimate_usage(self, image: PreparedImage) -> TokenUsage:
        """Tokens that asking about this picture is expected to take."""
        estimate = self._estimate(image)
        return TokenUsage(input=estimate.input_tokens, output=estimate.output_tokens)

    def worst_cost(self, image: PreparedImage) -> NanoDollars | None:
        """Nano-dollars at most, at the tier asked for; None when the price is unknown."""
        return self._estimate(image).worst_cost

    def cost(self, usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:
        """Nano-dollars of what was used; None when the model that answered has no price."""
        spec = self._table.find(model)
        return None if spec is None else price(spec, usage, tier)

    def _estimate(self, image: PreparedImage) -> Estimate:
        return estimate_request(
            self._spec, self._question, image.width, image.height, tier=self._tier
        )


class FreeOfCharge:
    """Nothing is sent, nothing is paid: the offline analyser."""

    def estimate_usage(self, _image: PreparedImage) -> TokenUsage:
        return TokenUsage()

    def worst_cost(self, _image: PreparedImage) -> NanoDollars | None:
        return NanoDollars(0)

    def cost(self, _usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:  # noqa: ARG002  the same question as RunPricing answers
        return NanoDollars(0)
