"""Who is let in, and what answers say of the limits: the buckets under one behaviour's words."""

from collections.abc import Callable

from pipeline.simulator.behavior import Behavior
from pipeline.simulator.buckets import Limiter, Overdraft, read_limits, word_overdraft
from pipeline.simulator.errors import ApiError, make_wait_headers


class Gate:
    """The limits in force. Used on one event loop."""

    def __init__(self, behavior: Behavior, clock: Callable[[], float]) -> None:
        self._behavior = behavior
        self._clock = clock
        self._limiter = Limiter(read_limits(behavior), depth_s=behavior.bucket_s)

    def change(self, behavior: Behavior) -> None:
        """Put other limits in force; what is left in the buckets is not refilled."""
        self._behavior = behavior
        self._limiter.change(read_limits(behavior), depth_s=behavior.bucket_s, now=self._clock())

    def admit(self, key: str, model: str, tokens: int) -> Overdraft | None:
        """Draw on the limits, or draw nothing and say why not."""
        return self._limiter.admit(key, model, tokens=tokens, now=self._clock())

    def read_headers(self, key: str, model: str) -> dict[str, str]:
        """What answers say of the limits at this moment."""
        if not self._behavior.rate_headers:
            return {}
        return self._limiter.make_headers(key, model, now=self._clock())

    def refuse(self, overdraft: Overdraft, model: str) -> ApiError:
        """429, with the time after which the same request would be let in."""
        message = word_overdraft(overdraft, model, tells_wait=self._behavior.rate_headers)
        error = ApiError(429, message, code="rate_limit_exceeded")
        error.kind = "requests" if overdraft.measure == "requests" else "tokens"
        if overdraft.wait_ms is not None:
            error.headers = make_wait_headers(overdraft.wait_ms)
        return error
