"""The strict subset is refused and taken where the API refuses and takes."""

from typing import Any

import orjson
import pytest

from pipeline.simulator.errors import ApiError
from pipeline.simulator.strict_schema import check_schema, find_fault

TEXT = {"type": "string"}


def obj(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def fault(schema: Any) -> str | None:
    return find_fault(orjson.dumps(schema))


def enum(count: int, length: int) -> dict[str, Any]:
    return {"type": "string", "enum": [f"{number:0{length}}" for number in range(count)]}


def nested(levels: int) -> dict[str, Any]:
    schema = obj(leaf=TEXT)
    for _ in range(levels - 1):
        schema = obj(inner=schema)
    return schema


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in obj(a=TEXT).items() if name != key}


REFUSED = {
    "root is a list": ({"type": "array", "items": TEXT}, "type 'object'"),
    "root is no schema": ([], "not of types"),
    "boolean": (obj(a=True), "must be an object"),
    "root is a union": ({**obj(), "anyOf": [obj()]}, "type 'object'"),
    "open object": (without("additionalProperties"), "additionalProperties"),
    "open inner object": (obj(a={"type": "object"}), "('properties', 'a')"),
    "optional property": ({**obj(a=TEXT), "required": []}, "Missing 'a'"),
    "required stranger": ({**obj(), "required": ["b"]}, "Extra 'b'"),
    "no type": (obj(a={"description": "x"}), "'type'"),
    "unknown type": (obj(a={"type": "text"}), "'properties', 'a', 'type'"),
    "list of references": (obj(a={"$ref": 5}), "'$ref'"),
    "patterns of a list": (obj(a={"type": "string", "pattern": 5}), "'pattern'"),
    "minLength": (obj(a={"type": "string", "minLength": 1}), "'minLength'"),
    "maxLength": (obj(a={"type": "string", "maxLength": 9}), "'maxLength'"),
    "default": (obj(a={"type": "string", "default": ""}), "'default'"),
    "uniqueItems": (
        obj(a={"type": "array", "items": TEXT, "uniqueItems": True}),
        "'uniqueItems'",
    ),
    "allOf": (obj(a={"type": "string", "allOf": [TEXT]}), "'allOf'"),
    "oneOf": (obj(a={"oneOf": [TEXT]}), "'type'"),
    "keyword of another type": (obj(a={"type": "string", "minimum": 1}), "'minimum'"),
    "array without items": (obj(a={"type": "array"}), "items"),
    "tuple": (obj(a={"type": "array", "items": [TEXT]}), "not of types"),
    "unknown format": (obj(a={"type": "string", "format": "color"}), "'color'"),
    "lookahead": (obj(a={"type": "string", "pattern": "(?=x)"}), "lookaround"),
    "reference with more": (obj(a={"$ref": "#", "description": "x"}), "$ref cannot"),
    "dead reference": (obj(a={"$ref": "#/$defs/none"}), "cannot be resolved"),
    "foreign reference": (obj(a={"$ref": "https://example.com/#"}), "cannot be resolved"),
    "endless recursion": (obj(a={"$ref": "#"}), "finite"),
    "empty enum": (obj(a={"type": "string", "enum": []}), "enum"),
    "empty union": (obj(a={"anyOf": []}), "'anyOf'"),
    "fault in a definition": ({**obj(), "$defs": {"x": {"type": "object"}}}, "'$defs', 'x'"),
    "fault in a union": (obj(a={"anyOf": [TEXT, {"type": "object"}]}), "'anyOf', '1'"),
    "1001 enum values": (obj(a=enum(1001, 4)), "1001 enum values"),
    "1001 enum values in all": (obj(a=enum(900, 4), b=enum(101, 4)), "1001 enum values"),
    "long enum of long values": (obj(a=enum(251, 60)), "15060 characters"),
    "5001 properties": (obj(**{f"p{n}": TEXT for n in range(5001)}), "5001 properties"),
    "120,002 characters": (obj(a=enum(200, 600), b=TEXT), "120002 characters"),
    "11 levels": (nested(11), "nesting"),
}


@pytest.mark.parametrize(("schema", "words"), REFUSED.values(), ids=REFUSED)
def test_schema_outside_the_subset_is_refused(schema: Any, words: str) -> None:
    assert words in (fault(schema) or "taken")


TAKEN = {
    "empty": obj(),
    "types in a list": obj(a={"type": ["string", "null"]}),
    "described and titled": obj(a={"type": "string", "description": "d", "title": "t"}),
    "union with null": obj(a={"anyOf": [TEXT, {"type": "null"}]}),
    "recursion with an end": obj(a={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
    "recursion in a list": obj(a={"type": "array", "items": {"$ref": "#"}}),
    "escaped reference": {**obj(a={"$ref": "#/$defs/x~1y"}), "$defs": {"x/y": TEXT}},
    "const": obj(a={"type": "string", "const": "x"}),
    "1000 enum values": obj(a=enum(1000, 15)),
    "250 long values": obj(a=enum(250, 400)),
    "10 levels": nested(10),
    "bounded": obj(
        a={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2},
        b={"type": "number", "exclusiveMinimum": 0, "maximum": 1, "multipleOf": 0.1},
    ),
}


@pytest.mark.parametrize("schema", TAKEN.values(), ids=TAKEN)
def test_schema_of_the_subset_is_taken(schema: dict[str, Any]) -> None:
    assert fault(schema) is None


@pytest.mark.parametrize(
    ("param", "code"), [("response_format", None), ("text.format.schema", "invalid_json_schema")]
)
def test_refusal_names_the_format_and_the_parameter(param: str, code: str | None) -> None:
    with pytest.raises(ApiError, match="response_format 'tags'") as caught:
        check_schema(b'{"type":"array"}', is_strict=True, name="tags", param=param)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
