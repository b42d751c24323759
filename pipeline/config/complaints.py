"""Turns what a pydantic model refuses into texts that name the key, the value and the way out."""

import re
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.documents import Document, KeyPath
from pipeline.domain.errors import ConfigurationError

Place: TypeAlias = Callable[[KeyPath], str]
"""Says where a key was given: a file and line, a variable, a flag."""

_LONGEST_SHOWN = 60
_MOST_LISTED = 30
_SECRETS = re.compile(r"\bsk-[\w-]+|(?<=://)[^/@\s]*(?=@)")
_PLAIN: dict[str, str] = {
    "missing": "is missing",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a section of `key: value` lines",
    "mapping_type": "must be a section of `key: value` lines",
    "model_type": "must be a section of `key: value` lines",
    "model_attributes_type": "must be a section of `key: value` lines",
    "path_type": "must be a path",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def show(value: object) -> str:
    """A value fit for an error text: short, on one line, without passwords or keys."""
    text = _SECRETS.sub("***", str(value) if isinstance(value, Decimal) else repr(value))
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def dotted(keys: KeyPath) -> str:
    """``fields.colors.values[2]``."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def locate(place: str, keys: KeyPath) -> str:
    """The place with the key, unless the place already ends in it, as ``--set KEY`` does."""
    key = dotted(keys)
    return f"{place}: {key}" if key and not place.endswith(f" {key}") else place


def place_in(document: Document) -> Place:
    """Names the file and, where it can be told, the line."""

    def place(keys: KeyPath) -> str:
        line = document.line_of(keys)
        return str(document.path) if line is None else f"{document.path}, line {line}"

    return place


def explain(
    error: ValidationError,
    *,
    model: type[BaseModel] | None,
    data: object,
    place: Place,
    written: Callable[[KeyPath], str | None] = lambda _: None,
) -> ConfigurationError:
    """One line per fault, in the order of the keys.

    Args:
        error: what pydantic found.
        model: the model that refused; its keys are offered for unknown ones.
        data: what was given to it.
        place: says where a key path was given.
        written: the scalar as the user typed it, if a file knows.
    """
    lines: dict[str, None] = {}
    for fault in error.errors(include_url=False):
        keys = _keys_of(fault, data)
        problem = _problem(fault, model, written(keys))
        lines[f"{locate(place(keys), keys)}: {problem}"] = None
    return ConfigurationError("\n".join(lines))


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """``did you mean …?`` or, when nothing is near, what is allowed."""
    names = list(known)
    near = get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    rest = ", …" if len(names) > _MOST_LISTED else ""
    return f"allowed: {', '.join(names[:_MOST_LISTED])}{rest}"


def _keys_of(fault: ErrorDetails, data: object) -> list[str | int]:
    """The fault's location without the segments pydantic adds for tagged unions."""
    keys: list[str | int] = []
    spot: Any = data
    for position, key in enumerate(fault["loc"], start=1):
        if _has(spot, key):
            spot = spot[key]
            keys.append(key)
        elif fault["type"] == "missing" and position == len(fault["loc"]):
            keys.append(key)
    return keys


def _has(spot: Any, key: str | int) -> bool:
    if isinstance(spot, Mapping):
        return key in spot
    return isinstance(spot, list | tuple) and isinstance(key, int) and key < len(spot)


def _problem(fault: ErrorDetails, model: type[BaseModel] | None, written: str | None) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {_suggest_key(fault, model)}"
    if kind == "missing":
        return _PLAIN[kind]
    if kind == "value_error":
        problem, given = str(context["error"]), fault["input"]
        is_rule = problem.startswith("must") and isinstance(given, str | int | float)
        return f"{show(given)} is not allowed; {problem}" if is_rule else problem
    if kind.startswith("union_tag"):
        return _problem_of_tag(fault)
    if kind == "string_type":
        return _problem_of_text(fault["input"], written)
    return f"{show(fault['input'])} is not allowed; {_rule(kind, context, fault['msg'])}"


def _rule(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {context[name]}"
    if kind in {"literal_error", "enum"}:
        return f"must be one of {context['expected']}"
    return _PLAIN.get(kind, message[:1].lower() + message[1:])


def _problem_of_tag(fault: ErrorDetails) -> str:
    expected = fault.get("ctx", {}).get("expected_tags", "")
    if fault["type"] == "union_tag_not_found":
        return "`type` is missing; must be one of " + (expected or "the known types")
    return f"type {show(fault['ctx']['tag'])} is not allowed; must be one of {expected}"


def _problem_of_text(value: object, written: str | None) -> str:
    if isinstance(value, bool | int | float | date) or value is None:
        return quote_hint(value, written)
    return f"{show(value)} is not allowed; must be text"


def quote_hint(value: object, written: str | None = None) -> str:
    """Explains a text that YAML read as something else (``no``, ``on``, dates, numbers)."""
    raw = str(value) if written is None else written
    kind = "nothing" if value is None else f"{type(value).__name__} {show(value)}"
    return f'YAML reads {raw or "an empty value"} as {kind}; put it in quotes: "{raw}"'


def _suggest_key(fault: ErrorDetails, model: type[BaseModel] | None) -> str:
    if model is None:
        return "remove it"
    owner: Any = model
    for key in fault["loc"][:-1]:
        owner = _step(owner, key)
    name = str(fault["loc"][-1])
    same_level = list(_model_in(owner).model_fields) if _model_in(owner) else []
    elsewhere = [path for path in _dotted_keys(model) if _is_meant(name, path)]
    if elsewhere and not get_close_matches(name, same_level):
        return f"did you mean {elsewhere[0]}?"
    return suggest(name, same_level)


def _is_meant(name: str, path: str) -> bool:
    return name in {path.rpartition(".")[2], path.replace(".", "_"), path.replace(".", "-")}


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _dotted_keys(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _model_in(annotation: Any) -> Any:
    """The one model inside an annotation such as ``tuple[Model, ...]``, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _step(annotation: Any, key: str | int) -> Any:
    """What stands below ``key``: a model's field, a member of a tagged union, an item."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        info = annotation.model_fields.get(str(key))
        return info.annotation if info else None
    return _tagged(annotation, key) or annotation


def _tagged(annotation: Any, key: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = annotation.model_fields.get("type")
        return annotation if tag and key in typing.get_args(tag.annotation) else None
    return next(filter(None, (_tagged(part, key) for part in typing.get_args(annotation))), None)
