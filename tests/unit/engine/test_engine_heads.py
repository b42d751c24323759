"""Looking at pictures without reading them: as little as will do, and copies by how they begin."""

import random
from dataclasses import dataclass, field

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageRef
from pipeline.domain.outcomes import Cause
from pipeline.engine.heads import HeadReader, Look, PaidMarks, SeenKeys
from pipeline.preprocess.prepare import PrepareOptions
from pipeline.preprocess.sizes import fit_longest_side

pytestmark = pytest.mark.anyio

OPTIONS = PrepareOptions(
    fit=fit_longest_side(512),
    max_bytes=8_000_000,
    max_pixels=50_000_000,
    min_side=8,
    description="",
)


@dataclass
class Shelf:
    """A source of files in memory that counts what is read of them."""

    files: dict[str, bytes]
    reads: list[int | None] = field(default_factory=list)

    async def read_head(self, image: ImageRef, *, max_bytes: int) -> bytes:
        self.reads.append(max_bytes)
        return self.files[image.uri][:max_bytes]

    async def read(self, image: ImageRef, *, max_bytes: int) -> bytes:
        self.reads.append(None)
        return self.files[image.uri][:max_bytes]


async def look(data: bytes, *, shelf: Shelf | None = None) -> Look:
    shelf = shelf or Shelf({})
    shelf.files["a"] = data
    image = ImageRef(uri="a", size=len(data), version="1")
    return await HeadReader(OPTIONS).look(shelf, image)  # type: ignore[arg-type]


async def test_the_head_of_a_large_photograph_is_enough() -> None:
    shelf = Shelf({})
    found = await look(pictures.jpeg(2400, 1800, quality=98), shelf=shelf)
    assert (found.foresight.width, found.foresight.height) == (512, 384)
    assert shelf.reads == [65_536]


async def test_more_is_read_when_the_header_is_long() -> None:
    data = pictures.jpeg(640, 480)
    for _ in range(30):
        data = pictures.with_jpeg_segment(data, 0xEC, bytes(60_000))
    shelf = Shelf({})
    assert (await look(data, shelf=shelf)).foresight.info.width == 640
    assert shelf.reads == [65_536, 1_048_576, None]


@pytest.mark.parametrize("size", [0, 9_000_000])
async def test_what_the_listing_tells_is_not_opened(size: int) -> None:
    shelf = Shelf({"a": b"?"})
    image = ImageRef(uri="a", size=size, version="1")
    with pytest.raises(ImageError) as caught:
        await HeadReader(OPTIONS).look(shelf, image)  # type: ignore[arg-type]
    assert caught.value.cause is (Cause.TOO_LARGE if size else Cause.EMPTY)
    assert shelf.reads == []


async def test_no_picture_is_refused_by_its_head() -> None:
    shelf = Shelf({})
    with pytest.raises(ImageError) as caught:
        await look(b"just words " * 20_000, shelf=shelf)
    assert caught.value.cause is Cause.NOT_AN_IMAGE
    assert shelf.reads == [65_536]


async def test_copies_have_the_same_key_and_others_have_not() -> None:
    photo = pictures.jpeg(2000, 1500, quality=98)
    keys = [(await look(data)).key for data in (photo, photo, photo + b"\0", pictures.jpeg(96, 64))]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


async def test_large_bitmaps_that_begin_alike_are_no_copies() -> None:
    scan = pictures.encode(pictures.photo(600, 400), "bmp")
    other = scan[:-9] + b"different"
    assert (await look(scan)).key is (await look(other)).key is None
    small = pictures.encode(pictures.photo(60, 40), "bmp")
    assert (await look(small)).key is not None


@given(st.lists(st.integers(1, 2**64 - 1), max_size=300))
def test_each_key_is_new_once(keys: list[int]) -> None:
    seen, known = SeenKeys(), set[int]()
    for key in keys:
        assert seen.add(key) == (key not in known)
        known.add(key)


def make_mark(size: int, version: str) -> ImageRef:
    return ImageRef(uri="new", size=size, version=version)


def test_each_mark_stands_for_one_moved_image() -> None:
    paid = PaidMarks()
    paid.add(100, "7")
    assert not paid.take(make_mark(100, "8"))
    assert not paid.take(make_mark(1007, ""))
    assert paid.take(make_mark(100, "7"))
    assert not paid.take(make_mark(100, "7"))


def test_a_mark_that_two_images_have_says_nothing() -> None:
    paid = PaidMarks()
    paid.add(100, "7")
    paid.add(100, "7")
    assert not paid.take(make_mark(100, "7"))


def test_many_keys_are_remembered_and_no_more_than_there_is_room_for() -> None:
    chance = random.Random(1)
    keys = [chance.getrandbits(64) | 1 for _ in range(20_000)]
    seen = SeenKeys(most=15_000)
    assert all(seen.add(key) for key in keys)
    assert seen.is_full
    assert not any(seen.add(key) for key in keys[:15_000])
    assert all(seen.add(key) for key in keys[15_000:])
