"""Requests are refused, counted and answered as the API does it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import orjson
import pybase64
import pytest
from pictures import NOT_IMAGES, animated, bomb_png, encode, jpeg, photo, truncated

from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.text_tokens import REQUEST_TOKENS, estimate_text_tokens
from pipeline.simulator.answers import expected_answer
from pipeline.simulator.behavior import Fault
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Thought, think
from pipeline.simulator.reading import Api
from pipeline.simulator.replying import make_reply

PICTURE = jpeg(320, 240)
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
TABLE = load_models(on=date(2026, 11, 20))


def find_model(name: str) -> ModelSpec | None:
    return TABLE.find(name)


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{pybase64.b64encode(data).decode()}"


def chat(picture: bytes = PICTURE, *, detail: str = "low", **more: Any) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": data_url(picture), "detail": detail}}
    content = [{"type": "text", "text": "Tag this."}, image]
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


def responses(picture: bytes = PICTURE, *, detail: str = "low", **more: Any) -> dict[str, Any]:
    image = {"type": "input_image", "image_url": data_url(picture), "detail": detail}
    content = [{"type": "input_text", "text": "Tag this."}, image]
    return {"model": "gpt-5.6-luna", "input": [{"role": "user", "content": content}], **more}


def strict(schema: Any = SCHEMA, name: str = "tags") -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": schema},
    }


def ask(document: Any, *, seed: int = 0) -> Thought:
    api = Api.RESPONSES if isinstance(document, dict) and "input" in document else Api.CHAT
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return think(body, api, find_model, seed=seed)


def with_part(part: Any, role: str = "user") -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": role, "content": [part]}]}


def with_url(url: Any) -> dict[str, Any]:
    return with_part({"type": "image_url", "image_url": {"url": url}})


IMAGE_PART = {"type": "image_url", "image_url": {"url": data_url(PICTURE)}}
BAD_BASE64 = "data:image/png;base64,abc$"
OPEN_OBJECT = {"type": "object", "properties": {}}

REFUSED: dict[str, tuple[Any, int, str | None, str | None]] = {
    "no JSON": (b'{"model": ', 400, None, None),
    "a list": (b"[]", 400, None, None),
    "no model": ({"messages": [{"role": "user", "content": "x"}]}, 400, None, None),
    "no messages": ({"model": "gpt-4o"}, 400, "missing_required_parameter", "messages"),
    "no role": (
        {"model": "gpt-4o", "messages": [{"content": "x"}]},
        400,
        "missing_required_parameter",
        "messages[0].role",
    ),
    "number as content": (
        {"model": "gpt-4o", "messages": [{"role": "user", "content": 1}]},
        400,
        "invalid_type",
        "messages[0].content",
    ),
    "unknown model": (chat() | {"model": "gpt-0"}, 404, "model_not_found", None),
    "unknown part": (
        with_part({"type": "input_image"}),
        400,
        "invalid_value",
        "messages[0].content[0].type",
    ),
    "image of the assistant": (
        with_part(IMAGE_PART, role="assistant"),
        400,
        "invalid_value",
        "messages[0].content[0]",
    ),
    "image url as text": (
        with_part({"type": "image_url", "image_url": data_url(PICTURE)}),
        400,
        "invalid_type",
        "messages[0].content[0].image_url",
    ),
    "http address": (
        with_url("https://example.com/x.jpg"),
        400,
        "invalid_image_url",
        "messages[0].content[0].image_url.url",
    ),
    "bad base64": (
        with_url(BAD_BASE64),
        400,
        "invalid_base64_image",
        "messages[0].content[0].image_url.url",
    ),
    "no picture type": (
        with_url(data_url(PICTURE, "text/plain")),
        400,
        "invalid_image_format",
        "messages[0].content[0].image_url.url",
    ),
    "original on chat": (
        chat(detail="original"),
        400,
        "invalid_value",
        "messages[0].content[1].image_url.detail",
    ),
    "original on a model without": (
        responses(detail="original") | {"model": "gpt-4o"},
        400,
        "invalid_value",
        "input[0].content[1].detail",
    ),
    "schema not strict enough": (
        chat(response_format=strict(OPEN_OBJECT)),
        400,
        None,
        "response_format",
    ),
    "schema of responses": (
        responses(
            text={
                "format": {
                    "type": "json_schema",
                    "name": "x",
                    "strict": True,
                    "schema": OPEN_OBJECT,
                }
            }
        ),
        400,
        "invalid_json_schema",
        "text.format.schema",
    ),
    "no schema": (
        chat(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "text"}},
            }
        ),
        400,
        None,
        "response_format",
    ),
    "name of a schema": (
        chat(response_format=strict(name="my tags")),
        400,
        "invalid_value",
        "response_format.json_schema.name",
    ),
    "unknown format": (
        chat(response_format={"type": "yaml"}),
        400,
        "invalid_value",
        "response_format.type",
    ),
    "JSON mode without the word": (
        chat(response_format={"type": "json_object"}),
        400,
        None,
        "messages",
    ),
    "stream": (chat(stream=True), 400, "unsupported_value", "stream"),
    "two answers": (chat(n=2), 400, "unsupported_value", "n"),
    "unknown tier": (chat(service_tier="turbo"), 400, "invalid_value", "service_tier"),
    "no output": (
        chat(max_completion_tokens=0),
        400,
        "integer_below_min_value",
        "max_completion_tokens",
    ),
    "little output": (
        responses(max_output_tokens=15),
        400,
        "integer_below_min_value",
        "max_output_tokens",
    ),
}


@pytest.mark.parametrize(("document", "status", "code", "param"), REFUSED.values(), ids=REFUSED)
def test_bad_request_is_refused(
    document: Any, status: int, code: str | None, param: str | None
) -> None:
    with pytest.raises(ApiError) as caught:
        ask(document)
    error = caught.value.document()["error"]
    assert (caught.value.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"


BAD_PICTURES = {
    **NOT_IMAGES,
    "cut": truncated(PICTURE),
    "tiff": encode(photo(8, 8), "tiff"),
    "animated": animated("gif"),
}


@pytest.mark.parametrize("data", BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        ask(chat(data))
    assert (caught.value.status, caught.value.code) == (400, "invalid_image_format")


def test_bomb_is_refused_undecoded() -> None:
    with pytest.raises(ApiError) as caught:
        ask(chat(bomb_png()))
    assert caught.value.code == "image_too_large"


def test_too_many_patches_are_refused() -> None:
    large = encode(photo(64, 64).resize((6000, 6000)), "jpeg")
    with pytest.raises(ApiError, match="35344") as caught:
        ask(responses(large, detail="original"))
    assert caught.value.status == 400
    assert ask(responses(large, detail="high")).image_tokens == 3000


@pytest.mark.parametrize(
    ("make", "model", "detail", "tokens"),
    [
        (chat, "gpt-4o", "low", 85),
        (chat, "gpt-4o", "high", 255),
        (responses, "gpt-5.6-luna", "high", 96),
    ],
)
def test_image_tokens_follow_the_formula(
    make: Callable[..., dict[str, Any]], model: str, detail: str, tokens: int
) -> None:
    assert ask(make(detail=detail) | {"model": model}).image_tokens == tokens


def test_every_picture_of_a_request_is_counted() -> None:
    one = chat(jpeg(64, 64))
    two = {**one, "messages": one["messages"] + chat()["messages"]}
    thought = ask(two)
    assert thought.image_tokens == 2 * 85
    assert (thought.sight.width, thought.sight.height) == (320, 240)


def test_words_count_as_input() -> None:
    assert ask(chat()).text_tokens == estimate_text_tokens("Tag this.") + REQUEST_TOKENS


def test_schema_counts_as_input() -> None:
    with_schema = ask(chat(response_format=strict())).text_tokens
    assert with_schema - ask(chat()).text_tokens == estimate_text_tokens(orjson.dumps(SCHEMA))


@pytest.mark.parametrize("seed", [0, 7])
def test_answer_is_the_one_that_can_be_computed(seed: int) -> None:
    thought = ask(chat(response_format=strict()), seed=seed)
    assert orjson.loads(make_reply(thought, None).text) == expected_answer(SCHEMA, PICTURE, seed)


def deep_request(levels: int) -> bytes:
    deep = b'{"type":"string"}'
    for _ in range(levels):
        deep = b'{"type":"array","minItems":1,"maxItems":1,"items":' + deep + b"}"
    root = SCHEMA | {"properties": {"title": "DEEP"}}
    return orjson.dumps(chat(response_format=strict(root))).replace(b'"DEEP"', deep)


def test_deep_schema_is_answered() -> None:
    assert ask(deep_request(100)).text.endswith("]" * 100 + "}")


def test_too_deep_schema_is_refused() -> None:
    with pytest.raises(ApiError, match="deep") as caught:
        ask(deep_request(300))
    assert caught.value.param == "response_format"


def test_json_mode_answers_an_object() -> None:
    document = chat(response_format={"type": "json_object"})
    document["messages"][0]["content"][0]["text"] = "Answer in JSON."
    thought = ask(document)
    assert orjson.loads(thought.text)["signature"] == thought.sight.signature


def worded(schema: Any, role: str, **more: Any) -> dict[str, Any]:
    words = f"Answer in JSON.\nIt must fit:\n{orjson.dumps(schema).decode()}\nThat is all."
    asked = chat(**more)
    return {**asked, "messages": [{"role": role, "content": words}, *asked["messages"]]}


@pytest.mark.parametrize("more", [{}, {"response_format": {"type": "json_object"}}])
@pytest.mark.parametrize("role", ["system", "developer"])
def test_schema_in_the_instructions_is_obeyed(role: str, more: dict[str, Any]) -> None:
    text = ask(worded(SCHEMA, role, **more), seed=3).text
    assert orjson.loads(text) == expected_answer(SCHEMA, PICTURE, 3)


@pytest.mark.parametrize(
    ("schema", "role"),
    [
        (SCHEMA, "user"),
        ({"title": "an example"}, "system"),
        ({"type": "object", "properties": []}, "system"),
        ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "system"),
    ],
)
def test_other_objects_in_the_words_are_mere_words(schema: Any, role: str) -> None:
    assert ask(worded(schema, role)).text == ask(chat()).text


def test_schema_of_the_format_outranks_the_one_in_the_words() -> None:
    other = SCHEMA | {"properties": {"name": {"type": "string"}}}
    text = ask(worded(other, "system", response_format=strict())).text
    assert set(orjson.loads(text)) == {"title"}


def test_text_without_a_picture_is_answered() -> None:
    thought = ask({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]})
    assert thought.image_tokens == 0
    assert thought.sight.signature in thought.text


@pytest.mark.parametrize("limit", [1, 5, 17])
def test_answer_is_cut_at_the_output_limit(limit: int) -> None:
    whole = ask(chat(max_tokens=limit))
    reply = make_reply(whole, None)
    assert reply.is_cut
    assert reply.usage.output == limit
    assert estimate_text_tokens(reply.text) <= limit
    assert reply.text
    assert whole.text.startswith(reply.text)


def test_answer_within_the_output_limit_is_whole() -> None:
    reply = make_reply(ask(chat(max_tokens=500)), None)
    assert not reply.is_cut
    assert reply.usage.output == estimate_text_tokens(reply.text)


def test_spoilt_answers_are_spoilt() -> None:
    thought = ask(chat(response_format=strict()))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(make_reply(thought, Fault.BAD_JSON).text)
    assert "title" not in orjson.loads(make_reply(thought, Fault.WRONG_SCHEMA).text)
    assert make_reply(thought, Fault.REFUSED).is_refusal
