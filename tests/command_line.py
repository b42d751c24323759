"""Runs the program as people do, in a folder of its own and an environment nobody leaks into."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from pictures import jpeg

ROOT = Path(__file__).resolve().parent.parent
MODEL = "gpt-5.4-mini"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def start(folder: Path, *words: object, **variables: str) -> subprocess.Popen[str]:
    """``python run.py WORDS`` in ``folder``, under way."""
    leaky = ("OPENAI_", "TAGPIPE_")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(leaky) and not name.lower().endswith("_proxy")
    }
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py", *map(str, words)],
        cwd=folder,
        env={**inherited, "COLUMNS": "120", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=60)
    return Finished(code=process.returncode, out=out, err=err)


def run(folder: Path, *words: object, **variables: str) -> Finished:
    return finish(start(folder, *words, **variables))


@contextmanager
def simulator(folder: Path, *words: object) -> Iterator[str]:
    """``simulate`` on a free port; gives its base URL."""
    process = start(folder, "simulate", "--port", 0, "--json", *words)
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["base_url"])
    finally:
        process.terminate()
        finish(process)


def read_books(base_url: str) -> dict[str, Any]:
    """What the simulator counted."""
    with urlopen(base_url.removesuffix("/v1") + "/__books") as answer:  # noqa: S310 - our own server
        books: dict[str, Any] = json.load(answer)
    return books


def make_library(folder: Path, count: int) -> Path:
    """Small pictures, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(jpeg(96, 64, seed=number))
    return folder
