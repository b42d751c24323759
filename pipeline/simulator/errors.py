"""Refusals as the real API words them: an HTTP status and an error document."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class ApiError(Exception):
    """The request ends with ``status`` and an error document; nothing is billed."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code: str | int | None = code
        self.param = param
        self.kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - the first server status
        self.headers: dict[str, str] = {}
        self.is_html = False
        """Whether a proxy answers in the API's place, in HTML."""
        self.model: str | None = None
        """That was asked for, once it is known."""

    def document(self) -> dict[str, Any]:
        facts = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": facts}


@contextmanager
def about_model(name: str) -> Iterator[None]:
    """Let every refusal within tell which model was asked for."""
    try:
        yield
    except ApiError as error:
        error.model = name
        raise


def bad_request(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param)


def unknown_parameter(param: str) -> ApiError:
    """400, as for a parameter that the model or the API does not have."""
    return bad_request(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def missing(param: str) -> ApiError:
    """400, as for a parameter that must be there."""
    return bad_request(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def wrong_type(param: str, wanted: str) -> ApiError:
    return bad_request(
        f"Invalid type for '{param}': expected {wanted}.", code="invalid_type", param=param
    )


def wrong_value(param: str, value: object, allowed: Sequence[str]) -> ApiError:
    names = ", ".join(f"'{name}'" for name in allowed)
    return bad_request(
        f"Invalid value: {value!r}. Supported values are: {names}.",
        code="invalid_value",
        param=param,
    )


def make_wait_headers(wait_ms: int) -> dict[str, str]:
    """Ask to wait; ``retry-after`` is in whole seconds, so it rounds up."""
    return {"retry-after": str(-(-wait_ms // 1000)), "retry-after-ms": str(wait_ms)}
