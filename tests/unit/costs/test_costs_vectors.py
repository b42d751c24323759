"""Published and computed examples: picture, model, detail, tokens."""

from datetime import date
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from pipeline.costs.image_tokens import TooManyPatches, image_tokens, seen_size
from pipeline.costs.models import ModelSpec, load_models
from pipeline.domain.vision import Detail

SUMMER, AUTUMN = date(2026, 8, 1), date(2026, 11, 20)
OVERHEAD = 12


@cache
def spec_of(model: str, on: date = AUTUMN) -> ModelSpec:
    spec = load_models(on=on).find(model)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    ("picture", "model", "detail", "tokens"),
    [
        pytest.param((1024, 1024), "gpt-4o", "high", 765, id="A3"),
        pytest.param((2048, 4096), "gpt-4o", "high", 1105, id="A4"),
        pytest.param((4096, 8192), "gpt-4o", "low", 85, id="A5"),
        pytest.param((512, 512), "gpt-4o", "high", 255, id="B1"),
        pytest.param((640, 480), "gpt-4o", "high", 425, id="B2"),
        pytest.param((1920, 1080), "gpt-4.1", "high", 1105, id="B3"),
        pytest.param((4000, 3000), "gpt-5", "high", 630, id="B4"),
        pytest.param((4000, 3000), "gpt-4o-mini", "high", 25_501, id="B5-high"),
        pytest.param((4000, 3000), "gpt-4o-mini", "low", 2833, id="B5-low"),
        pytest.param((1920, 1080), "o3", "high", 975, id="B6"),
        pytest.param((2880, 864), "gpt-4o", "high", 1445, id="B7"),
        pytest.param((8000, 1000), "gpt-4o", "high", 765, id="B8"),
        pytest.param((1, 1), "gpt-4o", "high", 255, id="B9"),
        pytest.param((1536, 1024), "gpt-image-1", "low", 323, id="B10-low"),
        pytest.param((1536, 1024), "gpt-image-1", "high", 6563, id="B10-high"),
        pytest.param((1024, 1024), "gpt-image-1", "high", 65 + 129 + 4160, id="square-fidelity"),
        pytest.param((512, 512), "gpt-4.1-mini", "high", 415, id="B11"),
        pytest.param((1024, 1024), "gpt-4.1-mini", "high", 1659, id="B12-mini"),
        pytest.param((1024, 1024), "gpt-4.1-nano", "high", 2520, id="B12-nano"),
        pytest.param((1024, 1024), "o4-mini", "high", 1762, id="B12-o4"),
        pytest.param((1920, 1080), "gpt-4.1-mini", "high", 2443, id="B13"),
        pytest.param((4000, 3000), "gpt-4.1-mini", "high", 2353, id="B14"),
        pytest.param((3000, 2000), "gpt-4.1-mini", "high", 2489, id="B17"),
        pytest.param((2048, 4096), "gpt-4.1-mini", "high", 2362, id="B18"),
        pytest.param((8000, 1000), "gpt-4.1-mini", "high", 830, id="B19"),
        pytest.param((33, 32), "gpt-4.1-mini", "high", 4, id="B20"),
        pytest.param((4000, 3000), "gpt-5.4", "high", 2942, id="B21"),
        pytest.param((1920, 1080), "gpt-5.6-luna", "high", 2448, id="B22"),
        pytest.param((3024, 4032), "gpt-5.5", "original", 11_868, id="B23"),
        pytest.param((3024, 4032), "gpt-5.5", "auto", 11_868, id="B23-auto"),
        pytest.param((3024, 4032), "gpt-5.6-sol", "original", 14_364, id="B24"),
        pytest.param((3024, 4032), "gpt-5.6-sol", "auto", 14_364, id="B24-auto"),
        pytest.param((3024, 4032), "gpt-5.6-sol", "low", 231, id="B25"),
        pytest.param((6000, 4000), "gpt-5.6-sol", "original", 28_200, id="B26"),
        pytest.param((6000, 6000), "gpt-5.6-sol", "high", 3000, id="A7"),
        pytest.param((640, 480), "gpt-6-astra", "high", 360, id="C1-high"),
        pytest.param((640, 480), "gpt-6-astra", "low", 231, id="C1-low"),
        pytest.param((1280, 720), "gpt-6-astra", "high", 1104, id="C2-high"),
        pytest.param((1280, 720), "gpt-6-astra", "low", 173, id="C2-low"),
        pytest.param((2880, 864), "gpt-6-astra", "high", 2916, id="C3-wide"),
        pytest.param((2104, 1184), "gpt-6-astra", "high", 2931, id="C3"),
    ],
)
def test_picture_costs_the_published_tokens(
    picture: tuple[int, int], model: str, detail: str, tokens: int
) -> None:
    assert image_tokens(spec_of(model), Detail(detail), *picture) == tokens


