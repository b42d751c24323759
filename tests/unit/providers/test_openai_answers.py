"""Reading answers: the documented ones, the odd ones of compatible servers, and any JSON at all."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import CHAT_ANSWER, RESPONSES_ANSWER

from pipeline.domain.errors import (
    AskError,
    ContentFiltered,
    CreditExhausted,
    NoAnswer,
    Overloaded,
    PipelineError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    SlowDown,
    TransportError,
)
from pipeline.domain.rates import Allowance, RateReading
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import FinishReason, VisionResponse
from pipeline.providers.loose_json import parse_answer
from pipeline.providers.openai_chat import read_chat_answer
from pipeline.providers.openai_responses import read_responses_answer

USAGE = TokenUsage(input=500, cached=128, cache_write=300, output=20, reasoning=7)
RATES = RateReading(requests=Allowance(limit=60, remaining=59, reset_seconds=1))
READERS = (read_chat_answer, read_responses_answer)


def chat(message: Any = None, *, finish: Any = "stop", **overrides: Any) -> VisionResponse:
    """Read the sample chat answer with another message, finish reason or top-level facts."""
    choice = {"index": 0, "finish_reason": finish, "message": message or {"content": "{}"}}
    return read_chat_answer({**CHAT_ANSWER, "choices": [choice], **overrides}, asked_model="asked")


def responses(**overrides: Any) -> VisionResponse:
    return read_responses_answer({**RESPONSES_ANSWER, **overrides}, asked_model="asked")


def test_chat_answer_is_read_whole() -> None:
    read = read_chat_answer(CHAT_ANSWER, request_id="req_1", rates=RATES)
    assert read == VisionResponse(
        rates=RATES,
        text='{"title":"a cat"}',
        finish=FinishReason.STOP,
        usage=USAGE,
        model="gpt-4.1-mini-2025-04-14",
        service_tier="default",
        request_id="req_1",
    )


def test_responses_answer_is_read_whole_without_the_thoughts() -> None:
    read = read_responses_answer(RESPONSES_ANSWER, request_id="req_1", rates=RATES)
    assert read == VisionResponse(
        rates=RATES,
        text='{"title":"a cat"}',
        finish=FinishReason.STOP,
        usage=USAGE,
        model="gpt-5-mini",
        service_tier="flex",
        request_id="req_1",
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{}", "{}"),
        ("", None),
        (None, None),
        (7, None),
        ([{"type": "text", "text": "{"}, {"type": "text", "text": "}"}], "{}"),
        ([{"type": "output_text", "text": "{}"}, {"type": "thinking", "text": "hm"}, 3], "{}"),
        ([], None),
    ],
)
def test_chat_content_may_have_any_shape(content: Any, text: str | None) -> None:
    assert chat({"content": content, "reasoning_content": "hm"}).text == text


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.OTHER),
        ("new_reason", FinishReason.OTHER),
        ({"type": "stop"}, FinishReason.STOP),
        ({"type": ["stop"]}, FinishReason.OTHER),
        (None, FinishReason.OTHER),
        (3, FinishReason.OTHER),
    ],
)
def test_chat_finish_reasons(reason: Any, finish: FinishReason) -> None:
    assert chat(finish=reason).finish is finish


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I cannot."},
        {"content": [{"type": "refusal", "refusal": "I cannot."}]},
    ],
)
def test_chat_refusal_is_an_answer(message: Any) -> None:
    response = chat(message)
    assert (response.finish, response.refusal) == (FinishReason.REFUSAL, "I cannot.")
    assert response.usage == USAGE


def test_responses_refusal_is_an_answer() -> None:
    part = {"type": "refusal", "refusal": "I cannot."}
    response = responses(output=[{"type": "message", "content": [part]}])
    assert (response.finish, response.refusal, response.text) == (
        FinishReason.REFUSAL,
        "I cannot.",
        None,
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_output_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("other", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_incomplete_responses_say_why(reason: Any, finish: FinishReason) -> None:
    response = responses(status="incomplete", incomplete_details={"reason": reason}, output=[])
    assert (response.finish, response.text, response.usage) == (finish, None, USAGE)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"prompt_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 10**12},
    ],
)
def test_missing_usage_is_marked_as_estimated(usage: Any) -> None:
    response = chat(usage=usage)
    assert response.usage_is_estimated
    assert response.usage == TokenUsage()


@pytest.mark.parametrize("details", [None, [], "none", {"cached_tokens": None}])
def test_usage_without_details_is_still_a_measurement(details: Any) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4.0, "prompt_tokens_details": details}
    response = chat(usage=usage)
    assert response.usage == TokenUsage(input=9, output=4)
    assert not response.usage_is_estimated


COUNTS = st.integers(-2, 20) | st.integers(10**9 - 1, 2**63)


@given(counts=st.lists(COUNTS, min_size=5, max_size=5))
def test_parts_of_a_usage_never_exceed_the_whole(counts: list[int]) -> None:
    usage = {
        "prompt_tokens": counts[0],
        "completion_tokens": counts[1],
        "prompt_tokens_details": {"cached_tokens": counts[2], "cache_write_tokens": counts[3]},
        "completion_tokens_details": {"reasoning_tokens": counts[4]},
    }
    read = chat(usage=usage).usage
    assert min(read.cached, read.cache_write) >= 0
    assert read.cached + read.cache_write <= read.input <= 10**9
    assert 0 <= read.reasoning <= read.output <= 10**9


def test_model_that_was_asked_stands_in_for_one_unnamed() -> None:
    assert chat(model=None).model == "asked"
    assert responses(model="").model == "asked"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "slow"}, RateLimited),
        ({"code": "402", "message": "credits"}, CreditExhausted),
        ({"code": 403, "message": "no", "metadata": {"flagged_input": "x"}}, ContentFiltered),
        ({"code": 502, "message": "upstream"}, ProviderUnavailable),
        ({"code": "rate_limit_exceeded", "message": "x"}, RateLimited),
        ({"code": "server_error", "message": "x"}, ProviderUnavailable),
        ({"code": "vector_store_timeout", "message": "x"}, ProviderUnavailable),
        ({"code": "failed_to_download_image", "message": "x"}, ProviderUnavailable),
        ({"code": "image_parse_error", "message": "x"}, RequestRejected),
        ({"code": "image_content_policy_violation", "message": "x"}, ContentFiltered),
        ({"code": "invalid_prompt", "message": "x"}, ContentFiltered),
        ({"code": "slow_down", "message": "x"}, SlowDown),
        ({"code": 503, "message": "x"}, Overloaded),
        ({"message": "x"}, NoAnswer),
        ("went wrong", NoAnswer),
        (True, NoAnswer),
    ],
)
def test_error_inside_a_success_is_an_error(
    read: Callable[..., VisionResponse], error: Any, kind: type[PipelineError]
) -> None:
    with pytest.raises(kind, match="inside HTTP 200") as caught:
        read({"status": "failed", "error": error}, request_id="req_9")
    if isinstance(caught.value, AskError):
        assert caught.value.request_id == "req_9"


@pytest.mark.parametrize(
    ("read", "document"),
    [(read_chat_answer, CHAT_ANSWER), (read_responses_answer, RESPONSES_ANSWER)],
)
@pytest.mark.parametrize("error", [{"code": 502, "message": "upstream"}, {"message": "x"}])
def test_error_beside_a_bill_carries_the_bill(
    read: Callable[..., VisionResponse], document: Any, error: Any
) -> None:
    with pytest.raises(AskError) as caught:
        read({**document, "error": error}, request_id="req_1", rates=RATES)
    response = caught.value.response
    assert response is not None
    assert (response.usage, response.request_id, response.rates) == (USAGE, "req_1", RATES)
    assert not caught.value.may_be_billed


def test_error_without_a_bill_carries_none() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read_chat_answer({"error": {"code": 502, "message": "upstream"}})
    assert caught.value.response is None


def test_error_of_one_choice_is_an_error() -> None:
    choice = {"error": {"code": 502, "message": "upstream"}, "finish_reason": "error"}
    with pytest.raises(ProviderUnavailable, match="upstream"):
        read_chat_answer({"choices": [choice]})


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (read_chat_answer, {**CHAT_ANSWER, "choices": []}),
        (read_responses_answer, {**RESPONSES_ANSWER, "status": "cancelled"}),
    ],
)
def test_billed_answer_without_a_choice_carries_its_bill(
    read: Callable[..., VisionResponse], document: Any
) -> None:
    with pytest.raises(NoAnswer) as caught:
        read(document, request_id="req_1")
    assert caught.value.response is not None
    assert caught.value.response.usage == USAGE
    assert caught.value.request_id == "req_1"
    assert not caught.value.may_be_billed


NOTHING = [
    *((read_chat_answer, d) for d in ({}, {"choices": []}, {"choices": None}, [], "x", None, 3)),
    *((read_responses_answer, d) for d in ({}, [], None, "x", 3)),
    *((read_responses_answer, {"status": s}) for s in ("failed", "queued", "cancelled")),
]


@pytest.mark.parametrize(("read", "document"), NOTHING)
def test_success_without_answer_and_bill_may_have_been_billed(
    read: Callable[..., VisionResponse], document: Any
) -> None:
    with pytest.raises(NoAnswer) as caught:
        read(document)
    assert caught.value.response is None
    assert caught.value.may_be_billed


def test_top_level_text_serves_where_no_message_has_any() -> None:
    assert responses(output=[], output_text="{}").text == "{}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"choices":[{"mess', "no whole JSON"),
        (b"", "no whole JSON"),
        (b" <html><body>Bad gateway</body></html>", "an HTML page"),
        (b'"\\ud800"', "no whole JSON"),
        (b"\xff\xfe", "no whole JSON"),
    ],
)
def test_body_that_is_no_json_may_have_been_billed(body: bytes, words: str) -> None:
    with pytest.raises(TransportError, match=rf"{words}.*may have been billed") as caught:
        parse_answer(body, request_id="req_1")
    assert caught.value.request_id == "req_1"
    assert caught.value.may_be_billed


KEYS = st.sampled_from(
    sorted(
        {
            *CHAT_ANSWER,
            *RESPONSES_ANSWER,
            *("message", "content", "text", "refusal", "type", "finish_reason", "reason", "code"),
            *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "param"),
            *("prompt_tokens_details", "input_tokens_details", "cached_tokens", "metadata"),
            *("innererror", "details", "detail", "loc", "flagged_input", "output_text"),
        }
    )
)
WORDS = st.sampled_from(
    ["completed", "incomplete", "failed", "message", "output_text", "stop", "429", "500", "model"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(document=ANY_JSON)
@pytest.mark.parametrize("read", READERS)
def test_any_json_is_an_answer_or_one_of_our_errors(
    read: Callable[..., VisionResponse], document: Any
) -> None:
    with suppress(PipelineError):
        assert isinstance(read(document), VisionResponse)


@given(parts=st.fixed_dictionaries({"message": ANY_JSON, "usage": ANY_JSON, "reason": ANY_JSON}))
def test_any_shape_inside_a_choice_is_read(parts: dict[str, Any]) -> None:
    assert isinstance(
        chat(parts["message"], finish=parts["reason"], usage=parts["usage"]), VisionResponse
    )


@given(output=ANY_JSON, usage=ANY_JSON)
def test_any_shape_inside_an_output_is_read(output: Any, usage: Any) -> None:
    assert isinstance(responses(output=output, usage=usage), VisionResponse)
