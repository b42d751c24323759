"""Embedded colour profiles."""

import struct

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.preprocess.colors import convert_to_srgb, needs_conversion

RED = Image.new("RGB", (4, 4), (200, 40, 40))


def test_srgb_changes_nothing() -> None:
    assert not needs_conversion(pictures.srgb_icc(), "RGB")
    assert convert_to_srgb(RED, pictures.srgb_icc()) is RED


def test_wide_gamut_red_becomes_redder_in_srgb() -> None:
    assert needs_conversion(pictures.wide_gamut_icc(), "RGB")
    red, green, _ = convert_to_srgb(RED, pictures.wide_gamut_icc()).getpixel((1, 1))
    assert red > 210
    assert green < 30


def test_srgb_primaries_with_another_curve_are_not_srgb() -> None:
    profile = bytearray(pictures.srgb_icc())
    curve = struct.unpack_from(">I", profile, profile.index(b"rTRC", 128) + 4)[0]
    profile[curve : curve + 16] = b"curv" + struct.pack(">IIHH", 0, 1, 256, 0)
    assert needs_conversion(bytes(profile), "RGB")


@pytest.mark.parametrize("icc", [b"", b"garbage", bytes(128), b"\xff" * 200])
def test_a_broken_profile_is_ignored(icc: bytes) -> None:
    assert convert_to_srgb(RED, icc) is RED


def test_a_profile_for_other_inks_is_ignored() -> None:
    gray = Image.new("L", (4, 4), 90)
    assert convert_to_srgb(gray, pictures.wide_gamut_icc()) is gray


@given(st.data())
def test_a_damaged_profile_never_raises(data: st.DataObject) -> None:
    profile = bytearray(pictures.wide_gamut_icc())
    for _ in range(data.draw(st.integers(1, 6))):
        profile[data.draw(st.integers(0, len(profile) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(profile)))
    assert convert_to_srgb(RED, bytes(profile[:cut])).mode == "RGB"
    assert convert_to_srgb(RED, bytes(profile)).mode == "RGB"
