"""Sorting into strata, sharing a sample out among them, and drawing it."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.jobs import JobId
from pipeline.engine.pilot import Census, Draw, Stratum, allocate, stratify

STRATA = st.dictionaries(
    st.builds(Stratum, st.text("abc", max_size=3)), st.integers(1, 10_000), min_size=1
)
FILES = st.lists(
    st.tuples(
        st.sampled_from(["shoes/red/", "shoes/blue/old/", "hats/", "hats/felt/", ""]),
        st.sampled_from(["jpg", "PNG", "webp"]),
        st.integers(1, 20_000_000),
    ),
    min_size=1,
    max_size=120,
)


@pytest.mark.parametrize(
    ("path", "size", "stratum"),
    [
        ("a.jpg", 10, (".", "under 4 kB", "jpg")),
        ("b.jpg", 65_535, (".", "16 to 64 kB", "jpg")),
        ("shoes/a.JPG", 65_536, ("shoes", "64 to 256 kB", "jpg")),
        ("shoes/red/a.b.png", 300_000, ("shoes/red", "256 kB to 1 MB", "png")),
        ("shoes/red/old/a.webp", 2_000_000, ("shoes/red", "1 to 4 MB", "webp")),
        ("shoes/.d/noname", 16 * 1_048_576, ("shoes/.d", "over 16 MB", "")),
        ("shoes/x.y/.hidden", 5_000_000, ("shoes/x.y", "4 to 16 MB", "")),
    ],
)
def test_files_are_told_apart_by_folder_size_and_extension(
    path: str, size: int, stratum: tuple[str, str, str]
) -> None:
    assert stratify(path, size) == stratum


@given(counts=STRATA, sample=st.integers(0, 20_000))
def test_a_sample_is_shared_out_whole_and_never_beyond_what_there_is(
    counts: dict[Stratum, int], sample: int
) -> None:
    allocation = allocate(counts, sample)
    total = sum(counts.values())
    assert sum(allocation.values()) == min(sample, total)
    assert all(1 <= drawn <= counts[stratum] for stratum, drawn in allocation.items())
    if sample >= len(counts):
        assert set(allocation) == set(counts)


@given(counts=STRATA, sample=st.integers(1, 20_000))
def test_each_stratum_has_its_share_of_what_is_left_after_one_of_each(
    counts: dict[Stratum, int], sample: int
) -> None:
    allocation, total = allocate(counts, sample), sum(counts.values())
    if len(counts) < sample < total:
        more, left = sample - len(counts), total - len(counts)
        for stratum, drawn in allocation.items():
            assert abs(drawn - 1 - (counts[stratum] - 1) * more / left) < 1


def test_the_largest_strata_are_seen_where_there_are_too_many() -> None:
    counts = {Stratum("a"): 5, Stratum("b"): 9, Stratum("c"): 7}
    assert allocate(counts, 2) == {Stratum("b"): 1, Stratum("c"): 1}


def list_files(files: list[tuple[str, str, int]]) -> list[tuple[JobId, str, Stratum]]:
    named = [(f"{folder}{n}.{kind}", size) for n, (folder, kind, size) in enumerate(files)]
    return [(JobId(n), path, stratify(path, size)) for n, (path, size) in enumerate(named)]


def draw(
    listed: list[tuple[JobId, str, Stratum]], sample: int, seed: int = 0
) -> dict[str, Stratum]:
    census = Census(sample)
    for _, _, stratum in listed:
        census.add(stratum)
    drawing = Draw(allocate(census.counts, sample), seed=seed)
    for job, path, stratum in listed:
        drawing.add(census.place(stratum), job, path=path, uri=f"/photos/{path}")
    names = {job: path for job, path, _ in listed}
    return {names[job]: stratum for job, stratum in drawing.finish().items()}


@given(files=FILES, sample=st.integers(1, 150), seed=st.integers(0, 3), order=st.randoms())
def test_a_sample_does_not_depend_on_the_order_in_which_images_come(
    files: list[tuple[str, str, int]], sample: int, seed: int, order: random.Random
) -> None:
    listed = list_files(files)
    drawn = draw(listed, sample, seed)
    assert len(drawn) == min(sample, len(listed))
    order.shuffle(listed)
    assert draw(listed, sample, seed) == drawn


@given(files=FILES, sample=st.integers(1, 150))
def test_a_census_counts_each_image_in_the_stratum_it_is_drawn_from(
    files: list[tuple[str, str, int]], sample: int
) -> None:
    listed, census = list_files(files), Census(sample)
    for _, _, stratum in listed:
        census.add(stratum)
    assert census.counts == Counter(census.place(stratum) for _, _, stratum in listed)
    assert len(census.counts) <= max(1, sample // 2)


def test_each_department_is_seen_where_strata_have_to_be_joined() -> None:
    files = [(f"dep{n % 10}/", ("jpg", "png")[n % 2], 10 ** (2 + n % 7)) for n in range(700)]
    folders = {stratum.folder for stratum in draw(list_files(files), 20).values()}
    assert folders == {f"dep{n}" for n in range(10)}


def test_a_larger_sample_of_one_stratum_holds_the_smaller() -> None:
    listed = list_files([("", "jpg", 100)] * 200)
    assert set(draw(listed, 20)) < set(draw(listed, 60))
    assert len(set(draw(listed, 20)) & set(draw(listed, 20, seed=1))) < 10


def test_any_number_of_folders_is_counted_in_a_bounded_number_of_strata() -> None:
    census = Census(50)
    for n in range(5_000):
        census.add(stratify(f"{n}/{n}.jpg", 100 * n))
        assert len(census.counts) <= 25
    assert census.counts.total() == 5_000


def test_libraries_with_the_same_names_are_drawn_from_in_one_order() -> None:
    twins = [(JobId(1), "/a/x.jpg"), (JobId(2), "/b/x.jpg")]
    drawn = []
    for order in (twins, twins[::-1]):
        drawing = Draw({Stratum(): 1}, seed=0)
        for job, uri in order:
            drawing.add(Stratum(), job, path="x.jpg", uri=uri)
        drawn.append(drawing.finish())
    assert drawn[0] == drawn[1] == {JobId(2): Stratum()}
