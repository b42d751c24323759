"""A rate is divided so that nobody who wants more has less than another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.limits.shares import Demand, apportion

DEMANDS = st.builds(Demand, use_per_second=st.floats(0, 1e4), is_hungry=st.booleans())


def hungry(use: float) -> Demand:
    return Demand(use_per_second=use, is_hungry=True)


def content(use: float) -> Demand:
    return Demand(use_per_second=use, is_hungry=False)


def divide(*everybody: Demand) -> list[float]:
    return [
        apportion(own, everybody[:index] + everybody[index + 1 :])
        for index, own in enumerate(everybody)
    ]


@given(st.lists(DEMANDS, min_size=1, max_size=12))
def test_everybody_has_something_and_together_they_have_all(everybody: list[Demand]) -> None:
    shares = divide(*everybody)
    assert all(0 < share <= 1 for share in shares)
    assert sum(shares) == pytest.approx(1)


@given(st.lists(DEMANDS, min_size=1, max_size=12))
def test_no_hungry_one_has_less_than_another(everybody: list[Demand]) -> None:
    shares = divide(*everybody)
    for own, share in zip(everybody, shares, strict=True):
        if own.is_hungry:
            assert share == pytest.approx(max(shares))


@given(st.lists(DEMANDS, min_size=1, max_size=12))
def test_nobody_loses_what_it_uses_unless_it_is_more_than_an_equal_share(
    everybody: list[Demand],
) -> None:
    total = sum(demand.use_per_second for demand in everybody)
    for own, share in zip(everybody, divide(*everybody), strict=True):
        fair = min(own.use_per_second / total if total else 0.0, 1 / len(everybody))
        assert share >= fair * (1 - 1e-9)


def test_alone_one_has_it_all() -> None:
    assert divide(content(0)) == [1]
    assert divide(hungry(7)) == [1]


def test_one_who_joins_hungry_has_half_at_once() -> None:
    assert divide(hungry(20), hungry(0)) == [0.5, 0.5]


def test_who_needs_little_leaves_the_rest_to_the_hungry() -> None:
    little, first, second = divide(content(2), hungry(9), hungry(9))
    assert little == pytest.approx(0.1 * 1.25 + 0.1 / 3)
    assert first == second == pytest.approx((1 - little) / 2)


def test_where_nobody_wants_more_all_have_room() -> None:
    first, second = divide(content(1), content(3))
    assert 0.25 <= first < 0.4
    assert first + second == pytest.approx(1)
