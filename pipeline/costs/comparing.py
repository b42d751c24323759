"""The same pictures asked about otherwise: another model, detail or size. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.costs.estimate import count_picture_tokens
from pipeline.costs.habits import Habits, exactly
from pipeline.costs.models import ModelSpec
from pipeline.costs.quote import Sample, count_input, quote_cost
from pipeline.costs.size_tally import Size
from pipeline.domain.vision import Detail

LANES: Final[Mapping[str, str | None]] = {"standard": None, "flex": "flex", "batch": "batch"}
"""Lanes that a quote is made for, with the tier that names each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to ask."""

    model: str
    spec: ModelSpec | None
    detail: Detail
    side: str
    """``auto``, ``original`` or pixels, as the profile's ``image.max_side`` has it."""
    fit: Callable[[int, int], Size]
    """Upright size to the size that is sent."""
    habits: Habits
    is_retired: bool = False
    """The model answers no more."""

    @property
    def is_offered(self) -> bool:
        """Whether the model knows the detail level."""
        return self.spec is None or self.spec.offers(self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one way to ask comes to; None where the model does not know the detail level."""

    choice: Choice
    picture_tokens_each: float | None = None
    input_tokens: int | None = None
    costs: Mapping[str, int | None]
    """Nano-dollars by lane; None: not sold, or no known price."""
    is_cheapest: bool = False
    """None that still answers costs less in the standard lane."""


def compare(
    choices: Sequence[Choice], sizes: Mapping[Size, int], *, images: int
) -> Sequence[Comparison]:
    """Quote each way to ask.

    Args:
        choices: the ways.
        sizes: upright sizes of pictures, and how many there are of each.
        images: how many images they stand for.
    """
    quoted = [_quote(choice, sizes, images) for choice in choices]
    costs = [one.costs["standard"] for one in quoted if not one.choice.is_retired]
    least = min((cost for cost in costs if cost is not None), default=None)
    return [
        Comparison(
            choice=one.choice,
            picture_tokens_each=one.picture_tokens_each,
            input_tokens=one.input_tokens,
            costs=one.costs,
            is_cheapest=_is_least(one, least) and images > 0,
        )
        for one in quoted
    ]


def _is_least(one: Comparison, least: int | None) -> bool:
    return not one.choice.is_retired and least is not None and one.costs["standard"] == least


def _quote(choice: Choice, sizes: Mapping[Size, int], images: int) -> Comparison:
    if not choice.is_offered:
        return Comparison(choice=choice, costs=dict.fromkeys(LANES))
    tokens: Counter[int] = Counter()
    for size, count in sizes.items():
        sent = choice.fit(*size)
        tokens[count_picture_tokens(choice.spec, choice.detail, *sent)] += count
    pictures = tokens.total()
    sample = Sample(
        picture_tokens=tokens, looked_at=pictures, population=exactly(max(images, pictures))
    )
    costs = {
        lane: None if (cost := quote_cost(choice.spec, sample, choice.habits, tier=tier)) is None
        else cost.expected
        for lane, tier in LANES.items()
    }  # fmt: skip
    total = sum(each * count for each, count in tokens.items())
    return Comparison(
        choice=choice,
        picture_tokens_each=total / pictures if pictures else 0.0,
        input_tokens=count_input(sample, choice.habits).expected,
        costs=costs,
    )
