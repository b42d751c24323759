"""Whether a service counts pictures as the formula does, told from sums alone."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.drift import (
    Moments,
    Slope,
    SlopeMeter,
    correct_multiplier,
    describe_drift,
    is_telling,
)
from pipeline.costs.models import ModelSpec, load_models

TABLE = load_models(on=date(2026, 11, 20))
SIZES = tuple(range(300, 1_300, 10))


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


def sum_up(pictures: list[tuple[int, int]]) -> Moments:
    """Of pairs of what the formula says and what was billed."""
    return Moments(
        pictures=len(pictures),
        tokens=sum(x for x, _ in pictures),
        squares=sum(x * x for x, _ in pictures),
        inputs=sum(y for _, y in pictures),
        products=sum(x * y for x, y in pictures),
    )


def measure_slope(groups: list[Moments]) -> Slope:
    meter = SlopeMeter()
    for group in groups:
        meter.add(group)
    return meter.slope


@given(words=st.lists(st.integers(0, 5_000), min_size=1, max_size=4), numerator=st.integers(1, 30))
def test_the_factor_is_found_exactly_whatever_the_words_of_each_run(
    words: list[int], numerator: int
) -> None:
    groups = [sum_up([(10 * x, numerator * x + each) for x in SIZES]) for each in words]
    assert measure_slope(groups).factor == Fraction(numerator, 10)


def test_rounding_each_picture_hardly_moves_the_factor() -> None:
    slope = measure_slope([sum_up([(x, -(-x * 1032 // 1000) + 90) for x in SIZES])])
    assert slope.factor is not None
    assert abs(slope.factor - Fraction(1032, 1000)) < Fraction(1, 1000)


@pytest.mark.parametrize("sizes", [(765,) * 500, (765, 766) * 100, ()])
def test_pictures_of_one_size_cannot_be_told_apart_from_the_words(sizes: tuple[int, ...]) -> None:
    slope = measure_slope([sum_up([(x, 2 * x) for x in sizes])])
    assert slope == Slope(answers=len(sizes), factor=None)
    assert not is_telling(slope)
    assert describe_drift("m", slope, None) is None


@pytest.mark.parametrize(
    ("answers", "factor", "told"),
    [
        (50, Fraction(102, 100), True),
        (49, Fraction(102, 100), False),
        (50, Fraction(98, 100), True),
        (5_000, Fraction(101, 100), False),
    ],
)
def test_a_person_is_told_of_more_than_a_hundredth_on_enough_pictures(
    answers: int, factor: Fraction, told: bool
) -> None:
    slope = Slope(answers=answers, factor=factor)
    assert is_telling(slope) is told
    assert (describe_drift("m", slope, None) is not None) is told


def test_the_new_multiplier_is_named_for_models_with_patches() -> None:
    spec = replace(spec_of("gpt-5.4-mini"), multiplier=Fraction(12, 10))
    factor = Fraction(1032, 1000)
    assert correct_multiplier(spec, factor) == Fraction(12384, 10_000)
    assert describe_drift("gpt-x", Slope(answers=1_234, factor=factor), spec) == (
        "gpt-x counts 3.2 % more picture tokens than the formula (1,234 answers)",
        "add a multiplier of 1.2384 for gpt-5.4-mini in a file under models:",
    )


def test_for_tiles_and_unknown_models_another_way_is_named() -> None:
    slope = Slope(answers=60, factor=Fraction(9, 10))
    tiles = describe_drift("gpt-4o-2024-08-06", slope, spec_of("gpt-4o"))
    assert tiles == (
        "gpt-4o-2024-08-06 counts 10.0 % fewer picture tokens than the formula (60 answers)",
        "correct the tiles of gpt-4o (sizing) in a file under models:",
    )
    assert correct_multiplier(spec_of("gpt-4o"), Fraction(9, 10)) is None
    unknown = describe_drift("llava", slope, None)
    assert unknown is not None
    assert "add a row" in unknown[1]
