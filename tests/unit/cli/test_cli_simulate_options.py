from dataclasses import asdict, fields

from pipeline.cli.simulate import BehaviorOptions
from pipeline.simulator.behavior import Behavior


def test_every_knob_of_the_behaviour_is_an_option() -> None:
    assert {field.name for field in fields(BehaviorOptions)} == set(Behavior.model_fields)


def test_options_not_given_are_the_behaviour_s_own_defaults() -> None:
    assert Behavior(**asdict(BehaviorOptions())) == Behavior()
