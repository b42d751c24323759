"""Where words go: results to stdout, everything else to stderr, and a closed pipe is no fault."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PIPED_WIDTH = 120
_CONTROLS = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}"
)


def defuse(text: str) -> str:
    """Text of strangers (file names, servers' messages) that cannot steer a terminal."""
    return text.translate(_CONTROLS)


def make_console(file: TextIO) -> "Console":
    """Colours on a terminal only, markup never: file names may hold brackets."""
    from rich.console import Console

    is_fixed = not file.isatty() and "COLUMNS" not in os.environ
    return Console(
        file=file, markup=False, highlight=False, emoji=False,
        width=_PIPED_WIDTH if is_fixed else None,
    )  # fmt: skip


def show(*parts: "RenderableType") -> None:
    """Print a result for people on stdout."""
    console = make_console(sys.stdout)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str))
    _write(captured.get())


def show_document(document: Any) -> None:
    """Print the one JSON document of ``--json`` on stdout."""
    import orjson

    option = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0)
    _write(orjson.dumps(document, default=str, option=option).decode())


def tell(text: str) -> None:
    """Say something beside the result, on stderr."""
    _quietly(lambda: print(defuse(text), file=sys.stderr, flush=True))  # noqa: T201 - the one place


def _write(text: str) -> None:
    _quietly(lambda: (sys.stdout.write(text), sys.stdout.flush()))


def _quietly(write: Callable[[], object]) -> None:
    """Whoever read the pipe has left (``| head``): the work goes on, unheard."""
    try:
        write()
    except BrokenPipeError:
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(silent, stream.fileno())
        os.close(silent)
