"""Texts drawn from a regular expression match it; what cannot be drawn is refused."""

import random
import re

import pytest

from pipeline.simulator.patterns import read_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "abc",
        "^a+b*c?$",
        r"^\d{4}-\d{2}$",
        "^(?:left|right|)$",
        "^(a|b(c|d)){2,3}$",
        r"^[\w.-]+@[a-z]{2,}$",
        r"^[^0-9]$",
        r"^\+\(\)\\$",
        "^a.c$|^b$",
        r"^\S\s\D\W$",
        "^[a-]$",
        "^a{2,}?$",
    ],
)
def test_drawn_text_matches(pattern: str) -> None:
    part = read_pattern(pattern)
    for seed in range(50):
        assert re.search(pattern, part(random.Random(seed)))


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b", "(?<n>a)", r"(a)\1", r"\bword", r"\p{L}", "a^b", "a$b", "(a", "a)", "[a",
        "[]", "*a", "a{2,1}", "a{x}", "[z-a]", "a\\", "(^a){2}",
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_pattern(pattern)
