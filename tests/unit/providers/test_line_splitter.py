"""Lines out of slices: the same whatever the slices, and never more kept than one line."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import TransportError
from pipeline.providers.line_splitter import LineSplitter

TEXTS = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"\xe2\x80\xa8", b"{}", b""])).map(b"".join)


def split(chunks: list[bytes], *, most_bytes: int = 1000) -> list[bytes]:
    splitter = LineSplitter(most_bytes=most_bytes)
    return [*(line for chunk in chunks for line in splitter.feed(chunk)), splitter.take_rest()]


@given(data=TEXTS, cuts=st.lists(st.integers(0, 300)))
def test_lines_are_the_same_wherever_the_stream_is_sliced(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert split(chunks) == data.split(b"\n")


@pytest.mark.parametrize("slices", [1, 3, 11])
def test_line_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(slices: int) -> None:
    def cut(data: bytes) -> list[bytes]:
        return [data[start : start + slices] for start in range(0, len(data), slices)]

    assert split(cut(b"1234567890\n12\n"), most_bytes=10) == [b"1234567890", b"12", b""]
    with pytest.raises(TransportError, match="more than 10 bytes"):
        split(cut(b"12345678901\n12\n"), most_bytes=10)


def test_lines_before_one_that_is_too_long_are_delivered() -> None:
    splitter = LineSplitter(most_bytes=3)
    lines = splitter.feed(b"1\n22\n4444\n")
    assert [next(lines), next(lines)] == [b"1", b"22"]
    with pytest.raises(TransportError):
        next(lines)
