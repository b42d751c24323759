"""The ways to an answer: which is taken first, and which takes over for what."""

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

from pipeline.costs.differences import Gaps
from pipeline.costs.image_tokens import TooManyPatches
from pipeline.domain.errors import RateStuck, RunPaused, ServerDown
from pipeline.domain.images import PreparedImage
from pipeline.domain.outcomes import Spend
from pipeline.domain.usage import NanoDollars, Quote, TokenUsage
from pipeline.domain.vision import Question, ServiceTier
from pipeline.engine.retry import Why
from pipeline.limits.breaker import Breaker
from pipeline.limits.deadline import Deadline
from pipeline.limits.gate import Gate, Obstacle
from pipeline.providers.base import Provider

_SPILL_SECONDS: Final = 2.0
"""A wait for the rate beyond this is worth another route, where one is allowed for it."""
_PROBE_SECONDS: Final = 30.0
"""So often a route that failed is tried with one request."""
_FOR_GOOD: Final = float("inf")
_FEWEST_AT_ONCE: Final = 4
"""So many requests go at first, before anything is known."""


class Pricing(Protocol):
    """What a request will and did cost."""

    def estimate_usage(self, image: PreparedImage) -> TokenUsage:
        """Tokens that asking about this picture is expected to take."""

    def quote(self, image: PreparedImage, *, original_bytes: int) -> Quote:
        """What asking about it is expected to use and cost; raises TooManyPatches."""

    def quote_repair(self, answer: str) -> Quote:
        """What putting this answer right is expected to use and cost."""

    def split_difference(self, quote: Quote, spend: Spend) -> Gaps:
        """Why an answer cost other than quoted: parts that add up to the difference."""

    def estimate_tokens(self, image: PreparedImage | None, *, output_factor: int = 1) -> int:
        """Tokens that a request draws from the rate at most; without a picture, in words alone."""

    def worst_cost(self, image: PreparedImage, *, output_factor: int = 1) -> NanoDollars | None:
        """Nano-dollars that asking can cost at most; None when the price is unknown."""

    def worst_repair_cost(self, answer: str, *, output_factor: int = 1) -> NanoDollars | None:
        """Nano-dollars that putting this answer right can cost at most."""

    def cost(self, usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars | None:
        """Nano-dollars of what was used, by the model and tier that answered."""

    def saving(self, usage: TokenUsage, *, model: str, tier: str | None) -> NanoDollars:
        """Nano-dollars that prompt caching took off that cost."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """A server and key, a model, a lane; and what bounds how they are asked."""

    name: str
    """The server, as users may see it."""
    account: str | None
    """Stands for server and key wherever processes share a rate; None: nothing to share."""
    rank: int
    """0: asked first, side by side with all others of rank 0; then by rank."""
    opens_for: AbstractSet[Why]
    question: Question
    roomy_question: Question
    """The same with more output tokens."""
    provider: Provider
    tier: ServiceTier
    pricing: Pricing
    gate: Gate
    deadline: Deadline
    breaker: Breaker
    retirement: str = ""
    """What is known of the model's end, as a sentence; empty when nothing is."""

    def takes(self, image: PreparedImage) -> bool:
        """Whether the model accepts a picture in the size it was made ready in."""
        try:
            self.pricing.estimate_tokens(image)
        except TooManyPatches:
            return False
        return True


class Resting(Enum):
    """What becomes of a route that would make the run pause."""

    BEGUN = auto()
    KNOWN = auto()
    """It rested already."""
    NOT_COVERED = auto()
    """Nobody else can go on: the run has to pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a route stands at the moment of choosing."""

    rank: int
    opens_for: AbstractSet[Why]
    wait_seconds: float
    """Until it may be asked; infinite while it rests."""
    load: int
    """Requests under way, and those that wait for their turn."""


def choose(standings: Sequence[Standing]) -> int | None:
    """Which route takes a picture that nobody was asked about yet; None: all of them rest.

    The first rank, where the wait is shortest and the fewest requests are under way. A later
    rank takes over when all of the first rest and it is there for outages, or when they would
    have to wait long and it is there for that.
    """
    best = _pick_first(standings, lambda standing: standing.rank == 0)
    wait = _FOR_GOOD if best is None else standings[best].wait_seconds
    if wait <= _SPILL_SECONDS:
        return best
    why = Why.OUTAGE if best is None else Why.RATE
    for rank in sorted({standing.rank for standing in standings} - {0}):
        found = _pick_first(standings, partial(_takes_over, rank=rank, why=why))
        if found is not None and standings[found].wait_seconds < wait:
            return found
    return best


def _takes_over(standing: Standing, *, rank: int, why: Why) -> bool:
    return standing.rank == rank and why in standing.opens_for


def _pick_first(standings: Sequence[Standing], is_meant: Callable[[Standing], bool]) -> int | None:
    awake = [
        (standing.wait_seconds, standing.load, place)
        for place, standing in enumerate(standings)
        if is_meant(standing) and standing.wait_seconds != _FOR_GOOD
    ]
    return min(awake)[2] if awake else None


@dataclass(slots=True)
class Routes:
    """All routes of a run, and which of them rest."""

    all: Sequence[Route]
    _resting: dict[Route, float] = field(default_factory=dict)
    """Until when a route is not asked; infinite: not in this run."""
    _peaks: Counter[Route] = field(default_factory=Counter)
    """The most that was under way by a route since its last good answer."""

    def __post_init__(self) -> None:
        if not self.all:
            raise ValueError("a run needs a route")

    @property
    def first(self) -> Route:
        return self.all[0]

    def choose(self, now: float, image: PreparedImage) -> Route:
        """The route for a picture that nobody was asked about yet.

        Where all rest, the first: its failing again is what has to be told.
        """
        if len(self.all) == 1:
            return self.first
        route = self._pick(now, [r for r in self.all if r.takes(image)])
        if route in self._resting:
            self._resting[route] = now + _PROBE_SECONDS  # one probe at a time
        return route

    def find_next(self, route: Route, why: Why, now: float, image: PreparedImage) -> Route | None:
        """The route that takes over from another for a cause, and takes the picture."""
        later = [r for r in self.all if r.rank > route.rank and why in r.opens_for]
        awake = [r for r in later if not self._is_resting(r, now) and r.takes(image)]
        return min(awake, key=lambda r: r.rank, default=None)

    def leads_on(self, route: Route, now: float, image: PreparedImage) -> frozenset[Why]:
        """For what somebody could take over."""
        if len(self.all) == 1:
            return frozenset()
        return frozenset(why for why in Why if self.find_next(route, why, now, image) is not None)

    def note_sent(self, route: Route) -> None:
        """One more request is under way."""
        self._peaks[route] = max(self._peaks[route], route.gate.in_flight)

    def note_answer(self, route: Route) -> None:
        """A good answer: what was wrong with the route and passes is over."""
        self._peaks[route] = route.gate.in_flight
        if self._resting.get(route) != _FOR_GOOD:
            self._resting.pop(route, None)

    def find_peak(self, route: Route) -> int:
        """How many requests may have met the same fault at the same moment."""
        return max(_FEWEST_AT_ONCE, self._peaks[route])

    def rest(self, route: Route, pause: RunPaused, now: float) -> Resting:
        """Leave a route alone for what would pause the run, where others can go on."""
        passes = isinstance(pause, ServerDown | RateStuck)
        if not self._is_covered(route, pause, now):
            return Resting.NOT_COVERED
        was_awake = not self._is_resting(route, now)
        self._resting[route] = now + _PROBE_SECONDS if passes else _FOR_GOOD
        # who stands in line there is sent to the others
        (route.gate.send_away if passes else route.gate.close)()
        return Resting.BEGUN if was_awake else Resting.KNOWN

    def retire(self, route: Route) -> None:
        """Ask by this route no more; who stands in line there is sent to the others."""
        self._resting[route] = _FOR_GOOD
        # not closed: it may be another's gate, too
        route.gate.send_away()

    def find_wait_elsewhere(self, route: Route, now: float) -> float:
        """Seconds until another of the first could be asked; infinite where there is none."""
        others = [r for r in self.all if r.rank == 0 and r.gate is not route.gate]
        waits = [r.gate.wait_seconds(0) for r in others if not self._is_resting(r, now)]
        return min(waits, default=_FOR_GOOD)

    def disperse(self, route: Route, now: float) -> None:
        """Send away who stands in line where the server asked to wait long, if others do not."""
        if len(self.all) == 1 or route.rank:
            return
        standing = route.gate.describe()
        is_held = standing.obstacle is Obstacle.HOLD and standing.wait_seconds > _SPILL_SECONDS
        if is_held and standing.waiting and self._pick(now, self.all) is not route:
            route.gate.send_away()

    def close(self) -> None:
        """Let nobody pass any more."""
        for route in self.all:
            route.gate.close()

    def _pick(self, now: float, among: Sequence[Route]) -> Route:
        place = choose([self._stand(route, now) for route in among])
        return self.first if place is None else among[place]

    def _stands_by(self, why: Why, now: float) -> bool:
        return any(why in r.opens_for and not self._is_resting(r, now) for r in self.all)

    def _is_covered(self, route: Route, pause: RunPaused, now: float) -> bool:
        """Whether the run can go on without the route."""
        firsts = [r for r in self.all if r.rank == 0 and r is not route]
        passes = isinstance(pause, ServerDown | RateStuck)
        if any(
            # one gate is one key and model: what closes it closes it for both
            not self._is_resting(r, now) and (passes or r.gate is not route.gate)
            for r in firsts
        ):
            return True
        why = Why.RATE if isinstance(pause, RateStuck) else Why.OUTAGE
        return route.rank == 0 and passes and self._stands_by(why, now)

    def _is_resting(self, route: Route, now: float) -> bool:
        return self._resting.get(route, now) > now or route.gate.wait_seconds(0) == _FOR_GOOD

    def _stand(self, route: Route, now: float) -> Standing:
        gate, is_resting = route.gate, self._is_resting(route, now)
        return Standing(
            rank=route.rank,
            opens_for=route.opens_for,
            wait_seconds=_FOR_GOOD if is_resting else gate.wait_seconds(0),
            load=gate.in_flight + gate.describe().waiting,
        )
