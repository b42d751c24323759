"""Lines: what is asked in one is the ordinary request, and what came of it is told as for one."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import (
    CHAT_ANSWER,
    RESPONSES_ANSWER,
    SCHEMA,
    make_image,
    make_question,
    make_settings,
    make_vision_request,
)

from pipeline.domain.batches import Answered, BatchLine, Unanswered
from pipeline.domain.errors import (
    AskError,
    ContentFiltered,
    CreditExhausted,
    LineExpired,
    ModelUnavailable,
    NoAnswer,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    RunPaused,
)
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import Repair, ServiceTier
from pipeline.providers.batch_lines import (
    LineReader,
    UnreadableLineError,
    measure_line,
    write_line,
)
from pipeline.providers.openai_dialect import OpenAIDialect

APIS = ("chat", "responses")
ANSWERS = {"chat": CHAT_ANSWER, "responses": RESPONSES_ANSWER}
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def make_dialect(api: str = "chat", **settings: Any) -> OpenAIDialect:
    return OpenAIDialect(make_settings(api=api, **settings), host="api.openai.com")


def make_reader(api: str = "chat") -> LineReader:
    return LineReader(dialect=make_dialect(api), server="h", model="asked", now=NOW)


def read(document: Any, api: str = "chat") -> BatchLine:
    return make_reader(api).read(orjson.dumps(document))


def result(body: Any = None, *, status: Any = 200, error: Any = None) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return {"id": "batch_req_1", "custom_id": "a-1", "response": response, "error": error}


def read_error(document: Any, api: str = "chat") -> AskError | RunPaused:
    line = read(document, api)
    assert isinstance(line, Unanswered)
    assert line.custom_id == "a-1"
    assert line.error.__traceback__ is None
    return line.error


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("repair", [None, Repair(answer="{}", complaint="no\ntitle")])
def test_body_of_a_line_is_the_ordinary_request(api: str, repair: Repair | None) -> None:
    request = make_vision_request(note="on a\nshelf", repair=repair)
    dialect = make_dialect(api)
    line = b"".join(write_line("a-1", request, dialect=dialect, path=f"/v1/{dialect.path}"))
    ordinary = b"".join(dialect.write(request))
    assert line == (
        b'{"custom_id":"a-1","method":"POST","url":"/v1/%b","body":%b}\n'
        % (dialect.path.encode(), ordinary)
    )
    assert set(orjson.loads(line)) == {"custom_id", "method", "url", "body"}


@pytest.mark.parametrize("tier", list(ServiceTier))
@pytest.mark.parametrize("api", APIS)
def test_line_names_no_lane_whatever_the_request_asks(api: str, tier: ServiceTier) -> None:
    line = write_line("a", make_vision_request(tier=tier), dialect=make_dialect(api), path="/v1/x")
    assert "service_tier" not in orjson.loads(b"".join(line))["body"]


def test_schema_with_line_breaks_stays_on_one_line() -> None:
    question = make_question(schema=SCHEMA.replace(b",", b",\r\n  "), instructions="one\ntwo")
    pieces = write_line(
        "a", make_vision_request(question=question), dialect=make_dialect(), path="/v1/x"
    )
    line = b"".join(pieces)
    assert (line.count(b"\n"), line.count(b"\r"), line[-1:]) == (1, 0, b"\n")
    body = orjson.loads(line)["body"]
    assert body["response_format"]["json_schema"]["schema"] == orjson.loads(SCHEMA)
    assert body["messages"][0]["content"] == "one\ntwo"


@given(
    data=st.binary(max_size=50),
    note=st.text(max_size=20),
    custom_id=st.text(max_size=8),
    is_repair=st.booleans(),
    api=st.sampled_from(APIS),
)
def test_measure_is_never_less_than_the_line(
    *, data: bytes, note: str, custom_id: str, is_repair: bool, api: str
) -> None:
    repair = Repair(answer=note, complaint=note) if is_repair else None
    request = make_vision_request(image=make_image(data), note=note, repair=repair)
    dialect = make_dialect(api)
    line = b"".join(write_line(custom_id, request, dialect=dialect, path="/v1/x"))
    measure = measure_line(request, dialect=dialect, path="/v1/x")
    assert len(line) <= measure <= len(line) + 64
    assert orjson.loads(line)["custom_id"] == custom_id


def test_id_that_no_measure_reckons_with_is_refused() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        write_line("x" * 63, make_vision_request(), dialect=make_dialect(), path="/v1/x")


@pytest.mark.parametrize("api", APIS)
def test_answer_is_read_as_over_the_wire_but_for_its_lane(api: str) -> None:
    line = read(result(ANSWERS[api]), api)
    assert isinstance(line, Answered)
    direct = make_dialect(api).read(ANSWERS[api], request_id="req_1", asked_model="asked")
    assert line.custom_id == "a-1"
    assert line.response == dataclasses.replace(direct, service_tier="batch")
    assert line.response.usage == TokenUsage(
        input=500, cached=128, cache_write=300, output=20, reasoning=7
    )


def test_model_that_was_asked_stands_in_for_one_that_is_not_named() -> None:
    line = read(result({**CHAT_ANSWER, "model": None}))
    assert isinstance(line, Answered)
    assert line.response.model == "asked"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "invalid_image", "message": "no picture"}, RequestRejected),
        (400, {"code": "content_policy_violation"}, ContentFiltered),
        (404, {"code": "model_not_found", "message": "no model"}, ModelUnavailable),
        (429, {"code": "rate_limit_exceeded"}, RateLimited),
        (429, {"code": "insufficient_quota"}, CreditExhausted),
        (500, {"message": "oops"}, ProviderUnavailable),
        (503, None, ProviderUnavailable),
    ],
)
def test_refusal_of_a_line_is_a_value_as_over_the_wire(
    status: int, error: Any, kind: type[Exception]
) -> None:
    told = read_error(result({"error": error} if error else None, status=status))
    assert isinstance(told, kind)
    assert not isinstance(told, AskError) or (told.status, told.request_id) == (status, "req_1")


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_line_whose_turn_never_came_has_expired_and_is_not_billed(code: str) -> None:
    said = {"code": code, "message": "This request could not be executed."}
    for document in (result(error=said, status=0), {"custom_id": "a-1", "error": said}):
        error = read_error({**document, "response": None})
        assert isinstance(error, LineExpired)
        assert (error.code, error.may_be_billed, error.response) == (code, False, None)
        assert "could not be executed" in str(error)


def test_other_error_of_a_line_is_told_as_reported() -> None:
    said = {"code": "insufficient_quota", "message": "no money"}
    error = read_error({"custom_id": "a-1", "response": None, "error": said})
    assert isinstance(error, CreditExhausted)


def test_error_beside_a_paid_answer_keeps_the_bill_and_its_lane() -> None:
    body = {**CHAT_ANSWER, "error": {"code": "server_error", "message": "half done"}}
    error = read_error(result(body))
    assert isinstance(error, ProviderUnavailable)
    assert error.response is not None
    assert error.response.service_tier == "batch"
    assert error.response.usage.output == 20


@pytest.mark.parametrize(
    "document", [result(None), {"custom_id": "a-1"}, result(None, status=None)]
)
def test_line_without_answer_and_error_may_have_been_billed(document: Any) -> None:
    error = read_error(document)
    assert isinstance(error, NoAnswer)
    assert error.may_be_billed


def test_half_a_character_costs_no_answer() -> None:
    line = orjson.dumps(result(CHAT_ANSWER)).replace(b"a cat", rb"a cat \ud83d")
    told = make_reader().read(line)
    assert isinstance(told, Answered)
    assert orjson.loads(told.response.text or "")["title"].startswith("a cat ")
    assert isinstance(make_reader().read(line.replace(rb"\ud83d", b"\xff")), Answered)


@pytest.mark.parametrize(
    "line", [b"<html>", b"[]", b"7", b"{}", b'{"custom_id":7}', b'{"custom_id":""}', b"[" * 99_999]
)
def test_line_that_tells_not_of_what_is_unreadable(line: bytes) -> None:
    with pytest.raises(UnreadableLineError):
        make_reader().read(line)


@given(
    document=st.fixed_dictionaries(
        {"custom_id": st.just("a-1")},
        optional={
            "response": st.none()
            | st.fixed_dictionaries(
                {},
                optional={
                    "status_code": st.integers(-1, 700) | st.floats() | st.text(max_size=3),
                    "request_id": st.text(max_size=5) | st.integers(-(2**63), 2**63),
                    "body": st.none() | st.text(max_size=5) | st.just(CHAT_ANSWER) | st.just([]),
                },
            ),
            "error": st.none() | st.text(max_size=5) | st.just({"code": 7}) | st.just([1]),
        },
    ),
    api=st.sampled_from(APIS),
)
def test_every_line_with_an_id_is_told(document: Any, api: str) -> None:
    assert read(document, api).custom_id == "a-1"
