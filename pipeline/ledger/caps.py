"""What all runs on a ledger may spend in a day and in a month together; UTC, by the run's clock.

What is spent is what settled attempts cost, at their worst where nobody knows the price. What is
held is the worst of those under way and of those whose answer was lost: they may have been billed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from sqlalchemy import Connection, bindparam, func, literal_column, select

from pipeline.ledger.prepared import Query
from pipeline.ledger.spends import DAY_MS
from pipeline.ledger.tables import (
    attempt_is_in_batch,
    attempt_is_open,
    attempt_is_unsettled,
    attempts,
    spends,
)

Span: TypeAlias = Literal["day", "month"]

_LOCK: Final = int.from_bytes(b"tagcaps", "big")
"""Postgres keeps its advisory locks by number: one that no other program is likely to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that may be spent, nano-dollars; None for no cap."""

    day_nanos: int | None = None
    month_nanos: int | None = None

    def list_set(self) -> list[tuple[Span, int]]:
        """The caps there are; the month's first: it keeps longer."""
        caps: tuple[tuple[Span, int | None], ...] = (
            ("month", self.month_nanos),
            ("day", self.day_nanos),
        )
        return [(span, nanos) for span, nanos in caps if nanos is not None]


NO_CAPS: Final = Caps()


@dataclass(frozen=True, slots=True, kw_only=True)
class CapStanding:
    """How much of a cap is used: spent and held."""

    scope: Span
    cap_nanos: int
    used_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverCap:
    """The request could cost more than a cap has left: it is not on record."""

    scope: Span
    cap_nanos: int
    spent_nanos: int
    held_nanos: int
    open_nanos: int
    """Of what is held, the requests under way: most of it comes back when they are answered. Not
    those in batches, which may be answered tomorrow."""
    resets_at_ms: int
    """When the next day or month begins."""


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a month, in days since 1970 UTC."""

    first_day: int
    end_day: int
    """The day after the last one."""

    @property
    def ends_at_ms(self) -> int:
        return self.end_day * DAY_MS


def find_period(span: Span, now_ms: int) -> Period:
    """The UTC day or month that a moment is in."""
    today = now_ms // DAY_MS
    if span == "day":
        return Period(today, today + 1)
    first = datetime.fromtimestamp(today * DAY_MS / 1000, UTC).replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Period(_number_day(first), _number_day(following))


def _number_day(midnight: datetime) -> int:
    return int(midnight.timestamp()) // (DAY_MS // 1000)


@dataclass(frozen=True, slots=True)
class Sums:
    """Money of one period, nano-dollars."""

    spent_nanos: int
    """Of settled attempts; at their worst where nobody knows the price."""
    held_nanos: int
    """The worst of those under way, and of those whose answer was lost."""
    open_nanos: int = 0
    """The part of it that is of those under way, but for those in batches."""

    @property
    def used_nanos(self) -> int:
        return self.spent_nanos + self.held_nanos


def sum_period(connection: Connection, period: Period) -> Sums:
    """What attempts opened in a period cost, and what those not settled may yet."""
    [row] = _SUM_PERIOD.run(
        connection,
        first_day=period.first_day,
        end_day=period.end_day,
        first_ms=period.first_day * DAY_MS,
        end_ms=period.ends_at_ms,
    )
    # Postgres sums into decimals
    return Sums(int(row[0]), int(row[1]), int(row[2]))


_SPENT = (
    select(func.coalesce(func.sum(spends.c.cost_nanos + spends.c.assumed_nanos), 0))
    .where(spends.c.day >= bindparam("first_day"), spends.c.day < bindparam("end_day"))
    .scalar_subquery()
)
_RESERVED = select(func.coalesce(func.sum(attempts.c.reserved_nanos), 0)).where(
    attempt_is_unsettled,
    attempts.c.opened_at >= bindparam("first_ms"),
    attempts.c.opened_at < bindparam("end_ms"),
)
_HELD = _RESERVED.scalar_subquery()
_OPEN = _RESERVED.where(attempt_is_open, ~attempt_is_in_batch).scalar_subquery()
# One statement, so of one moment: what is settled between two would be in neither.
_SUM_PERIOD = Query(lambda: select(_SPENT, _HELD, _OPEN))


def wait_for_turn(connection: Connection) -> None:
    """Let no other process with caps open attempts until this transaction has ended.

    It is the first thing that a transaction does: whoever waits for it holds no rows. On SQLite
    every writer is alone.
    """
    if connection.dialect.name != "sqlite":
        _TAKE_TURN.run(connection)


_TAKE_TURN = Query(lambda: select(func.pg_advisory_xact_lock(literal_column(str(_LOCK)))))


class Purse:
    """What the caps leave for the attempts that one transaction opens, one after the other."""

    def __init__(self, connection: Connection, caps: Caps) -> None:
        self._connection = connection
        self._caps = caps
        self._sums: dict[Period, Sums] = {}

    def take(self, now_ms: int, reserved_nanos: int) -> OverCap | None:
        """Hold the worst of an attempt against every cap; or say which cap it would pass."""
        found = list(self._look(now_ms))
        for span, cap_nanos, period, sums in found:
            if sums.used_nanos + reserved_nanos > cap_nanos:
                return OverCap(
                    scope=span,
                    cap_nanos=cap_nanos,
                    spent_nanos=sums.spent_nanos,
                    held_nanos=sums.held_nanos,
                    open_nanos=sums.open_nanos,
                    resets_at_ms=period.ends_at_ms,
                )
        for _, _, period, sums in found:
            self._sums[period] = Sums(
                sums.spent_nanos,
                sums.held_nanos + reserved_nanos,
                sums.open_nanos + reserved_nanos,
            )
        return None

    def describe(self, now_ms: int) -> Sequence[CapStanding]:
        """How much of each cap is used."""
        return [
            CapStanding(scope=span, cap_nanos=cap_nanos, used_nanos=sums.used_nanos)
            for span, cap_nanos, _, sums in self._look(now_ms)
        ]

    def _look(self, now_ms: int) -> Iterator[tuple[Span, int, Period, Sums]]:
        for span, cap_nanos in self._caps.list_set():
            period = find_period(span, now_ms)
            if period not in self._sums:
                self._sums[period] = sum_period(self._connection, period)
            yield span, cap_nanos, period, self._sums[period]
