"""What holds for every picture, model and detail."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.costs.image_tokens import TooManyPatches, fit_side, image_tokens, seen_size
from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.sizing import PatchRule, PatchSizing, TileSizing
from pipeline.domain.vision import Detail

TABLE = load_models(on=date(2026, 11, 20))
SPECS = [spec for name in TABLE.names if (spec := TABLE.find(name))]
PATCH_SPECS = [spec for spec in SPECS if isinstance(spec.sizing, PatchSizing)]
TILE_SPECS = [spec for spec in SPECS if isinstance(spec.sizing, TileSizing)]
WITH_FIDELITY = [spec for spec in TILE_SPECS if "image" in spec.name]

sides = st.integers(1, 65_535) | st.integers(1, 3000)
details = st.sampled_from(Detail)


def tokens_or_none(spec: ModelSpec, detail: Detail, width: int, height: int) -> int | None:
    try:
        return image_tokens(spec, detail, width, height)
    except TooManyPatches:
        return None


@given(st.sampled_from(SPECS), details, sides, sides)
def test_seen_size_never_enlarges(spec: ModelSpec, detail: Detail, width: int, height: int) -> None:
    across, down = seen_size(spec, detail, width, height)
    assert 1 <= across <= width
    assert 1 <= down <= height


@given(st.sampled_from(SPECS), details, sides, sides)
def test_seen_size_is_seen_as_it_is(
    spec: ModelSpec, detail: Detail, width: int, height: int
) -> None:
    seen = seen_size(spec, detail, width, height)
    assert seen_size(spec, detail, *seen) == seen


@given(st.sampled_from(SPECS), details, st.integers(64, 9000), st.integers(64, 9000))
def test_seen_size_keeps_the_ratio_within_a_pixel(
    spec: ModelSpec, detail: Detail, width: int, height: int
) -> None:
    across, down = seen_size(spec, detail, width, height)
    assert abs(across * height - down * width) <= max(width, height)


@given(st.sampled_from(PATCH_SPECS), details, sides, sides)
def test_shrinking_to_the_seen_size_costs_the_same_patches(
    spec: ModelSpec, detail: Detail, width: int, height: int
) -> None:
    full = tokens_or_none(spec, detail, width, height)
    shrunk = image_tokens(spec, detail, *seen_size(spec, detail, width, height))
    assert full is None or shrunk == full


@given(
    # fidelity is priced by shape, and rounding can make a square oblong
    st.sampled_from([spec for spec in TILE_SPECS if spec not in WITH_FIDELITY]),
    details,
    sides,
    sides,
)
def test_shrinking_to_the_seen_size_costs_no_more_tiles(
    spec: ModelSpec, detail: Detail, width: int, height: int
) -> None:
    shrunk = seen_size(spec, detail, width, height)
    assert image_tokens(spec, detail, *shrunk) <= image_tokens(spec, detail, width, height)


@given(st.sampled_from(PATCH_SPECS), details, sides, sides)
def test_patches_never_exceed_the_budget(
    spec: ModelSpec, detail: Detail, width: int, height: int
) -> None:
    assert isinstance(spec.sizing, PatchSizing)
    rule = spec.sizing.rule(detail)
    budget = rule.max_patches or rule.reject_above or 16 * 16
    tokens = tokens_or_none(spec, detail, width, height)
    assert tokens is None or tokens <= budget * spec.multiplier + 1


@given(st.sampled_from(TILE_SPECS), sides, sides)
def test_tiles_never_exceed_eight(spec: ModelSpec, width: int, height: int) -> None:
    sizing = spec.sizing
    assert isinstance(sizing, TileSizing)
    extra = sizing.high_extra_square if width == height else sizing.high_extra_oblong
    tiles = image_tokens(spec, Detail.HIGH, width, height) - extra - sizing.base
    assert tiles <= 8 * sizing.per_tile


@given(
    st.sampled_from([spec for spec in SPECS if spec not in WITH_FIDELITY]),
    details,
    st.tuples(st.integers(1, 512), st.integers(1, 512)),
    st.tuples(st.integers(1, 512), st.integers(1, 512)),
)
def test_larger_picture_below_every_limit_costs_no_less(
    spec: ModelSpec, detail: Detail, one: tuple[int, int], other: tuple[int, int]
) -> None:
    large = max(one[0], other[0]), max(one[1], other[1])
    assert image_tokens(spec, detail, *one) <= image_tokens(spec, detail, *large)


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize(("width", "height"), [(1, 1), (65_535, 1), (1, 65_535), (65_535, 33)])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_extreme_shapes_have_a_size_and_a_price(
    spec: ModelSpec, width: int, height: int, detail: Detail
) -> None:
    seen = seen_size(spec, detail, width, height)
    assert image_tokens(spec, detail, *seen) > 0


def test_picture_that_just_fits_the_budget_is_left_alone() -> None:
    spec = TABLE.find("gpt-4.1-mini")
    assert spec is not None
    assert seen_size(spec, Detail.HIGH, 1505, 1024) == (1505, 1024)
    assert seen_size(spec, Detail.HIGH, 1537, 1024) == (1488, 992)


def test_strip_thinner_than_a_patch_fills_the_budget_along_itself() -> None:
    no_side_limit = PatchRule(max_patches=100)
    sizing = PatchSizing(low=no_side_limit, high=no_side_limit)
    spec = replace(PATCH_SPECS[0], sizing=sizing, multiplier=Fraction(1))
    assert image_tokens(spec, Detail.HIGH, 65_535, 1) == 100
    assert image_tokens(spec, Detail.HIGH, 1, 65_535) == 100


def test_level_the_model_lacks_is_planned_as_high() -> None:
    for name in ("gpt-4o", "gpt-4.1-mini"):
        spec = TABLE.find(name)
        assert spec is not None
        high = image_tokens(spec, Detail.HIGH, 4000, 3000)
        assert image_tokens(spec, Detail.ORIGINAL, 4000, 3000) == high


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


@given(sides, sides, st.integers(32, 4_096))
def test_a_wished_side_is_kept_and_no_patch_is_paid_for_little(
    width: int, height: int, max_side: int
) -> None:
    spec, longest = spec_of("gpt-5.4-mini"), max(width, height)
    fitted = fit_side(spec, max_side, width, height)
    scale = min(1.0, max_side / longest)
    plain = max(1, round(width * scale)), max(1, round(height * scale))
    assert max(fitted) <= max(plain)
    assert max(plain) - max(fitted) <= 33
    patches, at_most = (-(-w // 32) * -(-h // 32) for w, h in (fitted, plain))
    assert patches <= at_most
    # no less of each patch is used than without it
    assert fitted[0] * fitted[1] * at_most >= plain[0] * plain[1] * patches * 0.999


@pytest.mark.parametrize(
    ("picture", "max_side", "sent"),
    [
        pytest.param((3000, 2000), 1024, (1008, 672), id="a row less"),
        pytest.param((4000, 3000), 1024, (1024, 768), id="whole already"),
        pytest.param((2000, 3000), 1024, (672, 1008), id="upright"),
        pytest.param((800, 600), 1024, (800, 600), id="small"),
        pytest.param((4000, 100), 512, (512, 13), id="strip"),
    ],
)
def test_a_wished_side_ends_with_a_whole_patch(
    picture: tuple[int, int], max_side: int, sent: tuple[int, int]
) -> None:
    assert fit_side(spec_of("gpt-5.4-mini"), max_side, *picture) == sent


def test_models_with_tiles_get_the_plain_size() -> None:
    assert fit_side(spec_of("gpt-4o"), 1024, 3000, 2000) == (1024, 683)
