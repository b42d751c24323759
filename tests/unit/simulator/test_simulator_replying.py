"""Spoilt answers are spoilt in their one way, and cost what they would cost."""

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from pictures import jpeg
from test_simulator_answers import STRICT_SCHEMAS
from test_simulator_exchange import SCHEMA, TABLE, ask, chat, responses, strict

from pipeline.costs.prices import price
from pipeline.simulator.answers import make_empty_answer
from pipeline.simulator.behavior import Fault
from pipeline.simulator.documents import make_document
from pipeline.simulator.prompt_cache import CacheUse
from pipeline.simulator.replying import Lane, make_reply
from pipeline.simulator.sight import look_at

SIGHT = look_at(jpeg(64, 48))


def test_cut_answer_ends_by_its_length_and_is_billed() -> None:
    thought = ask(chat(response_format=strict(), max_tokens=500))
    reply = make_reply(thought, Fault.CUT_ANSWER)
    assert thought.text.startswith(reply.text)
    assert (reply.ending, reply.cost_nano is not None) == ("length", True)
    assert 0 < reply.usage.output < make_reply(thought, None).usage.output


def test_content_filter_is_told_in_both_apis() -> None:
    one = make_reply(ask(chat()), Fault.CONTENT_FILTER)
    two = make_reply(ask(responses()), Fault.CONTENT_FILTER)
    chat_document = make_document(one, number=1, created=0)
    response = make_document(two, number=1, created=0)
    assert chat_document["choices"][0]["finish_reason"] == "content_filter"
    assert response["incomplete_details"] == {"reason": "content_filter"}
    assert response["status"] == "incomplete"


def test_answer_without_choices_has_usage() -> None:
    one = make_document(make_reply(ask(chat()), Fault.NO_CHOICES), number=1, created=0)
    two = make_document(make_reply(ask(responses()), Fault.NO_CHOICES), number=1, created=0)
    assert one["choices"] == two["output"] == []
    assert one["usage"]["total_tokens"] > 0


def test_empty_answer_is_null_and_empty_where_the_schema_allows() -> None:
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "mood": {"type": ["string", "null"]},
            "style": {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "two": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "kind": {"type": "string", "enum": ["red", ""]},
        },
    }
    assert make_empty_answer(schema, SIGHT) == {
        "title": "",
        "mood": None,
        "style": None,
        "tags": [],
        "two": ["", ""],
        "kind": "",
    }


@given(STRICT_SCHEMAS)
@settings(max_examples=60, deadline=None)
def test_empty_answer_fits_every_schema(schema: dict[str, object]) -> None:
    jsonschema_rs.validate(schema, make_empty_answer(schema, SIGHT))


@pytest.mark.parametrize(
    ("more", "text"),
    [({}, ""), ({"response_format": strict(SCHEMA)}, '{"title":""}')],
)
def test_empty_answer_has_the_asked_form(more: dict[str, object], text: str) -> None:
    assert make_reply(ask(chat(**more)), Fault.EMPTY_ANSWER).text == text


def test_substitute_is_named_and_priced() -> None:
    thought = ask(chat())
    other = TABLE.find("gpt-5.4-nano")
    assert other
    lane = Lane(model="gpt-5.4-nano", spec=other, tier="default")
    reply = make_reply(thought, Fault.SUBSTITUTED, lane=lane)
    assert make_document(reply, number=1, created=0)["model"] == "gpt-5.4-nano"
    assert reply.cost_nano == price(other, reply.usage, "default")
    assert reply.cost_nano != make_reply(thought, None).cost_nano


def test_unknown_substitute_has_no_price() -> None:
    lane = Lane(model="gpt-0", spec=None, tier="default")
    assert make_reply(ask(chat()), Fault.SUBSTITUTED, lane=lane).cost_nano is None


def test_cached_and_written_tokens_are_told_in_both_apis() -> None:
    cache = CacheUse(cached=30, written=20)
    one = make_document(make_reply(ask(chat()), None, cache=cache), number=1, created=0)
    two = make_document(make_reply(ask(responses()), None, cache=cache), number=1, created=0)
    for details in (one["usage"]["prompt_tokens_details"], two["usage"]["input_tokens_details"]):
        assert (details["cached_tokens"], details["cache_write_tokens"]) == (30, 20)


def test_repair_request_without_a_picture_is_answered_to_its_schema() -> None:
    earlier = 'Your answer was no JSON: {"title": "a bri'
    messages = [{"role": "user", "content": earlier}]
    document = {"model": "gpt-4o", "messages": messages, "response_format": strict()}
    first, second = ask(document), ask(document)
    jsonschema_rs.validate(SCHEMA, orjson.loads(first.text))
    assert first.text == second.text
    assert (first.sight.sha256, first.image_tokens) == ("", 0)
    assert first.subject == first.sight.signature
