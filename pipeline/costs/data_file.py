"""A value out of a YAML data file that knows where it stands, so that a fault can be named."""

import re
from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import yaml

from pipeline.config.complaints import dotted, show, suggest
from pipeline.config.documents import KeyPath, read_document, read_text
from pipeline.domain.errors import ConfigurationError

# libyaml parses the shipped table in a fifth of the time; the two loaders agree on the values.
_FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# neither 1/0 nor an exponent that would fill the memory with zeros
_PLAIN_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d\d?)?", re.IGNORECASE | re.ASCII)


class Node:
    """One value, read by saying what it must be.

    Every reading method raises ``ConfigurationError`` with file, line, key, value and what is
    allowed when the value is something else.
    """

    __slots__ = ("_file", "_keys", "_value")

    def __init__(self, value: Any, file: Path, keys: KeyPath = ()) -> None:
        self._value = value
        self._file = file
        self._keys = tuple(keys)

    def fault(self, allowed: str) -> ConfigurationError:
        return self._complaint(f"{show(self._value)} is not allowed; {allowed}")

    def missing(self, key: str) -> ConfigurationError:
        return self._child(key, None)._complaint("is missing")  # noqa: SLF001  # its own class

    def entries(self) -> dict[str, Self]:
        """The values of a mapping whose keys may be any text; an empty section has none."""
        if self._value is None:
            return {}
        if not isinstance(self._value, dict) or not all(isinstance(k, str) for k in self._value):
            raise self.fault("must be a section of `key: value` lines")
        return {key: self._child(key, value) for key, value in self._value.items()}

    def fields(self, *, required: Iterable[str] = (), optional: Iterable[str]) -> dict[str, Self]:
        """The values of a mapping that has these keys only."""
        entries = self.entries()
        known = (*required, *optional)
        for key, node in entries.items():
            if key not in known:
                raise node._complaint(f"unknown key; {suggest(key, known)}")  # noqa: SLF001  # its own class
        for key in required:
            if key not in entries:
                raise self.missing(key)
        return entries

    def rows(self) -> list[Self]:
        """The items of a list; a single value is a list of one."""
        if isinstance(self._value, list):
            return [self._child(place, value) for place, value in enumerate(self._value)]
        return [self]

    def is_section(self) -> bool:
        return isinstance(self._value, dict)

    def number(self) -> Fraction:
        """An exact number, 0 or more: 1.2 is six fifths, not the double next to it."""
        # YAML made 1.2 a double; its shortest decimal is what the user typed
        text = "" if isinstance(self._value, bool) else str(self._value)
        if not _PLAIN_NUMBER.fullmatch(text):
            raise self.fault("must be a number, 0 or more")
        return Fraction(text)

    def whole(self, least: int = 0) -> int:
        value = self._value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.fault(f"must be a whole number, {least} or more")
        return value

    def day(self) -> date:
        if isinstance(self._value, date) and not isinstance(self._value, datetime):
            return self._value
        try:
            return date.fromisoformat(self._value)
        except (TypeError, ValueError) as error:
            raise self.fault("must be a date such as 2026-10-05") from error

    def text(self) -> str:
        if not isinstance(self._value, str) or not self._value:
            raise self.fault("must be text")
        return self._value

    def choice(self, allowed: Iterable[str]) -> str:
        options = tuple(allowed)
        if self._value not in options:
            raise self.fault(f"must be one of {', '.join(options)}")
        return str(self._value)

    def flag(self) -> bool:
        if not isinstance(self._value, bool):
            raise self.fault("must be true or false")
        return self._value

    def _child(self, key: str | int, value: Any) -> Self:
        return type(self)(value, self._file, (*self._keys, key))

    def _complaint(self, problem: str) -> ConfigurationError:
        # only a fault needs the line, and only the slower loader keeps it
        line = read_document(self._file).line_of(self._keys)
        place = str(self._file) if line is None else f"{self._file}, line {line}"
        label = f"{dotted(self._keys)}: " if self._keys else ""
        return ConfigurationError(f"{place}: {label}{problem}")


def read_data_file(path: Path) -> Node:
    """Parse a YAML file, fast.

    Raises:
        ConfigurationError: the file is missing, unreadable, no UTF-8, no valid YAML, or gives a
            key twice.
    """
    try:
        data = _parse_fast(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError):
        # the strict reader refuses the file too, and says where and why
        data = read_document(path).data
    return Node(data, path)


def _parse_fast(text: str) -> Any:
    loader = _FAST_LOADER(text)
    try:
        root = loader.get_single_node()
        _check_keys(root)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _check_keys(node: yaml.Node | None) -> None:
    """Refuse a key given twice, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        if len({name.value for name, _ in node.value if name.value}) < len(node.value):
            raise yaml.YAMLError
        for _, value in node.value:
            _check_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)
