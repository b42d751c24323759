"""What the server says: values for any strict schema, drawn from the seed and the pixels."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from pipeline.simulator.colors import rank_colors
from pipeline.simulator.patterns import read_pattern
from pipeline.simulator.scalars import FORMATS, draw_number, fit_length
from pipeline.simulator.sight import Sight, look_at
from pipeline.simulator.strict_schema import (
    Schema,
    SchemaFault,
    list_types,
    measure_height,
    resolve,
)

NULL_SHARE: Final = 0.15
"""How often a value that may be null is."""
MAX_EXTRA_ITEMS: Final = 3
"""Items drawn beyond the least, or beyond one, where a list has no upper bound."""
_MOST_REFERENCES: Final = 50
"""References from one to the next before they count as a circle."""
_SHALLOW_FROM: Final = 6
"""Steps from the root after which the smallest fitting value is written: recursion ends."""
_WORDS: Final = (
    "harbour", "meadow", "window", "lantern", "bridge", "orchard", "bicycle", "market",
    "curtain", "teapot", "ladder", "garden", "statue", "island", "basket", "mirror",
    "feather", "rooftop", "fountain", "pebble", "blanket", "compass", "staircase", "cloud",
)  # fmt: skip


def expected_answer(schema: bytes | Mapping[str, Any], image_bytes: bytes, seed: int) -> Any:
    """Say what the server with this seed answers about this picture under this schema.

    Raises:
        ApiError: the bytes are no picture the API takes.
        SchemaFault: no value can fit the schema.
    """
    root = orjson.loads(schema) if isinstance(schema, bytes) else schema
    return make_answer(root, look_at(image_bytes), seed=seed)


def make_answer(schema: Schema, sight: Sight, *, seed: int) -> Any:
    """Return a JSON value that fits the schema; every property depends on its own path only.

    Raises:
        SchemaFault: no value can fit.
    """
    return _write_root(_Writer(schema, sight, seed))


def make_empty_answer(schema: Schema, sight: Sight) -> Any:
    """Return the JSON value that fits the schema and says least: null and empty where allowed.

    Raises:
        SchemaFault: no value can fit.
    """
    return _write_root(_LeastWriter(schema, sight, 0))


def _write_root(writer: "_Writer") -> Any:
    try:
        return writer.write(writer.root, ())
    except RecursionError as error:
        raise SchemaFault((), "no finite answer can satisfy the schema.") from error


def make_text(sight: Sight, *, seed: int) -> str:
    """Answer in plain words."""
    first, second = random.Random(f"{seed}/{sight.signature}/text").sample(_WORDS, 2)
    size = f"{sight.width} x {sight.height}"
    return f"{sight.signature}: a picture of {size} pixels with a {first} and a {second}."


def make_json_object(sight: Sight, *, seed: int) -> dict[str, Any]:
    """Answer in JSON mode, where no schema was given."""
    return {"description": make_text(sight, seed=seed), "signature": sight.signature}


_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (float,),
    "integer": (),
    "boolean": (),
    "null": (),
}
"""Of the values that are neither null, booleans nor whole."""


class _Writer:
    """Walks one schema for one picture."""

    def __init__(self, root: Schema, sight: Sight, seed: int) -> None:
        self.root = root
        self.sight = sight
        self.seed = seed

    def write(self, schema: Schema | bool, path: tuple[str, ...]) -> Any:
        node = self._follow(schema, path)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._pick_value(node, path)
        if "anyOf" in node:
            return self.write(self._pick_option(node["anyOf"], path), path)
        return self._write_type(self._pick_type(node, path), node, path)

    def _follow(self, schema: Schema | bool, path: tuple[str, ...]) -> Schema:
        if schema is False:
            raise SchemaFault(path, "the schema allows no value.")
        node = {} if isinstance(schema, bool) else schema
        for _ in range(_MOST_REFERENCES):
            if "$ref" not in node:
                return node
            node = resolve(self.root, node["$ref"])
        raise SchemaFault(path, "the references lead in a circle.")

    def _draw(self, path: tuple[str, ...]) -> random.Random:
        return random.Random(f"{self.seed}/{self.sight.signature}/{'/'.join(path)}")

    def _pick_option(self, options: Sequence[Schema], path: tuple[str, ...]) -> Schema:
        if len(path) >= _SHALLOW_FROM:
            return min(options, key=lambda option: measure_height(self.root, option))
        chance = self._draw((*path, "option"))
        null = next((option for option in options if _is_null(option)), None)
        filled = [
            option
            for option in options
            if not _is_null(option) and measure_height(self.root, option) < math.inf
        ]
        if null is not None and (not filled or chance.random() < NULL_SHARE):
            return null
        return chance.choice(filled or options)

    def _pick_type(self, node: Schema, path: tuple[str, ...]) -> str:
        types = list_types(node) or (_guess_type(node),)
        if len(types) == 1:
            return types[0]
        return list_types(self._pick_option([{**node, "type": name} for name in types], path))[0]

    def _pick_value(self, node: Schema, path: tuple[str, ...]) -> Any:
        types = list_types(node)
        values = [value for value in node["enum"] if not types or _is_of(value, types)]
        if not values:
            raise SchemaFault(path, "no value of the enum is of the type.")
        liked = self._rank_colors(values, path)
        return liked[0] if liked else self._draw(path).choice(values)

    def _write_type(self, name: str, node: Schema, path: tuple[str, ...]) -> Any:
        writers: dict[str, Callable[[Schema, tuple[str, ...]], Any]] = {
            "object": self._write_object,
            "array": self._write_array,
            "string": self._write_string,
            "integer": lambda node, path: draw_number(node, self._draw(path), is_whole=True),
            "number": lambda node, path: draw_number(node, self._draw(path), is_whole=False),
            "boolean": lambda _, path: self._draw(path).random() < 0.5,  # noqa: PLR2004 - a fair coin
            "null": lambda *_: None,
        }
        return writers[name](node, path)

    def _write_object(self, node: Schema, path: tuple[str, ...]) -> dict[str, Any]:
        properties = node.get("properties", {})
        return {name: self.write(child, (*path, name)) for name, child in properties.items()}

    def _write_array(self, node: Schema, path: tuple[str, ...]) -> list[Any]:
        items = node.get("items", {"type": "string"})
        count = self._draw_count(node, path)
        if measure_height(self.root, items) == math.inf:
            count = node.get("minItems", 0)
        if not count:
            return []
        items = self._follow(items, path)
        if "enum" in items:
            return self._pick_values(items, count, node.get("minItems", 0), path)
        if items.get("type") == "string" and not items.keys() & {"const", "pattern", "format"}:
            return self._write_words(items, count, path)
        return [self.write(items, (*path, str(number))) for number in range(count)]

    def _draw_count(self, node: Schema, path: tuple[str, ...]) -> int:
        least = node.get("minItems", 0)
        most = node.get("maxItems", max(least, 1) + MAX_EXTRA_ITEMS)
        if most < least:
            raise SchemaFault(path, "maxItems is below minItems.")
        if len(path) >= _SHALLOW_FROM:
            return int(least)
        top = min(most, max(least, 1) + MAX_EXTRA_ITEMS)
        return self._draw((*path, "count")).randint(min(max(least, 1), top), top)

    def _pick_values(
        self, items: Schema, count: int, least: int, path: tuple[str, ...]
    ) -> list[Any]:
        types = list_types(items)
        values = [value for value in items["enum"] if not types or _is_of(value, types)]
        if not values and count:
            raise SchemaFault(path, "no value of the enum is of the type.")
        chance = self._draw(path)
        liked = self._rank_colors(values, path)
        rest = [value for value in values if value not in liked]
        order = liked + chance.sample(rest, len(rest))
        # a value twice only where the list must be longer than the enum
        count = min(count, max(len(order), least))
        return [order[number % len(order)] for number in range(count)]

    def _rank_colors(self, values: Sequence[Any], path: tuple[str, ...]) -> list[Any]:
        names = [step for step in path if "color" in step.lower() or "colour" in step.lower()]
        return rank_colors(values, self.sight) if names else []

    def _write_string(self, node: Schema, path: tuple[str, ...]) -> str:
        chance = self._draw(path)
        if "pattern" in node:
            return _draw_match(node["pattern"], chance, path)
        if node.get("format") in FORMATS:
            return FORMATS[node["format"]](self.sight.signature, chance)
        return fit_length(node, f"{self.sight.signature} {chance.choice(_WORDS)}")

    def _write_words(self, items: Schema, count: int, path: tuple[str, ...]) -> list[str]:
        words = self._draw(path).sample(_WORDS, min(count, len(_WORDS)))
        words += [f"item {number}" for number in range(count - len(words))]
        marked = [f"{self.sight.signature} {word}" for word in words[:1]]
        return [fit_length(items, word) for word in marked + words[1:]]


class _LeastWriter(_Writer):
    """Writes as little as the schema allows."""

    def _pick_option(self, options: Sequence[Schema], path: tuple[str, ...]) -> Schema:
        del path
        null = next((option for option in options if _is_null(option)), None)
        return null or min(options, key=lambda option: measure_height(self.root, option))

    def _pick_value(self, node: Schema, path: tuple[str, ...]) -> Any:
        for least in (None, ""):
            if least in node["enum"]:
                return least
        return super()._pick_value(node, path)

    def _draw_count(self, node: Schema, path: tuple[str, ...]) -> int:
        del path
        return int(node.get("minItems", 0))

    def _write_string(self, node: Schema, path: tuple[str, ...]) -> str:
        if "pattern" in node or node.get("format") in FORMATS:
            return super()._write_string(node, path)
        return fit_length(node, "")

    def _write_words(self, items: Schema, count: int, path: tuple[str, ...]) -> list[str]:
        del path
        return [fit_length(items, "")] * count


def _is_null(option: Schema | bool) -> bool:
    return not isinstance(option, bool) and option.get("type") == "null"


def _draw_match(pattern: str, chance: random.Random, path: tuple[str, ...]) -> str:
    try:
        return read_pattern(pattern)(chance)
    except ValueError as error:
        raise SchemaFault(path, f"pattern is not supported: {error}.") from error


def _guess_type(node: Schema) -> str:
    return "object" if "properties" in node else "array" if "items" in node else "string"


def _is_of(value: Any, types: Sequence[str]) -> bool:
    if isinstance(value, bool) or value is None:
        return ("null" if value is None else "boolean") in types
    if isinstance(value, int):
        return "integer" in types or "number" in types
    return any(isinstance(value, _PYTHON_TYPES[name]) for name in types)
