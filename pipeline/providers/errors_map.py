"""What a server's refusal means for us: its status, codes and headers become one of our errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pipeline.domain.errors import (
    AskError,
    ContentFiltered,
    CredentialsRefused,
    CreditExhausted,
    ModelUnavailable,
    NoAnswer,
    NoCapacity,
    Overloaded,
    PipelineError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    RequestShapeRefused,
    RunPaused,
    SlowDown,
    TerminalError,
    TransientError,
)
from pipeline.domain.vision import VisionResponse
from pipeline.providers.complaint import Complaint, read_complaint, read_reported

_MONEY: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
    }
)
_NO_MODEL: Final = frozenset({"model_not_found", "deploymentnotfound"})
_POLICY: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "image_content_policy_violation",
        "bio_policy",
        "invalid_prompt",  # OpenAI's word for a prompt its usage policy stopped
    }
)
_BAD_KEY: Final = frozenset({"invalid_api_key", "api_key_invalid"})
_TOO_FAST: Final = frozenset({"rate_limit_exceeded"})
_TOO_SUDDEN: Final = frozenset({"slow_down"})
_NO_ROOM: Final = frozenset({"resource_unavailable"})
_OVERLOADED: Final = frozenset(
    {"server_is_overloaded", "overloaded_error", "engine_overloaded", "engine_overloaded_error"}
)
_IMAGE: Final = frozenset(
    {
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "invalid_image_mode",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_file_too_large",
        "image_file_not_found",
        "unsupported_image_media_type",
        "empty_image_file",
        "sanitizer_server_error",  # "unsupported image", in spite of its name
    }
)
_SHAPE: Final = frozenset(
    {
        "unsupported_parameter",
        "unsupported_value",
        "unknown_parameter",
        "invalid_json_schema",
        "extra_forbidden",
        "operationnotsupported",
        "data_residency_mismatch",
    }
)
# What every request carries, whatever the picture.
_SHARED_PARAMS: Final = (
    "response_format",
    "text",
    "max_",
    "temperature",
    "top_p",
    "reasoning",
    "service_tier",
    "store",
    "stream",
    "prompt_cache",
)
_OUTPUT_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
# Parts of the user's message that are the same for every picture.
_SHARED_ENDINGS: Final = (".detail", ".type", ".role", ".prompt_cache_breakpoint")
_MONEY_STATUS: Final = 402
_KEY_STATUSES: Final = frozenset({401, 403})
_MODEL_STATUSES: Final = frozenset({400, 403, 404, 422})
_ADDRESS_STATUSES: Final = frozenset({404, 405, 410})
_TOO_LARGE_STATUS: Final = 413
_TOO_MANY_STATUS: Final = 429
_BUSY_STATUSES: Final = frozenset({503, 529})
# A gateway gave up waiting: the server behind it may have gone on, and may bill its answer.
_LATE_GATEWAY_STATUSES: Final = frozenset({504, 524})
_PASSING_STATUSES: Final = frozenset({408, 409, 425})
_FIRST_ERROR_STATUS: Final = 400
_FIRST_SERVER_STATUS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """The first rule that applies decides."""

    applies: Callable[[Complaint], bool]
    kind: type[AskError | RunPaused]
    headline: str
    advice: str = ""


def _lacks_model(complaint: Complaint) -> bool:
    is_named = complaint.param == "model" and complaint.status in _MODEL_STATUSES
    return is_named or bool(complaint.labels & _NO_MODEL)


def _refuses_key(complaint: Complaint) -> bool:
    return complaint.status in _KEY_STATUSES or bool(complaint.labels & _BAD_KEY)


def _says(complaint: Complaint, words: str) -> bool:
    """Match on the message, for the few refusals that OpenAI has no code of their own for."""
    return words in complaint.message.lower()


def _exceeds_token_limit(complaint: Complaint) -> bool:
    # It has the code of "too fast", but no wait will ever make room for a request that is larger
    # than the limit of a whole minute.
    return complaint.status == _TOO_MANY_STATUS and _says(complaint, "request too large")


def _is_too_sudden(complaint: Complaint) -> bool:
    # Until 2026-09 it was a 503 that said "Slow Down".
    is_said = complaint.status in _BUSY_STATUSES and _says(complaint, "slow down")
    return is_said or bool(complaint.labels & _TOO_SUDDEN)


def _lacks_room(complaint: Complaint) -> bool:
    is_said = complaint.status == _TOO_MANY_STATUS and _says(complaint, "resource unavailable")
    return is_said or bool(complaint.labels & _NO_ROOM)


def _is_too_fast(complaint: Complaint) -> bool:
    return complaint.status == _TOO_MANY_STATUS or bool(complaint.labels & _TOO_FAST)


def _is_overloaded(complaint: Complaint) -> bool:
    return complaint.status in _BUSY_STATUSES or bool(complaint.labels & _OVERLOADED)


def _tells_nothing(complaint: Complaint) -> bool:
    return complaint.is_reported and complaint.code is None and not complaint.labels


def _blames_download(complaint: Complaint) -> bool:
    # 400 code invalid_value, param url: the server's own download timed out.
    timed_out = complaint.param == "url" and "invalid_value" in complaint.labels
    return timed_out or "failed_to_download_image" in complaint.labels


def _will_pass(complaint: Complaint) -> bool:
    is_passing = complaint.status in _PASSING_STATUSES or _blames_download(complaint)
    return is_passing or complaint.status >= _FIRST_SERVER_STATUS


def _concerns_all(complaint: Complaint) -> bool:
    param = complaint.param
    return param.startswith(_SHARED_PARAMS) or param.endswith(_SHARED_ENDINGS)


def _refuses_output_limit(complaint: Complaint) -> bool:
    is_shape = bool(complaint.labels & _SHAPE) or not _will_pass(complaint)
    return complaint.param in _OUTPUT_LIMITS and is_shape


_SHAPE_ADVICE: Final = (
    "Every request carries this: change the provider settings (structured_output, send_detail, "
    "temperature, reasoning_effort, service_tier, prompt_cache) or the profile"
)
_RULES: Final = (
    _Rule(
        applies=lambda complaint: complaint.status in range(300, 400),
        kind=RequestShapeRefused,
        headline="{server} redirects elsewhere, and redirects are not followed",
        advice="Set provider.base_url to the server's final address",
    ),
    _Rule(
        applies=lambda complaint: (
            complaint.status == _MONEY_STATUS or bool(complaint.labels & _MONEY)
        ),
        kind=CreditExhausted,
        headline="the account at {server} has no credit left or reached its spend limit",
        advice="Add credit or raise the limit",
    ),
    _Rule(
        applies=_lacks_model,
        kind=ModelUnavailable,
        headline="{server} does not offer this model to this key",
        advice="Check provider.model: its spelling, its retirement date, the project's access",
    ),
    _Rule(
        applies=lambda complaint: bool(complaint.labels & _POLICY),
        kind=ContentFiltered,
        headline="the provider's content filter stopped the request",
    ),
    _Rule(
        applies=_refuses_key,
        kind=CredentialsRefused,
        headline="{server} refused the credentials",
        advice=(
            "Check the key in the variable provider.api_key_env names, its organization and "
            "project, and whether your address and region are allowed"
        ),
    ),
    _Rule(
        applies=lambda complaint: complaint.status in _ADDRESS_STATUSES,
        kind=RequestShapeRefused,
        headline="nothing answers under {server}",
        advice="Check provider.base_url (it often ends in /v1), provider.api and provider.model",
    ),
    _Rule(
        applies=lambda complaint: complaint.status == _TOO_LARGE_STATUS,
        kind=RequestRejected,
        headline="the request is too large for {server}",
        advice="Lower image.max_side or image.quality in the profile",
    ),
    _Rule(
        applies=_exceeds_token_limit,
        kind=RequestRejected,
        headline="one request exceeds the account's token limit",
        advice="Lower image.max_side or max_output_tokens in the profile",
    ),
    _Rule(
        applies=_is_too_sudden,
        kind=SlowDown,
        headline="{server} asks for a slower, steadier rate",
    ),
    _Rule(applies=_lacks_room, kind=NoCapacity, headline="{server} has no room in this lane"),
    _Rule(applies=_is_too_fast, kind=RateLimited, headline="{server} limits the rate"),
    _Rule(
        applies=lambda complaint: bool(complaint.labels & _IMAGE),
        kind=RequestRejected,
        headline="{server} cannot use this image",
    ),
    _Rule(
        applies=_refuses_output_limit,
        kind=RequestShapeRefused,
        headline="{server} refuses how we limit the output",
        advice=(
            "Set provider.output_limit to the key this server knows (max_tokens or "
            "max_completion_tokens), or change max_output_tokens in the profile"
        ),
    ),
    _Rule(
        applies=lambda complaint: bool(complaint.labels & _SHAPE),
        kind=RequestShapeRefused,
        headline="{server} refuses how we ask",
        advice=_SHAPE_ADVICE,
    ),
    _Rule(applies=_is_overloaded, kind=Overloaded, headline="{server} is overloaded"),
    _Rule(
        applies=_tells_nothing,
        kind=NoAnswer,
        headline="{server} sent an error in place of an answer",
    ),
    _Rule(applies=_will_pass, kind=ProviderUnavailable, headline="{server} failed"),
    _Rule(
        applies=_concerns_all,
        kind=RequestShapeRefused,
        headline="{server} refuses how we ask",
        advice=_SHAPE_ADVICE,
    ),
    _Rule(
        applies=lambda complaint: complaint.status >= _FIRST_ERROR_STATUS,
        kind=RequestRejected,
        headline="{server} rejected the request",
    ),
    _Rule(
        applies=lambda _: True,
        kind=ProviderUnavailable,
        headline="{server} answered with a status that makes no sense here",
    ),
)


def classify(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    now: datetime,
    server: str = "the server",
) -> PipelineError:
    """Say what an answer that is no success means: total over any status and body.

    Args:
        status: HTTP status, 100 to 599.
        body: as it came, the key already blotted out.
        headers: names in lower case.
        now: aware; a ``Retry-After`` date is measured against it.
        server: base URL or host, for the text.
    """
    return _judge(read_complaint(status, body, headers, now=now), server=server)


def classify_reported(
    error: Any,
    *,
    request_id: str | None,
    response: VisionResponse | None = None,
    server: str = "the server",
) -> PipelineError:
    """The same for an ``error`` object inside an answer with HTTP 200.

    Args:
        error: of any shape.
        request_id: from the headers.
        response: what was billed all the same, where the answer says so.
        server: base URL or host, for the text.
    """
    complaint = read_reported(error, request_id=request_id)
    return _judge(complaint, server=server, response=response)


def keep_billed(response: VisionResponse) -> VisionResponse | None:
    """What stands beside a fault, if the server says what it used: then it was billed."""
    return None if response.usage_is_estimated else response


def report_no_answer(text: str, response: VisionResponse) -> NoAnswer:
    """The error for an HTTP 200 without an answer; nobody knows what one without usage cost."""
    billed = keep_billed(response)
    return NoAnswer(
        text, request_id=response.request_id, response=billed, may_be_billed=billed is None
    )


def _judge(
    complaint: Complaint, *, server: str, response: VisionResponse | None = None
) -> PipelineError:
    rule = next(rule for rule in _RULES if rule.applies(complaint))
    kind = _heed_server(rule.kind, complaint)
    text = _compose(rule, complaint, server=server)
    if issubclass(kind, RunPaused):
        return kind(text)
    return kind(
        text,
        status=complaint.status,
        code=complaint.code,
        retry_after_seconds=complaint.retry_after_seconds,
        request_id=complaint.request_id,
        response=response,
        may_be_billed=complaint.status in _LATE_GATEWAY_STATUSES and response is None,
    )


def _heed_server(
    kind: type[AskError | RunPaused], complaint: Complaint
) -> type[AskError | RunPaused]:
    """Let ``x-should-retry`` overrule us, but never un-pause: a bad key stays bad."""
    is_too_much = issubclass(kind, RateLimited | Overloaded)  # of all together, never this one
    if complaint.should_retry is False and issubclass(kind, TransientError) and not is_too_much:
        return RequestRejected
    if complaint.should_retry is True and issubclass(kind, TerminalError):
        return ProviderUnavailable
    return kind


def _compose(rule: _Rule, complaint: Complaint, *, server: str) -> str:
    text = f"{rule.headline.format(server=server)}: {complaint.describe()}"
    if not rule.advice:
        return text
    goes_on = ", then run the same command again" if issubclass(rule.kind, RunPaused) else ""
    return f"{text}. {rule.advice}{goes_on}."
