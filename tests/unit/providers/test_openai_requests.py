"""What is sent: both APIs, every way to ask for structure, against two descriptions of the API."""

import base64
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter
from scripted_api import SCHEMA, make_image, make_question, make_settings

from pipeline.config.settings import ProviderSettings
from pipeline.costs.estimate import REPAIR_TOKENS
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import Detail, PromptCaching, Question, Repair, ServiceTier
from pipeline.providers.openai import check_question
from pipeline.providers.openai_chat import (
    frame_chat_request,
    name_output_limit,
    write_chat_repair,
)
from pipeline.providers.openai_responses import frame_responses_request, write_responses_repair
from pipeline.providers.request_frame import RequestFrame, write_repair

API_SCHEMA = json.loads(
    (Path(__file__).parents[2] / "data" / "openai-requests.schema.json").read_text("utf-8")
)
DESCRIPTIONS = {
    "chat": ("CreateChatCompletionRequest", TypeAdapter(CompletionCreateParamsNonStreaming)),
    "responses": ("CreateResponse", TypeAdapter(ResponseCreateParamsNonStreaming)),
}
APIS = tuple(DESCRIPTIONS)
MODES = ("json_schema", "json_object", "none")
CASES = tuple(itertools.product(APIS, MODES))
OPENAI = "api.openai.com"


def frame(
    settings: ProviderSettings,
    question: Question,
    *,
    tier: ServiceTier = ServiceTier.AUTO,
    host: str = OPENAI,
) -> RequestFrame:
    if settings.api == "responses":
        return frame_responses_request(question, tier, settings=settings)
    return frame_chat_request(question, tier, settings=settings, host=host)


def ask(
    settings: ProviderSettings,
    question: Question | None = None,
    *,
    note: str = "",
    **options: Any,
) -> Any:
    """The document sent for one small picture."""
    made = frame(settings, question or make_question(), **options)
    return orjson.loads(b"".join(made.fill(make_image(), note)))


def check_against_descriptions(api: str, document: Any) -> None:
    name, adapter = DESCRIPTIONS[api]
    jsonschema.Draft202012Validator(
        {**API_SCHEMA, "$ref": f"#/$defs/{name}"},
    ).validate(document)
    # The SDK's types drop the keys they do not know: nothing may be missing afterwards.
    assert unroll(adapter.validate_python(document, strict=True)) == document


