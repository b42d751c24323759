"""What makes a function a verb: options in groups, and every error told and turned into a code."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

import typer

from pipeline.cli.faults import report_fault

_FOR_TYPER = (typer.Exit, typer.Abort, typer.TyperException)


def verb(function: Callable[..., int]) -> Callable[..., int]:
    """Let typer read ``function``, whose groups of options (dataclasses) become single options.

    An error is told on stderr (with ``--json`` on stdout, too) and becomes the exit code.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(function)
    def run(**given: Any) -> int:
        as_json = given.get("as_json", False)
        try:
            return function(**_gather(given, groups))
        except _FOR_TYPER:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told and turned into a code
            return report_fault(error, as_json=as_json)

    parameters = [
        flat
        for parameter in inspect.signature(function).parameters.values()
        for flat in _spread(parameter, hints[parameter.name])
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    run.__doc__ = flow(inspect.getdoc(function) or "")
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def flow(text: str) -> str:
    """Let the terminal wrap prose; blocks with indented lines stay as they are written."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        paragraph if "\n " in paragraph else paragraph.replace("\n", " ")
        for paragraph in paragraphs
    )


def _gather(given: dict[str, Any], groups: dict[str, Any]) -> dict[str, Any]:
    gathered = {
        name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        for name, kind in groups.items()
    }
    return {**given, **gathered}


def _spread(parameter: inspect.Parameter, hint: Any) -> Iterator[inspect.Parameter]:
    flat = parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)
    if not is_dataclass(hint):
        yield flat
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in fields(hint):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield flat.replace(name=field.name, annotation=hints[field.name], default=default)


def run_async(work: Callable[[], Awaitable[int]]) -> int:
    """Run on the event loop, the fast one where it is installed."""
    from importlib.util import find_spec

    import anyio

    has_uvloop = find_spec("uvloop") is not None
    return anyio.run(work, backend="asyncio", backend_options={"use_uvloop": has_uvloop})
