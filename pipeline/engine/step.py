"""One of the requests that may follow each other for one picture."""

from dataclasses import dataclass
from typing import Final

from pipeline.domain.outcomes import Reused, Spend
from pipeline.domain.usage import NanoDollars, Quote
from pipeline.domain.vision import Repair, VisionRequest, VisionResponse
from pipeline.engine.routes import Route
from pipeline.engine.shelf import Picture

ROOM_FACTOR: Final = 4
"""So many times the output tokens has a second try after an answer that was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Whom to ask, and how."""

    route: Route
    key: bytes
    """Of the request: same picture, same question, same key."""
    name: str = "ask"
    """What it is for: ``ask``, ``repair``, ``more_room`` or ``fallback``."""
    repair: Repair | None = None
    has_more_room: bool = False
    delay_seconds: float = 0.0
    """To wait before it is asked again."""
    unsure: Reused | None = None
    """An answer that is there already, for want of a surer one."""

    @property
    def is_follow_up(self) -> bool:
        """Whether it mends an answer that was paid for already."""
        return self.has_more_room or self.repair is not None

    @property
    def output_factor(self) -> int:
        return ROOM_FACTOR if self.has_more_room else 1

    def count_tokens(self, picture: Picture) -> int:
        """Tokens that the request draws from the rate at most."""
        image = None if self.repair else picture.prepared
        return self.route.pricing.estimate_tokens(image, output_factor=self.output_factor)

    def find_worst(self, picture: Picture) -> NanoDollars | None:
        """Nano-dollars that the request can cost at most; None when nobody knows."""
        pricing = self.route.pricing
        if self.repair is not None:
            return pricing.worst_repair_cost(self.repair.answer, output_factor=self.output_factor)
        return pricing.worst_cost(picture.prepared, output_factor=self.output_factor)

    def quote(self, picture: Picture, *, original_bytes: int) -> Quote:
        """What the request is expected to use and cost."""
        pricing = self.route.pricing
        if self.repair is not None:
            return pricing.quote_repair(self.repair.answer)
        return pricing.quote(picture.prepared, original_bytes=original_bytes)

    def make_request(self, picture: Picture) -> VisionRequest:
        route = self.route
        return VisionRequest(
            question=route.roomy_question if self.has_more_room else route.question,
            image=picture.prepared,
            service_tier=route.tier,
            repair=self.repair,
        )

    def price(self, response: VisionResponse, picture: Picture) -> Spend:
        """What an answer used and cost; estimated where the server does not say."""
        pricing, usage = self.route.pricing, response.usage
        if response.usage_is_estimated:
            usage = pricing.estimate_usage(picture.prepared)
        model, tier = response.model, response.service_tier
        return Spend(
            usage=usage,
            cost=pricing.cost(usage, model=model, tier=tier),
            model=model,
            service_tier=tier,
            usage_is_estimated=response.usage_is_estimated,
            request_id=response.request_id,
            saved=pricing.saving(usage, model=model, tier=tier),
        )
