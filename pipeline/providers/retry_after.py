"""How long a server asks us to wait, read from its headers."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# A garbled or hostile header must not put an image off for years.
_LONGEST_SECONDS: Final = 86_400.0


def read_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait: ``retry-after-ms``, else ``retry-after`` in seconds or as an HTTP date.

    Args:
        headers: names in lower case.
        now: aware; what an HTTP date is measured against.

    Returns:
        0 to 86,400; None when the server names no time that can be understood.
    """
    milliseconds = _read_number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _bound(milliseconds / 1000)
    text = headers.get("retry-after", "")
    seconds = _read_number(text)
    if seconds is None:
        seconds = _read_date(text, now=now)
    return None if seconds is None else _bound(seconds)


def _bound(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_SECONDS)


def _read_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _read_date(text: str, *, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # A date without a zone is GMT, as RFC 9110 has all HTTP dates.
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return (aware - now).total_seconds()
