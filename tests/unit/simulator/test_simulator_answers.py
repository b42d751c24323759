"""Answers fit their schema, depend on seed and pixels, and on nothing else."""

from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, jpeg, pattern, photo
from PIL import Image

from pipeline.simulator.answers import expected_answer
from pipeline.simulator.sight import picture_signature
from pipeline.simulator.strict_schema import SchemaFault, find_fault

PICTURE = jpeg(64, 48)
TEXT = {"type": "string"}


def obj(**properties: Any) -> dict[str, Any]:
    """A strict object schema."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PATTERNS = (
    r"^[A-Z]{2}-\d{3,5}$",
    r"(red|green|blue)+ (light|dark)?",
    r"^#[0-9a-fA-F]{6}$",
    r"[^a-z\s]{1,4}",
    r"^(?:a.b|\w+\.\w*)$",
    "",
)
FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
REFERENCES = st.sampled_from(({"$ref": "#/$defs/tag"}, {"$ref": "#/$defs/tree"}, {"$ref": "#"}))


@st.composite
def bounded_numbers(draw: st.DrawFn) -> dict[str, Any]:
    node: dict[str, Any] = {"type": draw(st.sampled_from(("number", "integer")))}
    low = draw(st.integers(-1000, 1000))
    if draw(st.booleans()):
        node[draw(st.sampled_from(("minimum", "exclusiveMinimum")))] = low
    if draw(st.booleans()):
        high = low + draw(st.integers(20, 10_000))
        node[draw(st.sampled_from(("maximum", "exclusiveMaximum")))] = high
    if draw(st.booleans()):
        node["multipleOf"] = draw(st.sampled_from((1, 2, 3, 5, 0.5, 0.1, 0.01)))
    return node


LEAVES = st.one_of(
    st.just(TEXT),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    bounded_numbers(),
    st.sampled_from(PATTERNS).map(lambda text: {"type": "string", "pattern": text}),
    st.sampled_from(FORMATS).map(lambda name: {"type": "string", "format": name}),
    st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True).map(
        lambda values: {"type": "string", "enum": values}
    ),
    st.sampled_from((1, "x", True, None)).map(lambda value: {"const": value}),
)


def arrays_of(items: dict[str, Any], least: int | None, more: int | None) -> dict[str, Any]:
    bounds = {} if least is None else {"minItems": least}
    if more is not None:
        bounds["maxItems"] = (least or 0) + more
    return {"type": "array", "items": items, **bounds}


def nest(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    sizes = st.none() | st.integers(0, 4)
    names = st.text("abcdefgh_colors", min_size=1, max_size=8)
    return st.one_of(
        st.builds(arrays_of, inner | REFERENCES, st.just(0), sizes),
        st.builds(arrays_of, inner, sizes, sizes),
        st.dictionaries(names, inner, max_size=4).map(lambda named: obj(**named)),
        (inner | REFERENCES).map(lambda node: {"anyOf": [node, {"type": "null"}]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: {"anyOf": nodes}),
    )


DEFINITIONS = {
    "tag": obj(name=TEXT, weight={"type": "number", "minimum": 0, "maximum": 1}),
    "tree": obj(
        label=TEXT,
        children={"type": "array", "items": {"$ref": "#/$defs/tree"}},
        next={"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
    ),
}
STRICT_SCHEMAS = st.dictionaries(
    st.text(min_size=1, max_size=10), st.recursive(LEAVES, nest, max_leaves=8), max_size=5
).map(lambda named: {**obj(**named), "$defs": DEFINITIONS})


@settings(max_examples=150, deadline=None)
@given(schema=STRICT_SCHEMAS, seed=st.integers(0, 9))
def test_every_strict_schema_is_taken_and_answered_validly(
    schema: dict[str, Any], seed: int
) -> None:
    assert find_fault(orjson.dumps(schema)) is None
    answer = expected_answer(schema, PICTURE, seed)
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(answer)
    assert answer == expected_answer(orjson.dumps(schema), PICTURE, seed)
    assert list(answer) == list(schema["properties"])


def test_other_picture_gets_another_answer() -> None:
    schema = obj(title=TEXT)
    answers = {expected_answer(schema, jpeg(64, 48, seed=n), 0)["title"] for n in range(20)}
    assert len(answers) == 20


def test_other_seed_gives_another_answer_about_the_same_picture() -> None:
    schema = obj(pieces={"type": "integer", "minimum": 0, "maximum": 1_000_000})
    assert len({expected_answer(schema, PICTURE, seed)["pieces"] for seed in range(20)}) == 20


def test_signature_stands_in_texts_and_first_keyword() -> None:
    schema = obj(title=TEXT, keywords={"type": "array", "items": TEXT, "maxItems": 5})
    answer = expected_answer(schema, PICTURE, 0)
    assert answer["title"].startswith(picture_signature(PICTURE))
    assert answer["keywords"][0].startswith(picture_signature(PICTURE))
    assert len(set(answer["keywords"])) == len(answer["keywords"])


def test_property_does_not_depend_on_its_neighbours() -> None:
    one, two = obj(title=TEXT, mood=TEXT), obj(other=TEXT, mood=TEXT)
    assert expected_answer(one, PICTURE, 0)["mood"] == expected_answer(two, PICTURE, 0)["mood"]


COLORS = {"type": "string", "enum": ["black", "white", "red", "green", "blue", "yellow", "odd"]}


@pytest.mark.parametrize("name", ["red", "green", "blue", "yellow", "white"])
def test_main_color_is_the_one_of_the_picture(name: str) -> None:
    plain = encode(Image.new("RGB", (40, 30), name), "png")
    assert expected_answer(obj(main_color=COLORS), plain, 0) == {"main_color": name}


def test_colors_of_the_picture_come_first() -> None:
    schema = obj(colours={"type": "array", "items": COLORS, "minItems": 4, "maxItems": 4})
    answer = expected_answer(schema, encode(pattern(), "png"), 0)
    assert set(answer["colours"]) == {"red", "green", "blue", "yellow"}


def test_lists_of_an_enum_do_not_repeat_themselves() -> None:
    items = {"type": "string", "enum": list("abc")}
    schema = obj(styles={"type": "array", "items": items, "minItems": 2})
    for seed in range(30):
        styles = expected_answer(schema, PICTURE, seed)["styles"]
        assert len(set(styles)) == len(styles)


@pytest.mark.parametrize(
    "node",
    [
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "multipleOf": 10, "minimum": 11, "maximum": 19},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1},
        {"type": "array", "items": TEXT, "minItems": 3, "maxItems": 2},
        {"type": "integer", "enum": ["one"]},
        {"type": "string", "pattern": "(?=a)b"},
        False,
    ],
)
def test_schema_that_nothing_fits_is_told(node: dict[str, Any]) -> None:
    with pytest.raises(SchemaFault):
        expected_answer(obj(field=node), PICTURE, 0)


ENDLESS = {"loop": obj(loop={"$ref": "#/$defs/loop"}), "circle": {"$ref": "#/$defs/circle"}}


@pytest.mark.parametrize("name", ENDLESS)
def test_branch_without_an_end_is_left_out(name: str) -> None:
    endless = {"$ref": f"#/$defs/{name}"}
    union = {"anyOf": [endless, {"type": "boolean"}]}
    schema = {**obj(items={"type": "array", "items": endless}, either=union), "$defs": ENDLESS}
    for seed in range(20):
        answer = expected_answer(schema, PICTURE, seed)
        assert answer["items"] == []
        assert answer["either"] in (True, False)


@pytest.mark.parametrize("name", ENDLESS)
def test_answer_without_an_end_is_told(name: str) -> None:
    with pytest.raises(SchemaFault):
        expected_answer({**obj(a={"$ref": f"#/$defs/{name}"}), "$defs": ENDLESS}, PICTURE, 0)


def test_exclusive_bounds_are_left_out() -> None:
    node = {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2}
    answers = [expected_answer(obj(count=node), PICTURE, seed)["count"] for seed in range(20)]
    assert set(answers) == {1}


def test_lengths_of_schemas_that_are_not_strict_are_kept() -> None:
    node = {"type": "string", "minLength": 40, "maxLength": 50}
    short = {"type": "string", "maxLength": 5}
    answer = expected_answer(obj(long=node, short=short), PICTURE, 0)
    assert 40 <= len(answer["long"]) <= 50
    assert len(answer["short"]) == 5


def test_narrow_bounds_are_kept() -> None:
    node = {"type": "number", "exclusiveMinimum": 0.1234, "exclusiveMaximum": 0.1235}
    assert 0.1234 < expected_answer(obj(share=node), PICTURE, 0)["share"] < 0.1235


def test_recursion_ends_early() -> None:
    schema = {**obj(tree={"$ref": "#/$defs/tree"}), "$defs": DEFINITIONS}
    sizes = [len(orjson.dumps(expected_answer(schema, PICTURE, seed))) for seed in range(30)]
    assert max(sizes) < 20_000


def test_signature_follows_pixels_not_metadata() -> None:
    picture = photo(80, 60)
    plain, tagged = encode(picture, "png"), encode(picture, "png", dpi=(300, 300))
    assert plain != tagged
    assert picture_signature(plain) == picture_signature(tagged)
