from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from pipeline.cli.main import app, run

VERBS = {
    "demo", "doctor", "estimate", "tag", "scan", "export", "status", "errors", "retry", "simulate",
    "batch", "batch list", "batch cancel", "batch forget",
    "db", "db upgrade", "db backup", "db check", "db stats", "db vacuum",
}  # fmt: skip


def list_commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, sub in getattr(command, "commands", {}).items():
        yield from list_commands(sub, f"{name} {below}".strip())


COMMANDS = dict(list_commands(typer.main.get_command(app)))


def test_every_verb_is_there() -> None:
    assert {name for name in COMMANDS if name} == VERBS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_examples_and_exit_codes(name: str) -> None:
    text = COMMANDS[name].help
    assert text.count("\n  tagpipe ") >= 2
    assert "Exit codes: 0 " in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_has_a_sentence(name: str) -> None:
    bare = [one.name for one in COMMANDS[name].params if not (one.help or "").endswith(".")]
    assert bare == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_lines_of_examples_fit_a_terminal_of_80_columns(name: str) -> None:
    examples = [line for line in COMMANDS[name].help.splitlines() if line.startswith("  ")]
    assert [line for line in examples if len(line) > 78] == []


def test_examples_keep_simulated_answers_out_of_the_real_ledger() -> None:
    examples = COMMANDS["simulate"].help.split("\n  tagpipe ")
    assert all("--ledger var/trial.db" in one for one in examples if one.startswith("tag "))
    assert any(one.startswith("tag ") for one in examples)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_shown_for_both_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "-h"]) == 0
    short = capsys.readouterr().out
    assert run([*name.split(), "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "Examples:" in short


@pytest.mark.parametrize("words", [[], ["batch"], ["db"]])
def test_without_a_verb_the_help_is_shown_as_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert "Examples:" in capsys.readouterr().out
