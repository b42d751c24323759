"""A YAML file read strictly, which still knows on which line each value stood."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from pipeline.domain.errors import ConfigurationError

KeyPath: TypeAlias = Sequence[str | int]
"""Mapping keys and list positions from the root, such as ``("exports", 0, "format")``."""


class Document:
    """One parsed file. ``data`` holds plain Python values; positions are looked up on demand."""

    def __init__(self, path: Path, data: Any, root: yaml.Node | None) -> None:
        self.path = path
        self.data = data
        self._root = root

    def line_of(self, keys: KeyPath) -> int | None:
        """Line (from 1) of the value at ``keys``, or of what encloses it if it is absent."""
        node = self._nearest(keys)[0]
        return None if node is None else node.start_mark.line + 1

    def written(self, keys: KeyPath) -> str | None:
        """The scalar at ``keys`` as it stands in the file: ``no`` where ``data`` has False."""
        node, is_exact = self._nearest(keys)
        return node.value if is_exact and isinstance(node, yaml.ScalarNode) else None

    def _nearest(self, keys: KeyPath) -> tuple[yaml.Node | None, bool]:
        node = self._root
        for key in keys:
            child = _child(node, key)
            if child is None:
                return node, False
            node = child
        return node, True


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child: yaml.Node = node.value[key]
        return child
    return None


class _StrictLoader(yaml.SafeLoader):
    """Refuses what plain YAML lets pass: a key given twice, a key that is no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            self._check_key(name, seen)
        return super().construct_mapping(node, deep=deep)

    def _check_key(self, name: yaml.Node, seen: set[str]) -> None:
        if name.tag == "tag:yaml.org,2002:merge":
            return
        if name.tag != "tag:yaml.org,2002:str":
            problem = f'the key {name.value} is not text in YAML; quote it: "{name.value}"'
            raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
        if name.value in seen:
            problem = f"the key {name.value} is given twice"
            raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
        seen.add(name.value)


def read_document(path: Path) -> Document:
    """Parse a YAML (or JSON) file.

    Raises:
        ConfigurationError: the file is missing, unreadable, no UTF-8, or not valid YAML.
    """
    text = read_text(path)
    try:
        loader = _StrictLoader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(_describe(path, error)) from error
    return Document(path, data, root)


def read_text(path: Path) -> str:
    """Text of a small UTF-8 file, without a byte order mark.

    Raises:
        ConfigurationError: the file is missing, unreadable or no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text; save it as UTF-8") from error


def _describe(path: Path, error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        return f"{path}{line}: not valid YAML: {error.problem}"
    if isinstance(error, RecursionError):
        return f"{path}: nested too deeply"
    return f"{path}: not valid YAML: {str(error).splitlines()[0]}"
