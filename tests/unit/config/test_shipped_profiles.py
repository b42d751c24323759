"""The profiles that come with the project."""

import pytest
import yaml

from pipeline.config.fields import ManyOfField, TextField
from pipeline.config.paths import configs_folder
from pipeline.config.profiles import RESERVED_NAMES, load_profile, shipped_profiles
from pipeline.costs.text_tokens import estimate_text_tokens
from pipeline.exporters.record import FIXED_AFTER, FIXED_BEFORE

BASIC_COLORS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink",
    "brown", "beige", "multicolor",
)  # fmt: skip


def test_all_profiles_that_are_promised_are_shipped() -> None:
    assert shipped_profiles() == (
        "alt-text", "defects", "general", "measured", "moderation", "objects", "product",
        "real-estate", "scene", "text",
    )  # fmt: skip


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profile_bears_the_name_of_its_file(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.description


@pytest.mark.parametrize("name", shipped_profiles())
def test_colors_are_the_thirteen_basic_ones_everywhere(name: str) -> None:
    for field_name, field in load_profile(name).fields.items():
        if field_name == "colors":
            assert isinstance(field, ManyOfField)
            assert tuple(choice.value for choice in field.values) == BASIC_COLORS


def test_every_vocabulary_is_used_by_a_profile() -> None:
    folder = configs_folder() / "profiles"
    texts = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.yaml"))
    for path in (folder / "vocabularies").iterdir():
        assert f"vocabularies/{path.name}" in texts


def test_measured_profile_needs_no_model() -> None:
    assert all(
        field.measure and field.optional for field in load_profile("measured").fields.values()
    )


def test_general_profile_measures_what_can_be_measured() -> None:
    fields = load_profile("general").fields
    measured = {name: field.measure for name, field in fields.items() if field.measure}
    assert measured == {"keywords": "descriptors", "colors": "colors", "kind": "kind"}


def test_longest_text_that_may_be_read_fits_into_the_answer() -> None:
    profile = load_profile("text")
    field = profile.fields["text"]
    assert isinstance(field, TextField)
    assert field.max_length is not None
    assert profile.max_output_tokens > 1.5 * estimate_text_tokens("x" * field.max_length)


def test_reserved_names_are_the_columns_of_a_record() -> None:
    assert {*FIXED_BEFORE, *FIXED_AFTER} == RESERVED_NAMES


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profile_survives_being_stored_and_read_back(name: str) -> None:
    profile = load_profile(name)
    stored = yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False)
    assert type(profile).model_validate(yaml.safe_load(stored)) == profile
