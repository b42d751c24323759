import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from pipeline.cli.verbs import flow, run_async, verb
from pipeline.domain.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    left: Annotated[int, typer.Option(help="Left.")]
    right: Annotated[str, typer.Option(help="Right.")] = "r"


@verb
def sample(*, pair: Pair, word: Annotated[str, typer.Argument()] = "w") -> int:
    """Add up."""
    if pair.right == "bad":
        raise UsageError("bad is not good")
    return pair.left + len(pair.right) + len(word)


def test_group_of_options_becomes_single_options_with_their_defaults() -> None:
    parameters = inspect.signature(sample).parameters
    assert list(parameters) == ["left", "right", "word"]
    assert parameters["left"].default is inspect.Parameter.empty
    assert parameters["right"].default == "r"


def test_verb_gets_its_group_back() -> None:
    assert sample(left=40, right="x", word="y") == 42


def test_error_of_a_verb_becomes_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(left=1, right="bad", word="") == 2
    assert capsys.readouterr().err == "error: bad is not good\n"


def test_prose_flows_and_examples_keep_their_lines() -> None:
    text = "One\ntwo.\n\nExamples:\n  a\n  b\n\nThree\nfour."
    assert flow(text) == "One two.\n\nExamples:\n  a\n  b\n\nThree four."


def test_work_on_the_event_loop_returns_its_code() -> None:
    async def work() -> int:
        return 3

    assert run_async(work) == 3
