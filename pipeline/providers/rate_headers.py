"""What a server's headers say about its limits, read into numbers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pipeline.domain.rates import Allowance, RateReading

_KINDS: Final = ("requests", "tokens", "project-tokens")
_NAMES: Final = {
    kind: tuple(f"x-ratelimit-{fact}-{kind}" for fact in ("limit", "remaining", "reset"))
    for kind in _KINDS
}
_ALL_NAMES: Final = frozenset(name for names in _NAMES.values() for name in names)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{0,15})?", re.ASCII)
_PART: Final = re.compile(r"(\d{1,15}(?:\.\d{0,15})?)(ms|s|m|h|d|us|µs|ns)", re.ASCII)
_SECONDS_OF_UNIT: Final = {
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
# The longest window that limits have is a day; more is a point in time, or garbled.
_LONGEST_SECONDS: Final = 86_400.0
_MOST_REMEMBERED: Final = 256


def read_rates(headers: Mapping[str, str]) -> RateReading | None:
    """The limits in ``x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens}``.

    What is missing, garbled or negative becomes None, never an error.

    Args:
        headers: names in lower case.

    Returns:
        None when no header tells anything, as always with compatible servers.
    """
    if _ALL_NAMES.isdisjoint(headers):
        return None
    requests, tokens, project_tokens = (_read_allowance(headers, kind) for kind in _KINDS)
    if requests is tokens is project_tokens is None:
        return None
    return RateReading(requests=requests, tokens=tokens, project_tokens=project_tokens)


def _read_allowance(headers: Mapping[str, str], kind: str) -> Allowance | None:
    limit, remaining, reset = (headers.get(name, "").strip() for name in _NAMES[kind])
    facts = (_read_number(limit), _read_number(remaining), _read_duration(reset))
    if facts == (None, None, None):
        return None
    return Allowance(limit=facts[0], remaining=facts[1], reset_seconds=facts[2])


# The same few limits and durations come with every answer.
@lru_cache(maxsize=_MOST_REMEMBERED)
def _read_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


@lru_cache(maxsize=_MOST_REMEMBERED)
def _read_duration(text: str) -> float | None:
    """Seconds of ``6m0s``, ``120ms``, ``1h2m3.5s``, or a bare number of them."""
    seconds = _read_number(text)
    if seconds is None:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            return None
        seconds = sum(float(number) * _SECONDS_OF_UNIT[unit] for number, unit in parts)
    return seconds if seconds <= _LONGEST_SECONDS else None
