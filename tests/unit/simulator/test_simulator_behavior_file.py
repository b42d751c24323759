"""Behaviours written down are read strictly, and those that are shipped are sound."""

from pathlib import Path

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.behavior_file import list_shipped, read_behavior


@pytest.mark.parametrize("name", ["rough-day", "says-nothing", "small-tier"])
def test_shipped_behaviour_is_found_by_its_name(name: str) -> None:
    assert name in list_shipped()
    assert Behavior.model_validate(read_behavior(name)) != Behavior()


@pytest.mark.parametrize(
    ("suffix", "text"), [("yaml", "hang: 0.5\nseed: 3\n"), ("json", '{"hang": 0.5, "seed": 3}')]
)
def test_only_what_is_written_is_set(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"mine.{suffix}"
    file.write_text(text)
    assert read_behavior(str(file)) == {"hang": 0.5, "seed": 3}


def test_plan_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("fault_plan: plan.jsonl\n")
    assert read_behavior(str(file)) == {"fault_plan": tmp_path / "plan.jsonl"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hangs: 1\n", "line 1: hangs"),
        ("seed: 1\nhang: 2\n", "line 2: hang"),
        ("- hang\n", "must be keys with values"),
    ],
)
def test_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        read_behavior(str(file))


def test_unknown_name_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match="rough-day"):
        read_behavior("ruff-day")