@pytest.mark.parametrize(
    ("picture", "model", "detail", "seen"),
    [
        pytest.param((1024, 1024), "gpt-4.1-mini", "high", (1024, 1024), id="A1"),
        pytest.param((1800, 2400), "gpt-4.1-mini", "high", (1056, 1408), id="A2"),
        pytest.param((1920, 1080), "gpt-4.1-mini", "high", (1649, 928), id="B13"),
        pytest.param((4000, 3000), "gpt-4.1-mini", "high", (1408, 1056), id="B14"),
        pytest.param((3000, 2000), "gpt-4.1-mini", "high", (1536, 1024), id="B17"),
        pytest.param((2048, 4096), "gpt-4.1-mini", "high", (864, 1728), id="B18"),
        pytest.param((8000, 1000), "gpt-4.1-mini", "high", (2048, 256), id="B19"),
        pytest.param((4000, 3000), "gpt-5.4", "high", (1824, 1368), id="B21"),
        pytest.param((3024, 4032), "gpt-5.5", "original", (2752, 3669), id="B23"),
        pytest.param((3024, 4032), "gpt-5.6-sol", "low", (384, 512), id="B25"),
        pytest.param((6000, 6000), "gpt-5.6-sol", "high", (1600, 1600), id="A7"),
        pytest.param((1920, 1080), "gpt-4.1", "high", (1365, 768), id="B3"),
        pytest.param((2880, 864), "gpt-4o", "high", (2048, 614), id="B7"),
        pytest.param((4096, 8192), "gpt-4o", "low", (256, 512), id="A5"),
        pytest.param((4746, 7119), "gpt-4.1-mini", "high", (1024, 1536), id="exact fit"),
    ],
)
def test_model_sees_the_published_size(
    picture: tuple[int, int], model: str, detail: str, seen: tuple[int, int]
) -> None:
    assert seen_size(spec_of(model), Detail(detail), *picture) == seen


@pytest.mark.parametrize(
    ("model", "on", "tokens"),
    [
        pytest.param("gpt-5-mini", SUMMER, 2353, id="B15-old"),
        pytest.param("gpt-5-mini", AUTUMN, 1743, id="B15-new"),
        pytest.param("gpt-5-nano", SUMMER, 3572, id="B16-old"),
        pytest.param("gpt-5-nano", AUTUMN, 2178, id="B16-new"),
    ],
)
def test_multiplier_is_the_one_of_the_day(model: str, on: date, tokens: int) -> None:
    assert image_tokens(spec_of(model, on), Detail.HIGH, 4000, 3000) == tokens


@pytest.mark.parametrize(
    ("model", "summer", "autumn"),
    [
        ("gpt-4.1-mini", "1.62", "1.62"),
        ("gpt-4.1-nano", "2.46", "2.46"),
        ("o4-mini", "1.72", "1.72"),
        ("gpt-5-mini", "1.62", "1.2"),
        ("gpt-5-nano", "2.46", "1.5"),
        ("gpt-5.4-mini", "1.62", "1.2"),
        ("gpt-5.4-nano", "2.46", "1.2"),
        ("gpt-5.2", "1.2", "1.2"),
        ("gpt-5.4", "1.2", "1.2"),
        ("gpt-5.5", "1.2", "1.2"),
        ("gpt-5.6-terra", "1.2", "1.2"),
        ("gpt-6-astra", "1.2", "1.2"),
    ],
)
def test_multipliers_are_the_listed_ones(model: str, summer: str, autumn: str) -> None:
    assert spec_of(model, SUMMER).multiplier == Fraction(summer)
    assert spec_of(model, date(2026, 10, 5)).multiplier == Fraction(autumn)


