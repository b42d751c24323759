"""What the server says instead of an answer: one table of all the ways to refuse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.simulator.behavior import Fault, Outage
from pipeline.simulator.errors import ApiError, make_wait_headers

_QUOTA_TYPE: Final = "insufficient_quota"
_HTML: Final = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
    "<center><h1>{title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One way to refuse (error codes guide, 2026-08)."""

    status: int
    message: str
    """May name ``{model}`` and ``{wait_ms}``."""
    kind: str | None = None
    """The error's type; None: the one its status usually has."""
    code: str | int | None = None
    asks_to_wait: bool = False
    is_html: bool = False


def _limit(measure: str, kind: str) -> Refusal:
    return Refusal(
        status=429,
        message=f"Rate limit reached for {{model}} on {measure}. "
        "Please try again in {wait_ms}ms.",
        kind=kind,
        code="rate_limit_exceeded",
        asks_to_wait=True,
    )


def _money(code: str, message: str) -> Refusal:
    return Refusal(status=429, message=message, kind=_QUOTA_TYPE, code=code)


def _proxy(status: int, title: str) -> Refusal:
    return Refusal(status=status, message=_HTML.format(title=f"{status} {title}"), is_html=True)


_NO_CREDIT: Final = _money(
    "credit_balance_exhausted",
    "Your credit balance is exhausted. Please add credits to continue using the API.",
)
_SPEND_LIMIT: Final = _money(
    "organization_spend_limit_exceeded",
    "Your organization has reached its spend limit. Please raise the limit to continue.",
)
_OVERLOADED: Final = Refusal(
    status=503,
    message="Our servers are currently overloaded. Please try again later.",
    kind="service_unavailable_error",
    code="server_is_overloaded",
)

REFUSALS: Final[Mapping[Fault | Outage, Refusal]] = {
    Fault.RATE_LIMITED: _limit("requests per min (RPM)", "requests"),
    Fault.TOKENS_LIMITED: _limit("tokens per min (TPM)", "tokens"),
    Fault.SLOW_DOWN: Refusal(
        status=429,
        message="Slow down. A sudden increase in your request rate is impacting service "
        "reliability. Please reduce your request rate to its original level and hold it for at "
        "least 15 minutes.",
        kind="requests",
        code="slow_down",
    ),
    Fault.FLEX_SHORTAGE: Refusal(
        status=429,
        message="Flex resources unavailable",
        kind="resource_unavailable",
        code="resource_unavailable",
    ),
    Fault.NO_QUOTA: _money(
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Fault.CREDIT_EXHAUSTED: _NO_CREDIT,
    Fault.ORGANIZATION_SPEND: _SPEND_LIMIT,
    Fault.PROJECT_SPEND: _money(
        "project_spend_limit_exceeded",
        "Your project has reached its spend limit. Please raise the limit to continue.",
    ),
    Fault.ORGANIZATION_USAGE: _money(
        "organization_usage_limit_exceeded",
        "Your organization has reached its monthly usage limit.",
    ),
    Fault.SERVER_ERROR: Refusal(
        status=500,
        message="The server had an error while processing your request. Sorry about that!",
    ),
    Fault.BAD_GATEWAY: _proxy(502, "Bad Gateway"),
    Fault.OVERLOADED: _OVERLOADED,
    Fault.GATEWAY_TIMEOUT: _proxy(504, "Gateway Time-out"),
    # as servers word it that pass requests on: a number as the code
    Fault.ERROR_IN_200: Refusal(
        status=200, message="Provider returned error", kind="server_error", code=502
    ),
    Outage.BAD_KEY: Refusal(
        status=401, message="Incorrect API key provided.", code="invalid_api_key"
    ),
    Outage.FORBIDDEN: Refusal(
        status=403,
        message="Country, region, or territory not supported",
        kind="request_forbidden",
        code="unsupported_country_region_territory",
    ),
    Outage.NO_CREDIT: _NO_CREDIT,
    Outage.SPEND_LIMIT: _SPEND_LIMIT,
    Outage.NO_MODEL: Refusal(
        status=404,
        message="The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    Outage.DOWN: _OVERLOADED,
}
"""All but ``Outage.SCHEMA``, whose words depend on what was asked."""


def make_refusal(cause: Fault | Outage, *, model: str, wait_ms: int) -> ApiError | None:
    """Word the refusal; None when ``cause`` is no way to refuse."""
    refusal = REFUSALS.get(cause)
    return _word(refusal, model=model, wait_ms=wait_ms) if refusal else None


def unknown_model(name: str) -> ApiError:
    """404, in the words of the API."""
    return _word(REFUSALS[Outage.NO_MODEL], model=name)


def wrong_key() -> ApiError:
    """401, in the words of the API."""
    return _word(REFUSALS[Outage.BAD_KEY])


def _word(refusal: Refusal, *, model: str = "", wait_ms: int = 0) -> ApiError:
    message = refusal.message
    if not refusal.is_html:
        message = message.format(model=model, wait_ms=wait_ms)
    error = ApiError(refusal.status, message)
    error.code, error.is_html = refusal.code, refusal.is_html
    error.kind = refusal.kind or error.kind
    if refusal.asks_to_wait:
        error.headers = make_wait_headers(wait_ms)
    return error
