"""Who answered: names and lanes that mean the same, and those that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.vision import ServiceTier
from pipeline.providers.model_names import is_same_model, is_same_tier


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", "GPT-4o"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("claude-opus", "claude-opus-20261022"),
        ("gpt-4", "gpt-4-0613"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4o", "openai/gpt-4o-2024-08-06"),
        ("gemini-3-flash", "models/gemini-3-flash"),
        ("llava", "llava:latest"),
        ("llava:latest", "llava"),
        ("ft:gpt-4o-2024-08-06:team::a", "FT:gpt-4o-2024-08-06:team::a"),
        (" gpt-4o ", "gpt-4o"),
    ],
)
def test_another_spelling_is_the_same_model(asked: str, answered: str) -> None:
    assert is_same_model(asked, answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06-2024-11-20"),
        ("gpt-5", "gpt-5.2"),
        ("gpt-5", "gpt-5-2025-13-01"),
        ("gpt-5", "gpt-5-2025-08-07-preview"),
        ("gpt-5", "gpt-5-9999"),
        ("llava", "llava:7b"),
        ("ft:gpt-4o:team::a", "ft:gpt-4o:team::b"),
        ("ft:gpt-4o:team::a", "gpt-4o"),
        ("gpt-4o", "ft:gpt-4o:team::a"),
        ("ft:gpt-4o:team::a", "ft:gpt-4o:team::a-2024-08-06"),
        ("gpt-4o", ""),
        ("", ""),
        ("", "-2024-08-06"),
    ],
)
def test_another_model_is_another(asked: str, answered: str) -> None:
    assert not is_same_model(asked, answered)


@given(st.text(), st.text())
def test_any_names_can_be_compared(asked: str, answered: str) -> None:
    assert is_same_model(asked, answered) in {True, False}


@pytest.mark.parametrize(
    ("asked", "answered", "is_same"),
    [
        (ServiceTier.AUTO, "priority", True),
        (ServiceTier.FLEX, None, True),
        (ServiceTier.FLEX, "", True),
        (ServiceTier.FLEX, "flex", True),
        (ServiceTier.FLEX, "default", False),
        (ServiceTier.DEFAULT, "default", True),
        (ServiceTier.DEFAULT, "standard", True),
        (ServiceTier.DEFAULT, "priority", False),
        (ServiceTier.PRIORITY, "fast", True),
        (ServiceTier.PRIORITY, "Priority", True),
        (ServiceTier.PRIORITY, "default", False),
        (ServiceTier.PRIORITY, "ultrafast", False),
        (ServiceTier.PRIORITY, "scale", False),
    ],
)
def test_lanes_are_compared_by_what_they_are(
    asked: ServiceTier, answered: str | None, is_same: bool
) -> None:
    assert is_same_tier(asked, answered) is is_same
