"""Refusals as the real API words them: an HTTP status and an error document."""

from typing import Any


class ApiError(Exception):
    """The request ends with ``status`` and an error document; nothing is billed."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - the first server status
        self.headers: dict[str, str] = {}

    def document(self) -> dict[str, Any]:
        facts = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": facts}


def bad_request(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param)


def rate_limited(model: str, wait_ms: int) -> ApiError:
    """429 that asks to wait; ``retry-after`` is in whole seconds, so it rounds up."""
    error = ApiError(
        429,
        f"Rate limit reached for {model} on requests per min (RPM): try again in {wait_ms}ms.",
        code="rate_limit_exceeded",
    )
    error.kind = "requests"
    error.headers = {"retry-after": str(-(-wait_ms // 1000)), "retry-after-ms": str(wait_ms)}
    return error


def server_failed() -> ApiError:
    return ApiError(500, "The server had an error while processing your request. Sorry about that!")