FAMILY_12 = ("gpt-5.2", "gpt-5.4", "gpt-5.5", "gpt-5.6-sol", "gpt-6-astra", "gpt-5-mini")


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("model", FAMILY_12)
def test_512_square_costs_308_at_any_detail(model: str, detail: Detail) -> None:
    """B27"""
    assert image_tokens(spec_of(model), detail, 512, 512) == 308


@pytest.mark.parametrize(
    ("picture", "tokens"),
    [pytest.param((768, 768), 692, id="B28"), pytest.param((1024, 768), 922, id="B29")],
)
@pytest.mark.parametrize("detail", [Detail.HIGH, Detail.ORIGINAL])
@pytest.mark.parametrize("model", FAMILY_12)
def test_local_shrinking_guide_holds(
    model: str, detail: Detail, picture: tuple[int, int], tokens: int
) -> None:
    assert image_tokens(spec_of(model), detail, *picture) == tokens


def test_picture_over_the_patch_limit_is_refused() -> None:
    """A6"""
    with pytest.raises(TooManyPatches, match="35344 patches and at most 30000") as caught:
        image_tokens(spec_of("gpt-5.6-sol"), Detail.ORIGINAL, 6000, 6000)
    assert (caught.value.patches, caught.value.limit) == (35_344, 30_000)


def test_refused_picture_is_accepted_in_the_size_seen() -> None:
    spec = spec_of("gpt-5.6-sol")
    size = seen_size(spec, Detail.AUTO, 6000, 6000)
    assert size == (5536, 5536)
    assert image_tokens(spec, Detail.AUTO, *size) == 173 * 173 * 6 // 5 + 1


@pytest.mark.parametrize(("width", "height"), [(2752, 1536), (4800, 2700)])
def test_reports_with_a_side_limit_fit_a_table_with_a_side_limit(
    tmp_path: Path, width: int, height: int
) -> None:
    """C4: reports of ``high`` on 1.2 models conflict; the shipped row quotes the dearer one."""
    table = tmp_path / "models.yaml"
    table.write_text(
        "sizing: {patches-gpt-5.6: {scheme: patches, low: {max_side: 512},"
        " high: {max_patches: 2500, max_side: 2048}}}"
    )
    limited = load_models(table, on=AUTUMN).find("gpt-6-astra")
    assert limited is not None
    assert image_tokens(limited, Detail.HIGH, width, height) == 2765
    assert 2765 <= image_tokens(spec_of("gpt-6-astra"), Detail.HIGH, width, height) <= 2765 * 1.07


@pytest.mark.parametrize(
    ("model", "detail", "prompt_tokens", "tolerance"),
    [
        pytest.param("gpt-4o", "low", 97, 0, id="C5-4o-low"),
        pytest.param("gpt-4o", "high", 267, 0, id="C5-4o-high"),
        pytest.param("o3", "low", 86, 1, id="C5-o3-low"),
        pytest.param("o3", "high", 236, 1, id="C5-o3-high"),
        pytest.param("gpt-4o-mini", "low", 2845, 0, id="C5-4o-mini-low"),
        pytest.param("gpt-4o-mini", "high", 8512, 0, id="C5-4o-mini-high"),
        pytest.param("o4-mini", "low", 26, 0, id="C6-o4-mini-low"),
        pytest.param("o4-mini", "high", 26, 0, id="C6-o4-mini-high"),
        pytest.param("gpt-4.1-mini", "low", 26, 1, id="C6-4.1-mini-low"),
        pytest.param("gpt-4.1-mini", "high", 26, 1, id="C6-4.1-mini-high"),
        pytest.param("gpt-4.1-nano", "low", 33, 1, id="C6-4.1-nano-low"),
        pytest.param("gpt-4.1-nano", "high", 33, 1, id="C6-4.1-nano-high"),
    ],
)
def test_small_picture_costs_what_users_measured(
    model: str, detail: str, prompt_tokens: int, tolerance: int
) -> None:
    tokens = OVERHEAD + image_tokens(spec_of(model), Detail(detail), 128, 64)
    assert abs(tokens - prompt_tokens) <= tolerance
