"""What a server says about how fast it may be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One of a server's limits as one answer told it; what it did not tell is None."""

    limit: float | None = None
    """Per window, which is a minute unless ``reset_seconds`` says otherwise."""
    remaining: float | None = None
    """What could be used at once when the server wrote this."""
    reset_seconds: float | None = None
    """Until all of it is there again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReading:
    """The limits in the headers of one answer, an error's included."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
    project_tokens: Allowance | None = None
