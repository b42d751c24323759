"""How much preparing holds."""

import pictures
import pytest

from pipeline.domain.images import ImageFormat
from pipeline.preprocess.memory import estimate_memory_bytes, tune_allocators
from pipeline.preprocess.prepare import PrepareOptions, estimate_memory
from pipeline.preprocess.sizes import fit_longest_side, keep_size

OPTIONS = PrepareOptions(
    fit=fit_longest_side(1024), max_bytes=10**8, max_pixels=10**9, min_side=1, description="test"
)


def test_the_unknown_is_taken_to_be_the_worst() -> None:
    unknown = estimate_memory_bytes(4000, 3000, 2_000_000)
    for image_format in (ImageFormat.JPEG, ImageFormat.PNG):
        assert estimate_memory_bytes(4000, 3000, 2_000_000, image_format=image_format) <= unknown


def test_a_large_jpeg_is_not_decoded_whole() -> None:
    sizes = {
        progressive: estimate_memory_bytes(
            4000,
            3000,
            2_000_000,
            image_format=ImageFormat.JPEG,
            is_progressive=progressive,
            target=(1024, 768),
        )
        for progressive in (False, True)
    }
    assert sizes[False] < 4 * 4000 * 3000
    assert sizes[True] > sizes[False] + 6 * 4000 * 3000 - 1


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "gif", "tiff"])
def test_every_file_has_an_estimate_above_its_own_size(format_name: str) -> None:
    data = pictures.encode(pictures.photo(), format_name)
    assert estimate_memory(data, OPTIONS) > len(data) + 3 * 640 * 480


def test_what_is_no_image_needs_little() -> None:
    assert estimate_memory(b"hello", OPTIONS) == 10


def test_kept_size_is_kept() -> None:
    assert keep_size(7, 9) == (7, 9)


def test_keeping_freed_memory_can_be_asked_for_again() -> None:
    assert tune_allocators() == tune_allocators()
