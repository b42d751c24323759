"""Writes the configuration reference and the file of defaults from the models themselves.

``python -m pipeline.config.reference`` renews ``docs/configuration.md`` and
``configs/default.yaml``; a test holds them equal to the models.
"""

import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.fields import (
    BooleanField,
    Choice,
    KeywordsField,
    ManyOfField,
    Measure,
    NumberField,
    OneOfField,
    TextField,
)
from pipeline.config.paths import configs_folder
from pipeline.config.profiles import RESERVED_NAMES, ImageOptions, Profile
from pipeline.config.settings import Settings

_KINDS = (TextField, OneOfField, ManyOfField, KeywordsField, NumberField, BooleanField)
_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    Decimal: "number",
    bool: "`true`, `false`",
    Path: "path",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_SHARED_KEYS = ("description", "optional", "measure")

_HEAD = """\
# Configuration

This page is generated from the models in `pipeline/config/`; change those, then run
`python -m pipeline.config.reference`.

## Where settings come from

The first of these that names a key wins:

1. command-line flags, such as `--max-concurrency 8`
2. `--set key.path=value`, repeatable: `--set limits.max_concurrency=8`
3. environment variables: `TAGPIPE_` and the key in capitals, two underscores between levels:
   `TAGPIPE_LIMITS__MAX_CONCURRENCY=8`; an empty variable counts as not set
4. the file given with `-c FILE`, or else `tagpipe.yaml` in the current directory if there is one
5. the default

- An unknown key is an error, in every one of these places.
- Values in flags and variables are converted to what the key asks for. A value that starts with
  `[`, `{` or a quote is read as YAML, so `--set 'library.include=["**/*.jpg"]'` is a list; `null`
  unsets. A list is always replaced whole.
- Relative paths mean the current directory, wherever the file lies.
- API keys are never settings. Put the key into an environment variable; `provider.api_key_env`
  names it.
- `configs/default.yaml` has every key with its default; `configs/nightly.yaml` is an example.
"""

_PROFILES_HEAD = """\
## Profiles

A profile says what to ask about each image. `--profile NAME` takes a shipped one from
`configs/profiles/`, `--profile path/to/mine.yaml` one of yours:

```yaml
name: product
instructions: |
  Catalogue the product in this photograph. Describe only what can be seen.
fields:
  title:    {type: text, max_length: 80, description: headline for the product page}
  colors:   {type: many_of, vocabulary: vocabularies/colors.yaml, max: 3}
  material: {type: one_of, values: [wood, metal, {value: fabric, aliases: [textile]}, other]}
  keywords: {type: keywords, max: 15}
  pieces:   {type: number, min: 0, integer: true, optional: true}
  in_use:   {type: boolean}
```

- Quote values that YAML would read as something else: `"no"`, `"on"`, `"2024"`, `"12:30"`.
- A vocabulary is a file beside the profile (its path is relative to the profile): a YAML list, a
  YAML mapping of each term to its aliases, or plain text with one term a line.
- Limits of strict schemas: 1,000 values over all fields; a list of more than 250 values may hold
  15,000 characters. Beyond that, ask for `keywords` or split the profile.\
"""


def describe_settings() -> str:
    """``docs/configuration.md``: each setting and profile key, what it allows, its default."""
    top = [(name, info) for name, info in Settings.model_fields.items() if not _section_in(info)]
    parts = [_HEAD, "## Settings\n", "### Top level\n", _table(top)]
    for name, info in Settings.model_fields.items():
        model = _section_in(info) or _item_in(info)
        if model is not None:
            each = "" if _section_in(info) else " (a list; each item has)"
            parts += [f"### `{name}`{each}\n", f"{_summary(model)}\n", _table(_keys(model))]
    return "\n".join([*parts, *_describe_profiles()])


def describe_defaults() -> str:
    """``configs/default.yaml``: every key with its default and its meaning as a comment."""
    lines = [
        "# Every setting with its default. Copy what you change into a tagpipe.yaml of your own;",
        "# docs/configuration.md says where settings come from and which values are allowed.",
    ]
    values = Settings().model_dump(mode="json")
    for name, info in Settings.model_fields.items():
        section = _section_in(info)
        lines.append("")
        if section is None:
            lines += _commented(name, info, values[name], indent="")
            continue
        lines += [f"# {_summary(section)}", f"{name}:"]
        for key, below in _keys(section):
            lines += _commented(key, below, values[name][key], indent="  ")
    return "\n".join(lines) + "\n"


def write_reference(root: Path) -> None:
    """Renew both files below the checkout's ``root``."""
    (root / "docs" / "configuration.md").write_text(describe_settings(), encoding="utf-8")
    (root / "configs" / "default.yaml").write_text(describe_defaults(), encoding="utf-8")


