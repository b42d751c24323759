"""Harmless deviations are put right, everything else is left for validation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_makers import ANSWER, FIELDS, answers_of, make_profile

from pipeline.config.profiles import load_profile
from pipeline.tagging.normalize import Normalizer, cut_text, flat_tags, says_nothing

PROFILE = make_profile()
NORMALIZER = Normalizer(PROFILE)


@pytest.mark.parametrize(
    ("name", "given_value", "kept"),
    [
        ("title", "  Red \n\t shoes ", "Red shoes"),
        ("title", "Red\x00 sh\x07oes", "Red shoes"),
        ("title", "Comfortable red shoes", "Comfortable red…"),
        ("title", "", ""),
        ("title", 5, 5),
        ("note", " ", None),
        ("note", None, None),
        ("category", " SHOES ", "shoes"),
        ("category", "Purse", "bags"),
        ("category", "hats", "hats"),
        ("category", None, None),
        ("style", "", None),
        ("colors", ["Grey", "gray", "RED"], ["gray", "red"]),
        ("colors", ["red", "blue", "green"], ["red", "blue"]),
        ("colors", ["red", "violet"], ["red", "violet"]),
        ("colors", "red", "red"),
        ("colors", ["red", 5, "red"], ["red", 5, "red"]),
        ("keywords", [" a  b ", "A B", "", "c"], ["a b", "c"]),
        ("keywords", ["Straße", "STRASSE"], ["Straße"]),
        ("keywords", list("abcde"), list("abc")),
        ("keywords", None, None),
        ("pieces", 3.0, 3),
        ("pieces", 3.5, 3.5),
        ("pieces", -1, -1),
        ("pieces", 1e30, 1e30),
        ("pieces", "3", "3"),
        ("in_use", "yes", "yes"),
    ],
)
def test_value_is_put_right_or_left(name: str, given_value: object, kept: object) -> None:
    normal = NORMALIZER.normalize({**ANSWER, name: given_value})[name]
    assert normal == kept
    assert type(normal) is type(kept)


def test_line_breaks_stay_where_they_are_asked_for() -> None:
    profile = make_profile({"text": {"type": "text", "multiline": True}})
    answer = Normalizer(profile).normalize({"text": " a  b \r\nc\n\n\n\nd\n"})
    assert answer == {"text": "a b\nc\n\nd"}


def test_optional_field_that_is_left_out_is_null_and_a_required_one_stays_out() -> None:
    answer = {name: value for name, value in ANSWER.items() if name not in {"note", "title"}}
    normal = NORMALIZER.normalize(answer)
    assert normal["note"] is None
    assert "title" not in normal


def test_fields_come_out_in_the_order_of_the_profile() -> None:
    shuffled = dict(reversed(ANSWER.items()))
    assert list(NORMALIZER.normalize({"extra": 1, **shuffled})) == [*FIELDS, "extra"]


@given(answers_of(PROFILE))
def test_answer_in_normal_form_stays_as_it_is(answer: dict[str, Any]) -> None:
    assert NORMALIZER.normalize(answer) == answer


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "extra"]), JSON_VALUES))
def test_normalizing_twice_changes_nothing_more(answer: dict[str, Any]) -> None:
    once = NORMALIZER.normalize(answer)
    assert repr(NORMALIZER.normalize(once)) == repr(once)


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [
        ("short", 5, "short"),
        ("two words", 8, "two…"),
        ("two words", 4, "two…"),
        ("a bcdefghijklmn", 10, "a bcdefgh…"),
        ("いろはにほへと", 5, "いろはに…"),
        ("one\ntwo three", 9, "one\ntwo…"),
        ("ab", 1, "…"),
    ],
)
def test_long_text_is_cut_between_words_where_that_is_near(text: str, most: int, cut: str) -> None:
    assert cut_text(text, most) == cut


@given(st.text(), st.integers(1, 50))
def test_cut_text_is_never_too_long(text: str, most: int) -> None:
    assert len(cut_text(text, most)) <= most


def test_flat_tags_are_values_in_field_order_without_duplicates() -> None:
    answer = {**ANSWER, "keywords": ["Shoes", "lace"], "colors": ["red", "gray"]}
    assert flat_tags(PROFILE, answer) == ("shoes", "modern", "red", "gray", "lace", "in_use")


def test_flat_tags_leave_out_nulls_false_and_absent_fields() -> None:
    assert flat_tags(PROFILE, {"category": None, "colors": None, "in_use": False}) == ()


def test_flat_tags_leave_out_palette_colours() -> None:
    answer = {"colors": ["red"], "palette": ["#FF0000", "#00ff00"], "brightness": 0.5}
    assert flat_tags(load_profile("measured"), answer) == ("red",)


def test_an_answer_says_nothing_when_all_that_may_stay_open_does() -> None:
    profile = load_profile("general")
    nothing = {
        "title": "", "caption": "", "category": "other", "keywords": [], "colors": [],
        "kind": "photo",
    }  # fmt: skip
    assert says_nothing(profile, nothing)
    assert not says_nothing(profile, {**nothing, "keywords": ["cat"]})


def test_a_profile_that_leaves_nothing_open_always_says_something() -> None:
    profile = make_profile({"in_use": {"type": "boolean"}, "pieces": {"type": "number"}})
    assert not says_nothing(profile, {"in_use": False, "pieces": 0})
