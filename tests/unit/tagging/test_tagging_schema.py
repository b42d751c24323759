"""Compiled schemas stay inside what strict structured outputs accept."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_makers import ANSWER, FIELDS, answers_of, make_profile

from pipeline.config.profiles import Profile, load_profile, shipped_profiles
from pipeline.tagging.schema import build_schema, drop_bounds, encode_schema

ALLOWED_KEYWORDS = {
    "type", "properties", "required", "additionalProperties", "enum", "anyOf", "items",
    "maxItems", "minimum", "maximum", "description",
}  # fmt: skip


def walk(schema: dict[str, Any], depth: int = 1) -> Iterator[tuple[dict[str, Any], int]]:
    yield schema, depth
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for part in [*below, *([schema["items"]] if "items" in schema else [])]:
        yield from walk(part, depth + 1)


def assert_strict(schema: dict[str, Any]) -> None:
    """The published rules: https://platform.openai.com/docs/guides/structured-outputs."""
    parts = list(walk(schema))
    assert schema["type"] == "object"
    assert "anyOf" not in schema
    assert max(depth for _, depth in parts) <= 10
    names = [name for part, _ in parts for name in part.get("properties", {})]
    enums = [part["enum"] for part, _ in parts if "enum" in part]
    assert len(names) <= 5_000
    assert sum(map(len, names)) + sum(len(v) for enum in enums for v in enum) <= 120_000
    assert sum(map(len, enums)) <= 1_000
    assert all(len(enum) <= 250 or sum(map(len, enum)) <= 15_000 for enum in enums)
    for part, _ in parts:
        assert set(part) <= ALLOWED_KEYWORDS
        if part.get("type") == "object":
            assert part["required"] == list(part["properties"])
            assert part["additionalProperties"] is False
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profile_compiles_into_the_strict_subset(name: str) -> None:
    assert_strict(build_schema(load_profile(name)))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, unique=True),
    optional=st.booleans(),
    confidence=st.sampled_from(["none", "self"]),
)
def test_any_profile_compiles_into_the_strict_subset(
    names: list[str], optional: bool, confidence: str
) -> None:
    fields = {name: {**FIELDS[name], "optional": optional} for name in names}
    schema = build_schema(make_profile(fields, confidence=confidence))
    assert_strict(schema)
    assert list(schema["properties"])[: len(names)] == names


def test_largest_allowed_vocabulary_stays_inside() -> None:
    values = [f"{number:015d}" for number in range(1_000)]
    assert_strict(build_schema(make_profile({"a": {"type": "one_of", "values": values}})))


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ({"type": "text", "max_length": 9}, {"type": "string"}),
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"type": "number"}, {"type": "number"}),
        (
            {"type": "number", "min": 0, "max": 1.5, "integer": True},
            {"type": "integer", "minimum": 0, "maximum": 1.5},
        ),
        ({"type": "one_of", "values": ["b", "a"]}, {"type": "string", "enum": ["b", "a"]}),
        (
            {"type": "many_of", "values": ["a"], "max": 1},
            {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 1},
        ),
        ({"type": "keywords"}, {"type": "array", "items": {"type": "string"}, "maxItems": 20}),
        (
            {"type": "boolean", "optional": True},
            {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        ),
    ],
)
def test_kind_of_field_becomes_schema(field: dict[str, Any], schema: dict[str, Any]) -> None:
    assert build_schema(make_profile({"a": field}))["properties"]["a"] == schema


@pytest.mark.parametrize("name", shipped_profiles())
def test_only_bounds_are_dropped(name: str) -> None:
    whole = build_schema(load_profile(name))
    dropped = drop_bounds(whole)
    assert_strict(dropped)
    bounds = {"maxItems", "minimum", "maximum"}
    for (part, _), (kept, _) in zip(walk(whole), walk(dropped), strict=True):
        assert set(kept) == set(part) - bounds


def test_field_named_like_a_bound_is_kept() -> None:
    fields = {"minimum": {"type": "number", "min": 1, "optional": True}}
    schema = drop_bounds(build_schema(make_profile(fields)))
    assert schema["properties"] == {"minimum": {"anyOf": [{"type": "number"}, {"type": "null"}]}}


def test_own_confidence_is_the_last_property() -> None:
    properties = build_schema(make_profile(confidence="self"))["properties"]
    assert [*properties][-1] == "confidence"
    assert properties["confidence"] == {"type": "number", "minimum": 0, "maximum": 1}


def test_partial_provider_may_answer_null_everywhere() -> None:
    schema = build_schema(make_profile(confidence="self"), allow_empty=True)
    jsonschema.validate(dict.fromkeys(schema["properties"]), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**ANSWER, "category": "hats", "confidence": None}, schema)


def test_schema_bytes_are_compact_and_stable() -> None:
    encoded = encode_schema(build_schema(make_profile()))
    assert encoded == encode_schema(build_schema(make_profile()))
    assert encoded == orjson.dumps(orjson.loads(encoded))
    assert encoded.startswith(b'{"type":"object","properties":{"title":{"type":"string"}')


@pytest.mark.parametrize("name", shipped_profiles())
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_another_validator_agrees_on_what_fits(name: str, data: st.DataObject) -> None:
    profile: Profile = load_profile(name)
    jsonschema.validate(data.draw(answers_of(profile)), build_schema(profile))