def unroll(value: Any) -> Any:
    """Lists for the lazy iterators that pydantic makes of ``Iterable`` fields."""
    if isinstance(value, dict):
        return {key: unroll(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [unroll(item) for item in value]
    return value


def user_parts(document: Any) -> list[Any]:
    messages = document.get("messages") or document["input"]
    parts: list[Any] = messages[-1]["content"]
    return parts


@pytest.mark.parametrize(("api", "mode"), CASES)
@pytest.mark.parametrize("note", ["", "shelf 7"])
def test_bodies_are_what_the_api_describes(api: str, mode: str, note: str) -> None:
    settings = make_settings(
        api=api, structured_output=mode, temperature=0.2, reasoning_effort="low"
    )
    document = ask(settings, note=note, tier=ServiceTier.FLEX)
    check_against_descriptions(api, document)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("effort", ["none", "minimal", "xhigh", "max"])
def test_every_effort_is_one_the_api_describes(api: str, effort: str) -> None:
    check_against_descriptions(api, ask(make_settings(api=api, reasoning_effort=effort)))


@pytest.mark.parametrize("api", APIS)
def test_descriptions_catch_an_unknown_key(api: str) -> None:
    document = ask(make_settings(api=api))
    with pytest.raises(jsonschema.ValidationError):
        check_against_descriptions(api, {**document, "detial": "low"})
    part = user_parts(document)[-1]
    (part["image_url"] if api == "chat" else part)["detial"] = "low"
    with pytest.raises(jsonschema.ValidationError):
        check_against_descriptions(api, document)


@pytest.mark.parametrize("api", APIS)
def test_picture_arrives_byte_for_byte(api: str) -> None:
    picture = make_image(bytes(range(256)) * 40, "image/webp")
    body = frame(make_settings(api=api), make_question()).fill(picture, "")
    document = orjson.loads(b"".join(body))
    part = user_parts(document)[-1]
    url = part["image_url"]["url"] if api == "chat" else part["image_url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/webp;base64"
    assert base64.b64decode(data, validate=True) == picture.data


@pytest.mark.parametrize(("api", "mode"), CASES)
def test_everything_stable_comes_before_note_and_picture(api: str, mode: str) -> None:
    made = frame(make_settings(api=api, structured_output=mode), make_question())
    first = b"".join(made.fill(make_image(b"one"), "shelf 1"))
    second = b"".join(made.fill(make_image(b"two"), "row 2"))
    pairs = enumerate(zip(first, second, strict=False))
    same = next(place for place, (one, other) in pairs if one != other)
    assert b"Say what you see." in first[:same]
    assert SCHEMA in first[:same] or orjson.dumps(SCHEMA.decode())[1:-1] in first[:same]
    assert first[same:].startswith(b"shelf 1")
    assert first[same:].index(b"shelf 1") < first[same:].index(b"base64,")


@pytest.mark.parametrize("api", APIS)
def test_strict_schema_is_sent_byte_for_byte(api: str) -> None:
    made = frame(make_settings(api=api), make_question())
    assert b'"strict":true,"schema":' + SCHEMA in made.head


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("mode", ["json_object", "none"])
def test_schema_goes_into_the_words_when_not_enforced(api: str, mode: str) -> None:
    document = ask(make_settings(api=api, structured_output=mode))
    content = (document.get("messages") or document["input"])[0]["content"]
    text = content if api == "chat" else content[0]["text"]
    assert "JSON" in text
    assert SCHEMA.decode() in text


@pytest.mark.parametrize("api", APIS)
def test_nothing_unset_is_sent(api: str) -> None:
    document = ask(make_settings(api=api, structured_output="none"))
    optional = {"temperature", "reasoning_effort", "reasoning", "service_tier", "text"}
    assert not optional & set(document)
    assert "response_format" not in document


@pytest.mark.parametrize("api", APIS)
def test_openai_is_told_not_to_keep_the_answer(api: str) -> None:
    assert ask(make_settings(api=api))["store"] is False


def test_other_chat_servers_get_no_openai_only_key() -> None:
    document = ask(make_settings(), host="generativelanguage.googleapis.com")
    assert "store" not in document
    assert document["max_tokens"] == 300


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("api.openai.com", "max_completion_tokens"),
        ("eu.api.openai.com", "max_completion_tokens"),
        ("shop.openai.azure.com", "max_completion_tokens"),
        ("api.openai.com.example.org", "max_tokens"),
        ("localhost", "max_tokens"),
    ],
)
def test_output_limit_is_named_as_the_server_knows_it(host: str, key: str) -> None:
    assert name_output_limit(make_settings(), host) == key


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("host", [OPENAI, "gateway.example"])
def test_gateway_is_given_the_output_limit_it_was_configured_for(host: str, key: str) -> None:
    document = ask(make_settings(output_limit=key), host=host)
    assert {name for name in document if name.startswith("max_")} == {key}


def test_responses_output_limit_is_never_below_the_least_allowed() -> None:
    document = ask(make_settings(api="responses"), make_question(max_output_tokens=5))
    assert document["max_output_tokens"] == 16


def test_detail_can_be_left_out_for_servers_that_reject_it() -> None:
    document = ask(make_settings(send_detail=False))
    assert set(user_parts(document)[-1]["image_url"]) == {"url"}


@pytest.mark.parametrize("detail", [Detail.LOW, Detail.HIGH, Detail.ORIGINAL, Detail.AUTO])
def test_responses_take_every_detail(detail: Detail) -> None:
    document = ask(make_settings(api="responses"), make_question(detail=detail))
    check_against_descriptions("responses", document)
    assert user_parts(document)[-1]["detail"] == detail


def test_original_detail_over_chat_is_refused_with_the_way_out() -> None:
    question = make_question(detail=Detail.ORIGINAL)
    with pytest.raises(ConfigurationError, match=r"provider\.api: responses"):
        check_question(make_settings(), question)
    with pytest.raises(ConfigurationError, match=r"provider\.api: responses"):
        ask(make_settings(), question)
    check_question(make_settings(api="responses"), question)


@given(words=st.text(), note=st.text(), api=st.sampled_from(APIS), mode=st.sampled_from(MODES))
def test_any_words_survive_beside_the_picture(words: str, note: str, api: str, mode: str) -> None:
    question = make_question(instructions=words)
    document = ask(make_settings(api=api, structured_output=mode), question, note=note)
    parts = user_parts(document)
    assert [part["text"] for part in parts[:-1]] == ([note] if note else [])
    content = (document.get("messages") or document["input"])[0]["content"]
    assert (content if api == "chat" else content[0]["text"]).startswith(words)


@pytest.mark.parametrize(
    "words", ["data:<image>", '"<note>",', "<note>", '{"<note>":"data:<image>']
)
@pytest.mark.parametrize("api", APIS)
def test_words_that_look_like_our_slots_stay_words(api: str, words: str) -> None:
    document = ask(make_settings(api=api), make_question(instructions=words), note=words)
    check_against_descriptions(api, document)
    assert user_parts(document)[0]["text"] == words


def test_file_name_that_is_no_utf8_can_be_a_note() -> None:
    note = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert user_parts(ask(make_settings(), note=note))[0]["text"] == "caf?.jpg"


@pytest.mark.parametrize("api", APIS)
def test_schema_that_looks_like_our_slots_stays_whole(api: str) -> None:
    schema = {"type": "string", "enum": ["<note>", "data:<image>", "<note>"]}
    made = frame(make_settings(api=api), make_question(schema=orjson.dumps(schema)))
    assert orjson.dumps(schema) in made.head


EXPLICIT = {"mode": "explicit"}
KEY = "tagpipe-" + "f" * 16


def shared_part(document: Any) -> Any:
    """What carries the instructions: a text, or the only part of a list."""
    content = (document.get("messages") or document["input"])[0]["content"]
    if isinstance(content, str):
        return {"text": content}
    [part] = content
    return part


@pytest.mark.parametrize(
    ("caching", "key", "options", "mark"),
    [
        (PromptCaching.NONE, None, None, None),
        (PromptCaching.KEYED, KEY, None, None),
        (PromptCaching.MARKED, KEY, EXPLICIT, EXPLICIT),
        (PromptCaching.OFF, None, EXPLICIT, None),
    ],
)
@pytest.mark.parametrize(("api", "mode"), CASES)
def test_caching_is_asked_for_as_the_api_describes(  # noqa: PLR0917  one row of a table
    api: str, mode: str, caching: PromptCaching, key: Any, options: Any, mark: Any
) -> None:
    settings = make_settings(api=api, structured_output=mode)
    document = ask(settings, make_question(caching=caching), note="shelf 7")
    check_against_descriptions(api, document)
    assert document.get("prompt_cache_key") == key
    assert document.get("prompt_cache_options") == options
    part = shared_part(document)
    assert part.get("prompt_cache_breakpoint") == mark
    assert part["text"].startswith("Say what you see.")
    assert "prompt_cache_breakpoint" not in str(user_parts(document))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("caching", list(PromptCaching))
def test_caching_changes_nothing_else(api: str, caching: PromptCaching) -> None:
    plain = ask(make_settings(api=api))
    cached = ask(make_settings(api=api), make_question(caching=caching))
    told = {key: value for key, value in cached.items() if not key.startswith("prompt_cache_")}
    for document in (plain, told):
        part = shared_part(document)
        document.get("messages", document.get("input"))[0]["content"] = part["text"]
    assert told == plain


def repair(api: str, answer: str, complaint: str, **question: Any) -> bytes:
    asked, fault = make_question(**question), Repair(answer=answer, complaint=complaint)
    settings = make_settings(api=api)
    if api == "responses":
        return write_responses_repair(asked, ServiceTier.AUTO, fault, settings=settings)
    return write_chat_repair(asked, ServiceTier.AUTO, fault, settings=settings, host=OPENAI)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("caching", list(PromptCaching))
def test_repair_is_the_question_with_words_for_the_picture(
    api: str, caching: PromptCaching
) -> None:
    document = orjson.loads(repair(api, '{"title":5}', "title: 5 is not allowed", caching=caching))
    check_against_descriptions(api, document)
    [part] = user_parts(document)
    assert set(part) == {"type", "text"}
    assert "title: 5 is not allowed" in part["text"]
    asked = ask(make_settings(api=api), make_question(caching=caching))
    for one in (document, asked):
        one.get("messages", one.get("input"))[1]["content"] = []
    assert document == asked


@pytest.mark.parametrize("api", APIS)
def test_repair_begins_with_the_same_bytes_as_the_question(api: str) -> None:
    question = make_question(caching=PromptCaching.MARKED)
    head = frame(make_settings(api=api), question).head
    assert repair(api, "{", "cut", caching=PromptCaching.MARKED).startswith(head)


@given(answer=st.text(), complaint=st.text())
def test_nothing_in_a_repair_ends_its_strings(answer: str, complaint: str) -> None:
    text = write_repair(Repair(answer=answer, complaint=complaint))
    words, _, facts = text.partition("\n")
    assert "corrected JSON object" in words
    told = orjson.loads(facts)
    assert set(told) == {"answer", "complaint"}
    assert told["answer"] == answer.encode(errors="replace").decode()
    assert "\n" not in facts


@given(
    answer=st.text(),
    complaint=st.text() | st.sampled_from(['"' * 5_000, "\\" * 5_000, "\0" * 5_000, "ж" * 5_000]),
)
def test_words_around_an_answer_stay_within_what_is_reserved_for_them(
    answer: str, complaint: str
) -> None:
    text = write_repair(Repair(answer=answer, complaint=complaint))
    quoted = orjson.dumps(answer.encode(errors="replace").decode())
    assert len(text.encode()) - len(quoted) <= REPAIR_TOKENS
