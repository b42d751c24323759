"""Numbers and formatted texts: single values that fit one schema node."""

import math
import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from pipeline.simulator.strict_schema import Schema, SchemaFault

_SAFE_INTEGER: Final = 2**53
"""Integers beyond are not exact in every JSON reader."""
_SPAN: Final = 10
"""Steps drawn from where a bound is missing."""


def draw_number(node: Schema, chance: random.Random, *, is_whole: bool) -> int | float:
    """Draw a number within the bounds and on the steps of a node.

    Raises:
        SchemaFault: no number fits.
    """
    step = abs(_exact(node.get("multipleOf", 0)))
    if is_whole:
        # the least common multiple of one and a reduced fraction is its numerator
        step = Fraction(step.numerator or 1)
    if not step:
        return _draw_between(node, chance)
    first, last = _count_steps(node, step)
    if first > last:
        raise _no_number()
    drawn = chance.randint(first, last) * step
    return int(drawn) if is_whole else float(drawn)


def _exact(number: float) -> Fraction:
    return Fraction(Decimal(str(number)))


def _no_number() -> SchemaFault:
    return SchemaFault((), "no number fits the bounds.")


def _read_bounds(node: Schema) -> tuple[Fraction | None, Fraction | None]:
    lows = [_exact(node[key]) for key in ("minimum", "exclusiveMinimum") if key in node]
    highs = [_exact(node[key]) for key in ("maximum", "exclusiveMaximum") if key in node]
    return max(lows, default=None), min(highs, default=None)


def _is_within(node: Schema, value: Fraction) -> bool:
    return (
        ("minimum" not in node or value >= _exact(node["minimum"]))
        and ("maximum" not in node or value <= _exact(node["maximum"]))
        and ("exclusiveMinimum" not in node or value > _exact(node["exclusiveMinimum"]))
        and ("exclusiveMaximum" not in node or value < _exact(node["exclusiveMaximum"]))
    )


def _count_steps(node: Schema, step: Fraction) -> tuple[int, int]:
    low, high = _read_bounds(node)
    first = None if low is None else math.ceil(max(low, Fraction(-_SAFE_INTEGER)) / step)
    last = None if high is None else math.floor(min(high, Fraction(_SAFE_INTEGER)) / step)
    if first is None:
        first = 0 if last is None else last - _SPAN
    if last is None:
        last = first + _SPAN
    return first + (not _is_within(node, first * step)), last - (not _is_within(node, last * step))


def _draw_between(node: Schema, chance: random.Random) -> float:
    low, high = _read_bounds(node)
    if low is None:
        low = Fraction(0) if high is None else high - _SPAN
    if high is None:
        high = low + _SPAN
    drawn = low + (high - low) * Fraction(chance.randint(1, 999), 1000)
    # two decimals read well; narrow bounds need them all
    for value in (round(float(drawn), 2), float(drawn), float(low), float(high)):
        if _is_within(node, _exact(value)):
            return value
    raise _no_number()


def _draw_byte(chance: random.Random) -> int:
    return chance.randint(1, 254)


def _draw_date(chance: random.Random) -> str:
    return f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"


def _draw_time(chance: random.Random) -> str:
    return f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00Z"


def _group(digits: str, size: int) -> str:
    return ":".join(digits[at : at + size] for at in range(0, len(digits), size))


FORMATS: Final[Mapping[str, Callable[[str, random.Random], str]]] = {
    "date-time": lambda _, chance: f"{_draw_date(chance)}T{_draw_time(chance)}",
    "time": lambda _, chance: _draw_time(chance),
    "date": lambda _, chance: _draw_date(chance),
    "duration": lambda _, chance: f"P{_draw_byte(chance)}D",
    "email": lambda mark, _: f"{mark}@example.com",
    "hostname": lambda mark, _: f"{mark}.example.com",
    "ipv4": lambda _, chance: ".".join(str(_draw_byte(chance)) for _ in range(4)),
    "ipv6": lambda mark, _: f"2001:db8:0:0:{_group(mark, 4)}",
    "uuid": lambda mark, _: f"{mark[:8]}-{mark[8:12]}-4{mark[13:16]}-8{mark[1:4]}-{mark[:12]}",
}
"""Format name to a writer of (signature, chance)."""


def fit_length(node: Mapping[str, Any], text: str) -> str:
    """Cut or fill a text to the node's lengths, which only schemas that are not strict may set."""
    return text[: node.get("maxLength")].ljust(node.get("minLength", 0), ".")
