"""From a sample to the rest: exact where it can be, and honest about the rest."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.engine.pilot import Stratum, allocate
from pipeline.engine.projection import (
    Interval,
    Measured,
    estimate_rest,
    estimate_share,
    find_t,
    project,
)

A, B, C = Stratum("a"), Stratum("b"), Stratum("c")
SIZES = st.dictionaries(
    st.builds(Stratum, st.text("abc", max_size=2)), st.integers(1, 500), min_size=1
)


@given(waiting=SIZES, cost=st.integers(0, 10**9), sample=st.integers(2, 200))
def test_the_projection_is_exact_where_all_cost_the_same(
    waiting: dict[Stratum, int], cost: int, sample: int
) -> None:
    drawn = allocate(waiting, sample)
    values = {stratum: [float(cost)] * count for stratum, count in drawn.items()}
    rest = sum(waiting.values()) - sum(drawn.values())
    found = estimate_rest(values, waiting)
    assert found.expected == pytest.approx(cost * rest)
    if sum(drawn.values()) > 1:
        assert found.low == found.high == pytest.approx(cost * rest)


@given(waiting=SIZES, seed=st.integers(0, 9))
def test_nothing_is_left_to_guess_where_all_were_asked(
    waiting: dict[Stratum, int], seed: int
) -> None:
    rng = random.Random(seed)
    values = {one: [rng.random() for _ in range(count)] for one, count in waiting.items()}
    assert estimate_rest(values, waiting) == Interval(expected=0.0, low=0.0, high=0.0)


def test_each_stratum_weighs_what_waits_in_it() -> None:
    found = estimate_rest({A: [10.0, 10.0], B: [1.0, 1.0]}, {A: 4, B: 102})
    assert found == Interval(expected=120.0, low=120.0, high=120.0)


def test_one_image_tells_no_range() -> None:
    found = estimate_rest({A: [10.0]}, {A: 4})
    assert (found.expected, found.low, found.high) == (30.0, None, None)


def test_strata_with_one_image_each_share_a_variance() -> None:
    alone = estimate_rest({A: [10.0], B: [30.0]}, {A: 50, B: 50})
    assert alone.low is not None
    assert alone.high is not None
    assert alone.low < alone.expected == 49 * 40 < alone.high
    # what little the other strata vary does not make up for how far the single ones lie apart
    more = estimate_rest({A: [10.0], B: [30.0], C: [5.0, 6.0]}, {A: 50, B: 50, C: 2})
    assert more.high == pytest.approx(alone.high)


def test_a_stratum_of_which_nothing_ended_is_taken_to_be_like_the_others() -> None:
    found = estimate_rest({A: [10.0, 12.0], B: []}, {A: 2, B: 10})
    assert found.expected == 110
    assert found.low is not None
    assert found.low < 110


def make_population(rng: random.Random) -> dict[Stratum, list[float]]:
    """Costs that differ between strata and, some more, within; some are free."""
    return {
        Stratum(name): [
            0.0 if rng.random() < 0.1 else base * rng.lognormvariate(0, spread)
            for _ in range(count)
        ]
        for name, base, spread, count in (
            ("shoes", 100, 0.3, 900), ("hats", 300, 0.5, 300), ("rare", 2_000, 0.2, 25),
        )
    }  # fmt: skip


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for trial in range(400):
        rng = random.Random(trial)
        population = make_population(rng)
        waiting = {stratum: len(costs) for stratum, costs in population.items()}
        values = {
            one: rng.sample(population[one], count) for one, count in allocate(waiting, 50).items()
        }
        truth = sum(map(sum, population.values())) - sum(map(sum, values.values()))
        found = estimate_rest(values, waiting)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held / 400 >= 0.92


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 20, 100, 10_000])
def test_quantiles_are_those_of_students_distribution(degrees: int) -> None:
    assert find_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


def test_a_share_of_what_never_occurred_is_not_certain() -> None:
    found = estimate_share({A: [0.0] * 50}, {A: 1_000})
    assert (found.expected, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.05 < found.high < 0.1
    assert estimate_share({}, {A: 3}).low is None
    assert estimate_share({A: [0.0, 1.0]}, {A: 2}) == Interval(expected=0.5, low=0.5, high=0.5)


def test_a_projection_is_about_all_that_was_measured() -> None:
    sample = [
        Measured(
            stratum=A, cost_nanos=cost, input_tokens=100, output_tokens=10,
            is_failed=not cost, is_refused=False, needs_review=bool(cost),
        )
        for cost in (0, 40)
    ]  # fmt: skip
    found = project(sample, {A: 12})
    assert found.images == 10
    assert found.cost_nanos.expected == 200
    assert (found.input_tokens.expected, found.output_tokens.expected) == (1_000, 100)
    shares = (found.free, found.failed, found.refused, found.needs_review)
    assert [one.expected for one in shares] == [0.5, 0.5, 0, 0.5]
