"""Copies in a library of which a sample was compared: the band holds the truth."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.copies import estimate_copies
from pipeline.costs.habits import Band

IMAGES = 20_000


def make_library(kind: str) -> list[tuple[int, int]]:
    """Size in bytes and picture of each file."""
    chance, files = random.Random(1), list[tuple[int, int]]()
    sizes, times, share = {
        "no copies": (300_000, 1, 0.0),
        "pairs": (300_000, 2, 0.1),
        "pairs among files of few sizes": (2_000, 2, 0.05),
        "fives": (300_000, 5, 0.02),
        "twenties": (300_000, 20, 0.005),
        "one placeholder": (300_000, 1, 0.0),
    }[kind]
    if kind == "one placeholder":
        files += [(12_345, -1)] * 1_000
    while len(files) < IMAGES:
        size = 1 + chance.randrange(sizes)
        files += [(size, len(files))] * (times if chance.random() < share else 1)
    return files


@pytest.mark.parametrize(
    "kind",
    [
        "no copies",
        "pairs",
        "pairs among files of few sizes",
        "fives",
        "twenties",
        "one placeholder",
    ],
)
@pytest.mark.parametrize("drawn", [4_000, 400])
def test_the_true_number_lies_in_the_band(kind: str, drawn: int) -> None:
    files = make_library(kind)
    truth, sizes = len(files) - len(set(files)), len({size for size, _ in files})
    hits = 0
    for seed in range(40):
        found = Counter(random.Random(seed).sample(files, drawn))
        repeats = [count for count in found.values() if count > 1]
        band = estimate_copies(len(files), sizes, drawn=drawn, repeats=repeats)
        hits += band.low <= truth <= band.high
    assert hits >= 33


@given(st.integers(0, 10**6), st.data())
def test_copies_are_no_more_than_there_are_files_of_the_same_size(
    images: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.integers(0, images))
    drawn = data.draw(st.integers(min(1, images), images))
    repeats = data.draw(st.lists(st.integers(2, 10_000), max_size=20))
    band = estimate_copies(images, sizes, drawn=drawn, repeats=repeats)
    assert 0 <= band.low <= band.expected <= band.high <= images - sizes


def test_pairs_stand_for_the_many_of_which_one_half_was_drawn() -> None:
    band = estimate_copies(1_000_000, 500_000, drawn=20_000, repeats=[2] * 40)
    assert band.expected == 100_000
    # they might as well be fewer pictures with many copies each
    assert band.low < 10_000


def test_a_picture_that_is_everywhere_is_counted_by_its_share() -> None:
    band = estimate_copies(1_000_000, 500_000, drawn=20_000, repeats=[600])
    assert band.expected == 29_999
    assert 27_000 < band.low < band.expected < band.high < 43_000


def test_where_no_two_are_alike_nothing_is_taken_off() -> None:
    band = estimate_copies(1_000_000, 999_000, drawn=20_000, repeats=[])
    assert band == Band(expected=0, low=0, high=1_000)
