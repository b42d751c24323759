"""What is spent, by day, run, and who was asked and answered: kept with every settled attempt."""

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, bindparam

from pipeline.domain.outcomes import Spend
from pipeline.ledger.dialects import insert_adding
from pipeline.ledger.prepared import Change
from pipeline.ledger.tables import spends

DAY_MS: Final = 86_400_000

Settled: TypeAlias = tuple[Any, Spend | None]
"""The row of an attempt as it was opened, and what it used; None when nothing answered."""

_KEYS: Final = (
    "day", "run_id", "endpoint", "model_asked", "tier_asked", "model_answered", "tier_answered",
)  # fmt: skip
_AMOUNTS: Final = (
    "requests", "answers", "unpriced",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "assumed_nanos",
    "quoted_nanos", "sent_bytes", "original_bytes", "original_tokens",
    "pictures", "picture_tokens", "picture_squares", "picture_inputs", "picture_products",
)  # fmt: skip
_NO_PICTURE: Final = (0, 0, 0, 0, 0, 0)


def add_spends(connection: Connection, settled: Iterable[Settled]) -> None:
    """Book attempts that this very transaction settles; each must be booked once.

    The rows are those of ``settlement``: ``opened_at``, ``run_id``, ``endpoint``,
    ``model_asked``, ``tier_asked``, ``reserved_nanos`` and what was quoted.
    """
    _ADD_SPENDS.run(connection, sum_spends(settled))


def sum_spends(settled: Iterable[Settled]) -> Sequence[dict[str, Any]]:
    """One row for each key, in one order for all processes: they would lock each other out, else.

    A day is that of the opening: what a request was let through for is what it is booked under.
    """
    sums: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for row, spend in settled:
        key, amounts = _key_of(row, spend), _amounts_of(row, spend)
        sums[key] = tuple(map(add, sums[key], amounts)) if key in sums else amounts
    return [
        {**dict(zip(_KEYS, key, strict=True)), **dict(zip(_AMOUNTS, sums[key], strict=True))}
        for key in sorted(sums)
    ]


def _key_of(row: Any, spend: Spend | None) -> tuple[Any, ...]:
    return (
        row.opened_at // DAY_MS,
        row.run_id,
        row.endpoint or "",
        row.model_asked,
        row.tier_asked or "",
        spend.model if spend else "",
        (spend.service_tier or "") if spend else "",
    )


def _amounts_of(row: Any, spend: Spend | None) -> tuple[int, ...]:
    """In the order of ``_AMOUNTS``."""
    quoted = row.quoted_nanos or 0
    if spend is None:
        return (1, *(0,) * 10, quoted, 0, 0, *_NO_PICTURE)
    is_unpriced, usage = spend.cost is None, spend.usage
    # for the caps, what nobody knows counts at its worst
    is_guess = is_unpriced or spend.usage_is_estimated
    assumed = max(0, row.reserved_nanos - (spend.cost or 0)) if is_guess else 0
    return (
        1, 1, int(is_unpriced),
        usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning,
        spend.cost or 0, spend.saved, assumed,
        quoted, row.sent_bytes, row.original_bytes,
        *_count_picture(row, spend),
    )  # fmt: skip


def _count_picture(row: Any, spend: Spend) -> tuple[int, ...]:
    """The original's tokens, how many pictures, and the sums of x, x², y and xy.

    x is the picture by the formula, y the input as the server counted it. What nobody counted is
    left out of all of them, so that each can be set against the others.
    """
    if not row.picture_tokens or spend.usage_is_estimated:
        return _NO_PICTURE
    x, y = row.picture_tokens, spend.usage.input
    return row.original_tokens, 1, x, x * x, y, x * y


_ADD_SPENDS = Change(
    lambda connection: insert_adding(connection, spends).values(
        {column.name: bindparam(column.name) for column in spends.columns}
    )
)
