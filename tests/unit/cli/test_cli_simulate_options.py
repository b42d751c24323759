from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from pipeline.cli import simulate
from pipeline.cli.main import app
from pipeline.cli.simulate import AddressOptions, BehaviorOptions
from pipeline.simulator.behavior import Behavior, Outage
from pipeline.simulator.behavior_file import list_shipped


def test_every_knob_of_the_behaviour_is_an_option() -> None:
    assert {field.name for field in fields(BehaviorOptions)} == set(Behavior.model_fields)


def test_options_not_given_are_the_behaviour_s_own_defaults() -> None:
    assert Behavior(**asdict(BehaviorOptions())) == Behavior()


def choose(*words: str) -> Behavior:
    """The behaviour that the command line asks for."""
    chosen: list[Behavior] = []

    async def keep(behavior: Behavior, *_: object) -> int:
        chosen.append(behavior)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "_serve", keep)
        done = CliRunner().invoke(app, ["simulate", *words])
    assert done.exit_code == 0, done.output
    return chosen[0]


def test_options_outrank_the_file_even_where_they_repeat_a_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("hang: 0.5\nlatency_ms: 70\nrate_headers: false\n")
    assert choose("--behavior", str(file)) == Behavior(hang=0.5, latency_ms=70, rate_headers=False)
    words = ("--hang", "0", "--rate-headers", "--seed", "3")
    assert choose("--behavior", str(file), *words) == Behavior(latency_ms=70, seed=3)


def test_shipped_behaviour_is_chosen_by_name() -> None:
    assert choose("--behavior", "small-tier", "--tokens-per-minute", "1000") == Behavior(
        latency_ms=600, latency_jitter_ms=200, requests_per_minute=500, tokens_per_minute=1000
    )


def test_every_shipped_behaviour_is_named_in_the_help() -> None:
    hint = get_type_hints(AddressOptions, include_extras=True)["behavior"].__metadata__[0].help
    assert all(name in hint for name in list_shipped())


def test_causes_of_an_outage_are_those_of_the_simulator() -> None:
    cause = get_args(get_type_hints(BehaviorOptions)["refuse_all"])[0]
    assert set(get_args(cause)) == set(Outage)
