"""The simulator as a process: its behaviour can be switched, it can be killed and put back."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from command_line import finish, start

SEED = 7


class Server:
    """One simulator at one address, from the first start to the last."""

    def __init__(self, folder: Path, words: Sequence[object]) -> None:
        self._folder = folder
        self._words = words
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._bygone: list[dict[str, Any]] = []
        self.base_url = ""

    def start(self) -> None:
        """Serve, on the same port as before."""
        self._process = start(
            self._folder, "simulate", "--port", self._port, "--json", "--seed", SEED, *self._words
        )
        assert self._process.stdout is not None
        self.base_url = str(json.loads(self._process.stdout.readline())["base_url"])
        self._port = urlsplit(self.base_url).port or 0

    def kill(self) -> None:
        """SIGKILL, with whatever is under way; what had ended by then stays known."""
        assert self._process is not None
        self._bygone += self._read_lines()
        self._process.kill()
        finish(self._process)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            finish(self._process)

    def switch(self, **behavior: object) -> None:
        """Behave otherwise from now on, with the same seed."""
        self._call("__behavior", data=json.dumps({"seed": SEED, **behavior}).encode())

    def read_log(self) -> list[dict[str, Any]]:
        """Every request that ended, oldest first, those of earlier processes included."""
        return [*self._bygone, *self._read_lines()]

    def read_batches(self) -> list[dict[str, Any]]:
        """All batches, oldest first, with what their answers cost."""
        batches: list[dict[str, Any]] = self._call("__batches")["batches"]
        return batches[::-1]

    def list_files(self, purpose: str) -> list[str]:
        """The names of all files that it keeps for a purpose."""
        files = self._call(f"v1/files?purpose={purpose}")["data"]
        return [str(file["filename"]) for file in files]

    def _read_lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._call("__requests")["requests"]
        return lines

    def _call(self, path: str, *, data: bytes | None = None) -> Any:
        address = f"{self.base_url.removesuffix('/v1')}/{path}"
        with urlopen(Request(address, data=data)) as answer:  # noqa: S310  our own server
            return json.load(answer)


@contextmanager
def open_server(folder: Path, *words: object) -> Iterator[Server]:
    """Serve on a free port until the end."""
    server = Server(folder, words)
    server.start()
    try:
        yield server
    finally:
        server.stop()
