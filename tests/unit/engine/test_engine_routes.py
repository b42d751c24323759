"""Which route is taken: pure, over how the routes stand."""

from pipeline.engine.retry import Why
from pipeline.engine.routes import Standing, choose

RESTING = float("inf")


def standing(rank: int = 0, *opens_for: Why, wait: float = 0.0, load: int = 0) -> Standing:
    return Standing(rank=rank, opens_for=frozenset(opens_for), wait_seconds=wait, load=load)


def test_the_first_rank_is_asked_while_it_can_be() -> None:
    assert choose([standing(), standing(1, Why.OUTAGE, Why.RATE)]) == 0
    assert choose([standing(wait=1.5), standing(1, Why.RATE)]) == 0


def test_equals_are_taken_by_what_each_has_left() -> None:
    assert choose([standing(wait=0.5), standing(wait=0.1)]) == 1
    assert choose([standing(load=9), standing(load=3)]) == 1


def test_a_long_wait_for_the_rate_spills_over_where_that_is_allowed() -> None:
    busy = standing(wait=30)
    assert choose([busy, standing(1, Why.RATE)]) == 1
    assert choose([busy, standing(1, Why.OUTAGE)]) == 0
    assert choose([busy, standing(1, Why.RATE, wait=60)]) == 0


def test_an_outage_of_all_equals_leads_to_the_next_that_is_there_for_it() -> None:
    down = standing(wait=RESTING)
    assert choose([down, standing(), standing(1, Why.OUTAGE)]) == 1
    assert choose([down, down, standing(1, Why.OUTAGE)]) == 2
    assert choose([down, standing(1, Why.REFUSAL), standing(2, Why.OUTAGE)]) == 2


def test_where_all_rest_nobody_is_chosen() -> None:
    assert choose([standing(wait=RESTING), standing(1, Why.REFUSAL)]) is None
    assert choose([standing(wait=RESTING), standing(1, Why.OUTAGE, wait=RESTING)]) is None
