"""Settings from flags, environment and file: the only place that reads the last two."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.complaints import dotted, explain, locate, place_in, show
from pipeline.config.documents import Document, KeyPath, read_document
from pipeline.config.settings import Section, Settings
from pipeline.domain.errors import ConfigurationError

DEFAULT_FILE = Path("tagpipe.yaml")
"""Read from the current directory when no file is named."""

PREFIX = "TAGPIPE_"

_SECRET_NAMES = re.compile(r"(?i)(.*_)?(api_?key|access_?key|secret|secret_?key|token|password)")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS = frozenset(
    (name,)
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
)
_YAML_LOOKS = ("[", "{", '"', "'")


@dataclass(slots=True)
class _Layers:
    """Values laid over one another, each with the place it came from (None: the file)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    document: Document | None = None

    def lay(self, keys: tuple[str, ...], value: Any, place: str | None = None) -> None:
        _refuse_secret(keys, value, self._name(place, keys))
        if value is None and keys in _SECTIONS:
            return  # every key of the section is commented out
        if isinstance(value, dict) and value:
            for key, below in value.items():
                self.lay((*keys, key), below, place)
            return
        self._section_of(keys, place)[keys[-1]] = value
        self.places[keys] = place

    def _section_of(self, keys: tuple[str, ...], place: str | None) -> dict[str, Any]:
        section = self.values
        for depth, key in enumerate(keys[:-1], start=1):
            below = section.setdefault(key, {})
            if not isinstance(below, dict):
                whole = dotted(keys[:depth])
                raise ConfigurationError(
                    f"{locate(self._name(place, keys), keys)}: {whole} is no section; "
                    f"give {whole} whole"
                )
            section = below
        return section

    def place(self, keys: KeyPath) -> str:
        """Where the value at ``keys``, or the nearest value around or in it, was given."""
        return (
            self._name(self.places[found], keys) if (found := self._nearest(keys)) else "settings"
        )

    def written(self, keys: KeyPath) -> str | None:
        """The scalar as it stands in the file, when the file gave it."""
        found = self._nearest(keys)
        is_from_file = found and self.places[found] is None
        return self.document.written(keys) if self.document and is_from_file else None

    def _nearest(self, keys: KeyPath) -> tuple[str, ...] | None:
        path = tuple(map(str, keys))
        around = (path[:length] for length in range(len(path), 0, -1))
        inside = (given for given in self.places if path and given[: len(path)] == path)
        beside = (given for given in self.places if given[:1] == path[:1])
        known = (given for given in around if given in self.places)
        return next(chain(known, inside, beside), None)

    def _name(self, place: str | None, keys: KeyPath) -> str:
        if place is None and self.document:
            return place_in(self.document)(keys)
        return place or "settings"


def load_settings(
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """One frozen value out of everything the user said.

    Precedence: ``flags``, then ``overrides``, ``environ``, ``file``, the defaults. Relative paths
    stay as they are, so they mean the current directory, wherever the file lies.

    Args:
        file: a YAML file; None reads ``tagpipe.yaml`` in the current directory if there is one.
        overrides: ``key.path=value`` texts, as given to ``--set``; the last of a key wins.
        flags: dotted key to value, for command-line flags; None means not given.
        environ: variables; ``TAGPIPE_LIMITS__MAX_CONCURRENCY`` is ``limits.max_concurrency``.

    Raises:
        ConfigurationError: naming where, which key, which value and what is allowed.
    """
    layers = _Layers()
    _lay_file(layers, file)
    _lay_environment(layers, environ or {}, overrides)
    for override in overrides:
        keys, text = _split_override(override)
        layers.lay(keys, _parse(text, f"--set {dotted(keys)}"), f"--set {dotted(keys)}")
    for key, value in (flags or {}).items():
        if value is not None:
            layers.lay(tuple(key.split(".")), value, f"the flag for {key}")
    return _validate(layers)


def _lay_file(layers: _Layers, file: Path | None) -> None:
    if file is None and not DEFAULT_FILE.is_file():
        return
    document = layers.document = read_document(file or DEFAULT_FILE)
    if document.data is None:
        return
    if not isinstance(document.data, dict):
        raise ConfigurationError(f"{document.path}: must hold `section:` and `key: value` lines")
    for key, value in document.data.items():
        layers.lay((key,), value)


def _lay_environment(layers: _Layers, environ: Mapping[str, str], overrides: Sequence[str]) -> None:
    given = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text}
    key_holders = {*_named_variables(layers.values), *_named_in(overrides, given)}
    for name, text in sorted(given.items()):
        if name in key_holders:
            continue
        keys = tuple(name.removeprefix(PREFIX).lower().split("__"))
        layers.lay(keys, _parse(text, name), name)


def _named_variables(section: Mapping[str, Any]) -> Iterator[str]:
    """Variables that settings such as ``provider.api_key_env`` point to: they are no settings."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _named_variables(value)
        elif key.endswith("_env"):
            yield str(value)


def _named_in(overrides: Sequence[str], given: Mapping[str, str]) -> Iterator[str]:
    for override in overrides:
        keys, text = _split_override(override)
        if keys[-1].endswith("_env"):
            yield text
    yield from (text for name, text in given.items() if name.endswith("_ENV"))


def _split_override(override: str) -> tuple[tuple[str, ...], str]:
    key, is_given, text = override.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not is_given or not all(keys):
        # The text may be a misplaced key, so only what stands before any `=` is repeated.
        raise ConfigurationError(
            f"--set {show(key)}: is not key.path=value, such as limits.max_concurrency=8"
        )
    return keys, text.strip()


def _parse(text: str, place: str) -> Any:
    """A value given as text: YAML where it looks like it, else left for the model to convert.

    So ``8`` is a number where a number is asked for, and ``4`` or ``no`` stays a name elsewhere.
    """
    if text in {"null", "~"}:
        return None
    if not text.startswith(_YAML_LOOKS):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"{place}: the value is not valid YAML; quote texts in a list: ['**/*.jpg', 'b*']"
        ) from error


def _refuse_secret(keys: tuple[str, ...], value: Any, place: str) -> None:
    """Keys stay out of files, command lines and error texts: only a variable's name is allowed."""
    items = value if isinstance(value, list) else [value]
    looks_secret = any(isinstance(item, str) and item.strip().startswith("sk-") for item in items)
    is_bad_name = (
        keys[-1].endswith("_env") and isinstance(value, str) and not _VARIABLE_NAME.fullmatch(value)
    )
    if _SECRET_NAMES.fullmatch(keys[-1]) or looks_secret or is_bad_name:
        raise ConfigurationError(
            f"{locate(place, keys)}: keys are no settings; put the key into an environment "
            "variable and name that variable in provider.api_key_env (default OPENAI_API_KEY)"
        )


def _validate(layers: _Layers) -> Settings:
    try:
        settings = Settings.model_validate(layers.values)
    except ValidationError as error:
        raise explain(
            error, model=Settings, data=layers.values, place=layers.place, written=layers.written
        ) from error
    _refuse_booleans_as_numbers(layers, settings.model_dump())
    return settings


def _refuse_booleans_as_numbers(layers: _Layers, parsed: Mapping[str, Any]) -> None:
    """YAML's ``yes`` would pass as the number 1."""
    for keys in layers.places:
        given: Any = layers.values
        taken: Any = parsed
        for key in keys:
            given, taken = given[key], taken[key]
        if isinstance(given, bool) and not isinstance(taken, bool):
            raise ConfigurationError(
                f"{locate(layers.place(keys), keys)}: {given} is not allowed; must be a number"
            )