def _describe_profiles() -> Iterator[str]:
    yield _PROFILES_HEAD
    yield "- These field names are taken by columns of every record:"
    names = ", ".join(f"`{name}`" for name in sorted(RESERVED_NAMES))
    yield textwrap.fill(names, width=98, initial_indent="  ", subsequent_indent="  ")
    yield "\n### Profile keys\n"
    yield _table(_keys(Profile))
    yield "### `image`\n"
    yield _table(_keys(ImageOptions))
    yield "### Keys of every field\n"
    yield _table(
        [("type", TextField.model_fields["type"]), *_keys(TextField, _SHARED_KEYS)]
    ).replace("`text`", ", ".join(f"`{_tag(kind)}`" for kind in _KINDS), 1)
    for kind in _KINDS:
        own = [(k, info) for k, info in _keys(kind) if k not in {*_SHARED_KEYS, "type"}]
        table = _table(own) if own else "No keys of its own.\n"
        yield f"### `type: {_tag(kind)}`\n\n{_summary(kind)}\n\n{table}"
    yield "### A value with aliases\n"
    yield _table(_keys(Choice))
    measures = ", ".join(f"`{name}`" for name in typing.get_args(Measure))
    yield "### What `measure` can name\n"
    yield textwrap.fill(measures + ".", width=98)
    yield (
        "\nFields named `colors`, `palette`, `keywords`, `orientation`, `brightness` and the like "
        "are measured\nwithout being told, if their type fits; `measure: none` turns that off.\n"
    )


def _tag(kind: type[BaseModel]) -> str:
    return str(typing.get_args(kind.model_fields["type"].annotation)[0])


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _keys(model: type[BaseModel], names: tuple[str, ...] = ()) -> list[tuple[str, FieldInfo]]:
    fields = model.model_fields
    return [(name, fields[name]) for name in names or fields]


def _section_in(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _item_in(info: FieldInfo) -> type[BaseModel] | None:
    items = typing.get_args(info.annotation)
    is_model = bool(items) and isinstance(items[0], type) and issubclass(items[0], BaseModel)
    return items[0] if is_model else None


def _table(keys: list[tuple[str, FieldInfo]]) -> str:
    rows = [
        f"| `{name}` | {_allowed(info)} | {_default(info)} | {info.description or ''} |"
        for name, info in keys
    ]
    return "\n".join(["| key | allowed | default | meaning |", "|---|---|---|---|", *rows, ""])


def _allowed(info: FieldInfo) -> str:
    bounds = [*_bounds(info.metadata), *_bounds(_inner_metadata(info.annotation))]
    can_be_null = type(None) in typing.get_args(info.annotation)
    return ", ".join([_kind(info.annotation), *bounds]) + (" or null" if can_be_null else "")


def _inner_metadata(annotation: Any) -> list[Any]:
    parts = [annotation, *typing.get_args(annotation)]
    found = [item for part in parts for item in getattr(part, "__metadata__", ())]
    return [inner for item in found for inner in getattr(item, "metadata", [item])]


def _bounds(metadata: list[Any]) -> list[str]:
    return [
        f"{words} {getattr(item, name):,}"
        for item in metadata
        for name, words in _BOUNDS.items()
        if getattr(item, name, None) is not None
    ]


def _kind(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    words = _WORDS.get(annotation, "section")
    if origin is typing.Annotated:
        words = _kind(parts[0])
    elif origin is Literal:
        words = ", ".join(f"`{value}`" for value in parts)
    elif origin in {typing.Union, types.UnionType}:
        words = ", ".join(_kind(part) for part in parts if part is not type(None))
    elif origin is tuple:
        words = f"list of {_plural(parts[0])}"
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        words = "name: field"
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        words = ", ".join(f"`{member.value}`" for member in annotation)
    return words


def _plural(annotation: Any) -> str:
    if annotation is Choice:
        return "values"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "sections"
    words = _kind(annotation)
    return words if words.startswith("`") else f"{words}s"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default()
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "; ".join(f"`{item.format}` to `{item.path}`" for item in value)
    return f"`{_as_yaml(_plain(value))}`"


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _commented(name: str, info: FieldInfo, value: Any, *, indent: str) -> list[str]:
    about = textwrap.wrap(
        f"{info.description} ({_allowed(info)})".replace("`", ""),
        width=98 - len(indent),
        break_on_hyphens=False,
    )
    comments = [f"{indent}# {line}" for line in about]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [*comments, f"{indent}{name}:", *(f"{indent}  - {_as_yaml(item)}" for item in value)]
    return [*comments, f"{indent}{name}: {_as_yaml(value)}"]


if __name__ == "__main__":
    write_reference(configs_folder().parent)
