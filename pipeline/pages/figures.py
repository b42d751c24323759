"""Figures as people read them."""

from pipeline.domain.usage import NANO_PER_DOLLAR

_HOUR_SECONDS = 3_600
_MINUTE_SECONDS = 60
_LEAST_DIGITS = 2
_CENTS_FROM_USD = 1.0
_UNKNOWN = "unknown"


def write_usd(nanos: float | None) -> str:
    """Dollars: with cents from one dollar on, below that with two digits that count, or more."""
    if nanos is None:
        return _UNKNOWN
    dollars = nanos / NANO_PER_DOLLAR
    if not dollars or dollars >= _CENTS_FROM_USD:
        return f"${dollars:,.2f}"
    digits = _LEAST_DIGITS
    while dollars * 10**digits < 10 and digits < 9:  # noqa: PLR2004  two digits, nano-dollars
        digits += 1
    return f"${dollars:.{digits}f}"


def write_share(share: float | None) -> str:
    """A share of 0 to 1 in per cent."""
    if share is None:
        return _UNKNOWN
    per_cent = share * 100
    return f"{per_cent:.0f} %" if per_cent >= 10 or not per_cent else f"{per_cent:.1f} %"  # noqa: PLR2004  two digits


def write_count(count: float) -> str:
    """A whole number with separators; from a million on in millions."""
    return f"{count:,.0f}" if count < 1_000_000 else f"{count / 1_000_000:,.1f} million"  # noqa: PLR2004


def write_duration(seconds: float | None) -> str:
    """``40 s``, ``5 min``, ``3.5 h``."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 2 * _MINUTE_SECONDS:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_SECONDS:
        return f"{seconds / _MINUTE_SECONDS:.0f} min"
    return f"{seconds / _HOUR_SECONDS:,.1f} h"
