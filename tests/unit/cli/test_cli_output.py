import io
import os
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.output import defuse, make_console, show, show_document, tell


@given(st.text())
def test_text_of_strangers_cannot_steer_a_terminal(text: str) -> None:
    shown = defuse(text)
    assert len(shown) == len(text)
    assert not {*map(ord, shown)} & {*range(9), 11, 12, 13, 27, 127, *range(128, 160)}


def test_brackets_in_a_name_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show("holiday [red] (1) [/].jpg :smile:")
    assert capsys.readouterr().out == "holiday [red] (1) [/].jpg :smile:\n"


def test_long_path_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show("a/" * 300)
    assert capsys.readouterr().out == "a/" * 300 + "\n"


def test_document_is_one_line_of_json_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    show_document({"a": [1, "ü"]})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert orjson.loads(out) == {"a": [1, "ü"]}


def test_words_beside_the_result_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell("paused \x1b[31m")
    assert capsys.readouterr() == ("", "paused \N{REPLACEMENT CHARACTER}[31m\n")


def test_pipe_is_wide_and_plain() -> None:
    console = make_console(io.StringIO())
    assert (console.width, console.color_system) == (120, None)


def test_reader_who_left_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        show("nobody listens")
        show_document({"nobody": "listens"})
