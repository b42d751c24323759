"""Which JSON Schemas the API takes with ``strict: true`` (structured outputs guide, 2026-09)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import orjson

from pipeline.simulator.errors import ApiError, bad_request
from pipeline.simulator.patterns import read_pattern

Schema = Mapping[str, Any]

MAX_PROPERTIES: Final = 5_000
MAX_NESTING: Final = 10
MAX_CHARACTERS: Final = 120_000
"""Of property names, definition names, enum and const strings together."""
MAX_ENUM_VALUES: Final = 1_000
LONG_ENUM_VALUES: Final = 250
"""An enum with more values than this may hold ``LONG_ENUM_CHARACTERS`` only."""
LONG_ENUM_CHARACTERS: Final = 15_000

STRING_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_ANYWHERE: Final = frozenset(
    {"type", "title", "description", "enum", "const", "anyOf", "$defs", "definitions", "$schema"}
)
_NUMERIC: Final = frozenset(
    {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
_BY_TYPE: Final[dict[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"pattern", "format"}),
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "boolean": frozenset(),
    "null": frozenset(),
}


class SchemaFault(Exception):
    """Says where in the schema and what the API would refuse, or what cannot be answered."""

    def __init__(self, place: tuple[str, ...], message: str) -> None:
        super().__init__(f"In context=({', '.join(map(repr, place))}), {message}")


@dataclass(slots=True)
class _Tally:
    properties: int = 0
    enum_values: int = 0
    characters: int = 0


def check_schema(schema: bytes, *, is_strict: bool, name: str, param: str) -> None:
    """Refuse what is no schema or, if strict, outside the supported subset, as the API words it.

    Args:
        schema: as JSON; the verdict is remembered, as a run sends the same schema every time.
        is_strict: whether the subset counts.
        name: of the response format, for the message.
        param: that the error names: ``response_format`` or ``text.format.schema``.

    Raises:
        ApiError: 400.
    """
    fault = find_fault(schema) if is_strict else find_malformation(schema)
    if fault:
        raise refuse_schema(fault, name=name, param=param)


def refuse_schema(fault: str, *, name: str, param: str) -> ApiError:
    code = None if param == "response_format" else "invalid_json_schema"
    message = f"Invalid schema for response_format '{name}': {fault}"
    return bad_request(message, code=code, param=param)


@lru_cache(maxsize=64)
def find_malformation(schema: bytes) -> str | None:
    """Say why a document is no JSON Schema; None when it is one."""
    root = orjson.loads(schema)
    if isinstance(root, dict):
        # whatever dialect it names, it is read as the API reads it
        root.pop("$schema", None)
    try:
        jsonschema_rs.meta.validate(root)
    except jsonschema_rs.ValidationError as error:
        return str(SchemaFault(tuple(map(str, error.instance_path)), f"{error.message}."))
    return None


@lru_cache(maxsize=64)
def find_fault(schema: bytes) -> str | None:
    """Say why a schema is refused with ``strict: true``; None when it is taken."""
    malformation = find_malformation(schema)
    if malformation:
        return malformation
    root = orjson.loads(schema)
    try:
        _check_root(root)
        tally = _Tally()
        _check_node(root, root, (), tally)
        _check_sizes(tally)
        if measure_height(root, root) == math.inf:
            raise SchemaFault((), "no finite answer can satisfy the schema.")
    except SchemaFault as fault:
        return str(fault)
    return None


def list_types(node: Schema) -> tuple[str, ...]:
    """Types a node allows; ``type`` may be one name or a list."""
    declared = node.get("type", ())
    return (declared,) if isinstance(declared, str) else tuple(declared)


def resolve(root: Schema, reference: str) -> Schema:
    """Follow a ``$ref`` within the document.

    Raises:
        SchemaFault: it leads nowhere.
    """
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) else None
    if not reference.startswith("#") or not isinstance(node, dict):
        raise SchemaFault((), f"reference '{reference}' cannot be resolved.")
    return node


def measure_height(root: Schema, node: Schema | bool, seen: frozenset[str] = frozenset()) -> float:
    """Levels of the smallest value that fits; infinite when every one contains itself."""
    if isinstance(node, bool):
        return 1
    reference = node.get("$ref")
    if reference is not None:
        if reference in seen:
            return math.inf
        return measure_height(root, resolve(root, reference), seen | {reference})
    if "anyOf" in node:
        return min(measure_height(root, option, seen) for option in node["anyOf"])
    return 1 + max((measure_height(root, part, seen) for part in _needed_parts(node)), default=0)


def _needed_parts(node: Schema) -> Iterator[Schema | bool]:
    if "enum" in node or "const" in node or set(list_types(node)) - {"object", "array"}:
        return
    yield from node.get("properties", {}).values()
    if node.get("minItems", 0) and "items" in node:
        yield node["items"]


def _check_root(root: Any) -> None:
    if not isinstance(root, dict) or root.get("type") != "object" or "anyOf" in root:
        kind = root.get("type") if isinstance(root, dict) else None
        raise SchemaFault((), f"schema must be an object with type 'object', got {kind!r}.")


def _check_node(root: Schema, node: Any, place: tuple[str, ...], tally: _Tally) -> None:
    if not isinstance(node, dict):
        raise SchemaFault(place, "a schema must be an object.")
    if "$ref" in node:
        _check_reference(root, node, place)
        return
    _check_keywords(node, place)
    _check_enum(node, place, tally)
    _check_text(node, place)
    _check_object(node, place, tally)
    if "array" in list_types(node) and "items" not in node:
        raise SchemaFault(place, "array schema missing items.")
    for step, child in _list_children(node, place):
        _check_node(root, child, (*place, *step), tally)


def _check_reference(root: Schema, node: Schema, place: tuple[str, ...]) -> None:
    siblings = sorted(set(node) - {"$ref"})
    if siblings:
        raise SchemaFault(place, f"$ref cannot have keywords {siblings}.")
    resolve(root, node["$ref"])


def _check_keywords(node: Schema, place: tuple[str, ...]) -> None:
    types = list_types(node)
    unknown_types = [name for name in types if name not in _BY_TYPE]
    if unknown_types:
        raise SchemaFault(place, f"{unknown_types[0]!r} is not a valid type.")
    if not types and not node.keys() & {"anyOf", "enum", "const"}:
        raise SchemaFault(place, "schema must have a 'type' key.")
    allowed = _ANYWHERE.union(*(_BY_TYPE[name] for name in types))
    for keyword in node:
        if keyword not in allowed:
            raise SchemaFault(place, f"'{keyword}' is not permitted.")


def _check_enum(node: Schema, place: tuple[str, ...], tally: _Tally) -> None:
    values = node.get("enum", [])
    if "enum" in node and not values:
        raise SchemaFault(place, "enum must have at least one value.")
    characters = sum(len(value) for value in values if isinstance(value, str))
    if len(values) > LONG_ENUM_VALUES and characters > LONG_ENUM_CHARACTERS:
        raise SchemaFault(
            place,
            f"the enum's {len(values)} values hold {characters} characters; with more than "
            f"{LONG_ENUM_VALUES} values they may hold {LONG_ENUM_CHARACTERS}.",
        )
    tally.enum_values += len(values)
    tally.characters += characters + len(str(node.get("const", "")))


def _check_text(node: Schema, place: tuple[str, ...]) -> None:
    if "format" in node and node["format"] not in STRING_FORMATS:
        raise SchemaFault(place, f"'{node['format']}' is not a supported format.")
    if "pattern" in node:
        try:
            read_pattern(node["pattern"])
        except ValueError as error:
            raise SchemaFault(place, f"pattern is not supported: {error}.") from error


def _check_object(node: Schema, place: tuple[str, ...], tally: _Tally) -> None:
    if "object" not in list_types(node):
        return
    if node.get("additionalProperties") is not False:
        raise SchemaFault(
            place, "'additionalProperties' is required to be supplied and to be false."
        )
    names = node.get("properties", {})
    missing = [name for name in names if name not in node.get("required", [])]
    extra = [name for name in node.get("required", []) if name not in names]
    if missing or extra:
        raise SchemaFault(
            place,
            "'required' is required to be supplied and to be an array including every key in "
            f"properties. {'Missing' if missing else 'Extra'} {(missing or extra)[0]!r}.",
        )
    if sum(step == "properties" for step in place) >= MAX_NESTING:
        raise SchemaFault(place, f"more than {MAX_NESTING} levels of nesting.")
    tally.properties += len(names)
    tally.characters += sum(map(len, names))


def _list_children(
    node: Schema, place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object]]:
    for keyword in ("properties", "$defs", "definitions"):
        for name, child in node.get(keyword, {}).items():
            yield (keyword, name), child
    if "items" in node:
        yield ("items",), node["items"]
    options = node.get("anyOf", ())
    if "anyOf" in node and not options:
        raise SchemaFault(place, "anyOf must have at least one option.")
    for number, option in enumerate(options):
        yield ("anyOf", str(number)), option


def _check_sizes(tally: _Tally) -> None:
    for count, limit, what in (
        (tally.properties, MAX_PROPERTIES, "properties"),
        (tally.enum_values, MAX_ENUM_VALUES, "enum values"),
        (tally.characters, MAX_CHARACTERS, "characters of names and values"),
    ):
        if count > limit:
            raise SchemaFault((), f"the schema has {count} {what}; the limit is {limit}.")
