"""Refusals: what each status, code and header means for the image and for the run."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import (
    AskError,
    ContentFiltered,
    CredentialsRefused,
    CreditExhausted,
    ModelUnavailable,
    NoCapacity,
    Overloaded,
    PipelineError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    RequestShapeRefused,
    RunPaused,
    SlowDown,
)
from pipeline.providers.errors_map import classify
from pipeline.providers.retry_after import read_retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def refuse(
    status: int,
    error: Any = None,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> PipelineError:
    data = orjson.dumps({"error": error or {"message": "no"}}) if body is None else body
    return classify(status, data, headers or {}, now=NOW, server="https://vision.example/v1")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (301, {}, RequestShapeRefused),
        (307, {}, RequestShapeRefused),
        # one image
        (400, {"code": "invalid_image_format"}, RequestRejected),
        (400, {"code": "image_parse_error"}, RequestRejected),
        (400, {"type": "image_parse_error", "code": None}, RequestRejected),
        (400, {"code": "sanitizer_server_error"}, RequestRejected),
        (400, {"code": "context_length_exceeded", "param": "messages"}, RequestRejected),
        (400, {"param": "messages[1].content[0].image_url"}, RequestRejected),
        (400, {}, RequestRejected),
        (422, {}, RequestRejected),
        (413, {}, RequestRejected),
        (418, {}, RequestRejected),
        # this image's content
        (400, {"code": "content_policy_violation"}, ContentFiltered),
        (400, {"code": "content_filter"}, ContentFiltered),
        (
            400,
            {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}},
            ContentFiltered,
        ),
        (403, {"code": 403, "metadata": {"flagged_input": "…"}}, ContentFiltered),
        # every request alike
        (400, {"param": "response_format", "code": None}, RequestShapeRefused),
        (400, {"param": "text.format.schema", "code": "invalid_json_schema"}, RequestShapeRefused),
        (400, {"param": "max_tokens", "code": "unsupported_parameter"}, RequestShapeRefused),
        (400, {"param": "max_output_tokens"}, RequestShapeRefused),
        (400, {"param": "temperature", "code": "unsupported_value"}, RequestShapeRefused),
        (400, {"param": "reasoning.effort"}, RequestShapeRefused),
        (400, {"param": "service_tier"}, RequestShapeRefused),
        (400, {"param": "prompt_cache_options"}, RequestShapeRefused),
        (400, {"param": "input[0].content[0].prompt_cache_breakpoint"}, RequestShapeRefused),
        (400, {"param": "messages[1].content[0].image_url.detail"}, RequestShapeRefused),
        (400, {"param": "messages.[1].content.[0].type"}, RequestShapeRefused),
        (404, {}, RequestShapeRefused),
        (405, {}, RequestShapeRefused),
        # model, key, money
        (404, {"code": "model_not_found"}, ModelUnavailable),
        (403, {"code": "model_not_found"}, ModelUnavailable),
        (400, {"param": "model"}, ModelUnavailable),
        (404, {"code": "DeploymentNotFound"}, ModelUnavailable),
        (401, {"code": "invalid_api_key"}, CredentialsRefused),
        (403, {"code": "unsupported_country_region_territory"}, CredentialsRefused),
        (403, {"message": "Your organization must be verified"}, CredentialsRefused),
        (
            400,
            {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]},
            CredentialsRefused,
        ),
        (402, {}, CreditExhausted),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, CreditExhausted),
        (429, {"type": "insufficient_quota", "code": None}, CreditExhausted),
        (429, {"code": "credit_balance_exhausted"}, CreditExhausted),
        (429, {"code": "organization_spend_limit_exceeded"}, CreditExhausted),
        (429, {"code": "project_spend_limit_exceeded"}, CreditExhausted),
        (429, {"code": "organization_usage_limit_exceeded"}, CreditExhausted),
        (429, {"code": "billing_not_active"}, CreditExhausted),
        # passing
        (429, {"type": "tokens", "code": "rate_limit_exceeded"}, RateLimited),
        (429, {"code": "slow_down"}, SlowDown),
        (429, {"type": "slow_down"}, SlowDown),
        (503, {"code": "slow_down"}, SlowDown),
        (503, {"message": "Slow Down"}, SlowDown),
        (429, {"message": "Too fast, slow down", "code": "rate_limit_exceeded"}, RateLimited),
        (429, {"code": "resource_unavailable"}, NoCapacity),
        (429, {"message": "Resource Unavailable: try again"}, NoCapacity),
        (429, {}, RateLimited),
        (400, {"code": "invalid_value", "param": "url"}, ProviderUnavailable),
        (400, {"code": "failed_to_download_image"}, ProviderUnavailable),
        (408, {}, ProviderUnavailable),
        (409, {}, ProviderUnavailable),
        (500, {}, ProviderUnavailable),
        (502, {}, ProviderUnavailable),
        (503, {}, Overloaded),
        (503, {"code": "server_is_overloaded"}, Overloaded),
        (500, {"code": "server_is_overloaded"}, Overloaded),
        (529, {"type": "overloaded_error"}, Overloaded),
        (529, {}, Overloaded),
        (504, {"param": "response_format"}, ProviderUnavailable),
        (524, {}, ProviderUnavailable),
        (100, {}, ProviderUnavailable),
    ],
)
def test_refusal_becomes_the_right_error(
    status: int, error: dict[str, Any], kind: type[PipelineError]
) -> None:
    assert type(refuse(status, {"message": "no", **error})) is kind


def test_request_larger_than_the_minute_is_not_tried_again() -> None:
    message = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000."
    error = {"message": message, "type": "tokens", "code": "rate_limit_exceeded"}
    assert type(refuse(429, error)) is RequestRejected


@pytest.mark.parametrize(
    ("status", "error", "way_out"),
    [
        (401, {}, "provider.api_key_env"),
        (402, {}, "Add credit"),
        (404, {}, "provider.base_url"),
        (404, {"code": "model_not_found"}, "provider.model"),
        (302, {}, "provider.base_url"),
        (400, {"param": "response_format"}, "structured_output"),
        (413, {}, "image.max_side"),
    ],
)
def test_refusal_names_the_way_out(status: int, error: dict[str, Any], way_out: str) -> None:
    assert way_out in str(refuse(status, {"message": "no", **error}))


def test_refusal_carries_its_facts() -> None:
    headers = {"x-request-id": "req_7", "retry-after": "3"}
    error = refuse(429, {"message": "slow\n down", "code": "slow_down"}, headers=headers)
    assert isinstance(error, RateLimited)
    assert (error.status, error.code, error.request_id) == (429, "slow_down", "req_7")
    assert error.retry_after_seconds == 3.0
    assert "slow down" in str(error)
    assert "https://vision.example/v1" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><head><title> 502 Bad\nGateway</title></head></html>", "(502 Bad Gateway)"),
        (b"<!doctype html><p>no", "an HTML page"),
        (b"upstream gone", "upstream gone"),
        (b"", "an empty body"),
        (b'{"error":"plain words"}', "plain words"),
        (b'[{"error":{"code":503,"message":"in a list"}}]', "in a list"),
        (b'{"object":"error","message":"at the top","code":503}', "at the top"),
        (b'{"detail":"Not here"}', "Not here"),
    ],
)
def test_message_is_found_in_any_body(body: bytes, words: str) -> None:
    assert words in str(refuse(503, body=body))


def test_fastapi_server_that_forbids_a_key_stops_the_run() -> None:
    detail = {"type": "extra_forbidden", "loc": ["body", "store"], "msg": "Extra inputs"}
    error = refuse(422, body=orjson.dumps({"detail": [detail]}))
    assert isinstance(error, RequestShapeRefused)
    assert "param store" in str(error)


@pytest.mark.parametrize("param", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("code", ["unsupported_parameter", None])
def test_refused_output_limit_names_the_setting(param: str, code: str | None) -> None:
    error = refuse(400, {"param": param, "code": code})
    assert isinstance(error, RequestShapeRefused)
    assert "provider.output_limit" in str(error)
    assert type(refuse(500, {"param": param})) is ProviderUnavailable


@pytest.mark.parametrize(
    ("status", "may_be_billed"),
    [(504, True), (524, True), (500, False), (502, False), (503, False)],
)
def test_gateway_that_gave_up_waiting_leaves_the_bill_open(
    status: int, may_be_billed: bool
) -> None:
    error = refuse(status)
    assert isinstance(error, AskError)
    assert error.may_be_billed is may_be_billed


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "slow_down", SlowDown),
        (429, "resource_unavailable", NoCapacity),
        (503, "server_is_overloaded", Overloaded),
    ],
)
def test_every_kind_of_wait_obeys_the_server(
    status: int, code: str, kind: type[PipelineError]
) -> None:
    error = refuse(status, {"message": "no", "code": code}, headers={"retry-after": "7"})
    assert type(error) is kind
    assert isinstance(error, AskError)
    assert error.retry_after_seconds == 7


def test_redirect_says_where_to() -> None:
    assert "https://new.example/v1" in str(
        refuse(308, headers={"location": "https://new.example/v1"})
    )


@pytest.mark.parametrize(
    ("status", "error", "says", "kind"),
    [
        (500, {}, "false", RequestRejected),
        (429, {}, "false", RateLimited),
        (503, {}, "false", Overloaded),
        (400, {}, "true", ProviderUnavailable),
        (400, {"code": "content_filter"}, " TRUE ", ProviderUnavailable),
        (401, {}, "true", CredentialsRefused),
        (402, {}, "false", CreditExhausted),
        (500, {}, "maybe", ProviderUnavailable),
    ],
)
def test_server_may_overrule_whether_to_try_again(
    status: int, error: dict[str, Any], says: str, kind: type[PipelineError]
) -> None:
    assert type(refuse(status, {"m": 1, **error}, headers={"x-should-retry": says})) is kind


def test_echoed_key_and_picture_are_hidden() -> None:
    picture = "data:image/jpeg;base64,/9j/4AAQSkZJRg=="
    message = f"bad Bearer other-key-99 and sk-pro****wxyz in {picture}, got sk-live-12345678"
    text = str(refuse(400, {"message": message, "param": "sk-live-12345678"}))
    for secret in ("other-key-99", "wxyz", "12345678", "/9j/4"):
        assert secret not in text


def test_long_message_is_shortened() -> None:
    assert len(str(refuse(400, {"message": "word " * 1000}))) < 500


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=60)
    | st.sampled_from([b"[]", b"[[]]", b'{"error":[]}', b'{"error":{"code":{}}}', b"null"]),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry", "x-request-id"]),
        st.text(max_size=8),
    ),
)
def test_every_status_and_body_has_an_error(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = classify(status, body, headers, now=NOW)
    assert isinstance(error, AskError | RunPaused)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 86_400.0),
        ({"retry-after": "1e300"}, 86_400.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=NOW) == seconds


@given(text=st.text())
def test_any_retry_after_is_a_bounded_wait_or_none(text: str) -> None:
    wait = read_retry_after({"retry-after": text}, now=NOW)
    assert wait is None or 0 <= wait <= 86_400
