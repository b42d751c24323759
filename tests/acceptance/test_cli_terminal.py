import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, make_library


def run_on_terminal(folder: Path, *words: str) -> str:
    """What a person sees of stderr, control sequences left out."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, ROOT / "run.py", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 65_536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("tag", "photos"), "━ 3 of 3 images, "),
        (("scan", "photos"), "3 images listed, 3 of them new"),
    ],
)
def test_terminal_gets_a_live_display_that_ends_with_the_whole(
    tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    make_library(tmp_path / "photos", 3)
    assert line in run_on_terminal(tmp_path, *words).splitlines()[-1]


def test_log_lines_stand_above_the_live_display(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    lines = run_on_terminal(tmp_path, "tag", "photos", "-v").splitlines()
    told = [line for line in lines if " info " in line]
    assert len(told) >= 3
    assert all(re.match(r"\d\d:\d\d:\d\d info ", line) for line in told)
