"""What was sent and spent, in sums that are kept: nobody reads a million attempts for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, true

from pipeline.costs.drift import Moments, Slope, SlopeMeter
from pipeline.ledger.caps import Sums, find_period, sum_period
from pipeline.ledger.tables import (
    attempt_is_follow_up,
    attempt_is_unsettled,
    attempts,
    spends,
)

FOLLOW_UPS: Final = ("repair", "more_room", "fallback")
_LATEST_PICTURES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Requests, tokens and money over all attempts of a run or of the ledger."""

    requests: int
    answered: int
    lost: int
    """Requests whose answer never came, of processes that died and connections that broke."""
    unpriced: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanos: int
    saved_nanos: int
    """What prompt caching took off the price."""
    maybe_billed_nanos: int
    """The most that the lost requests can have cost; it is not in ``cost_nanos``."""
    quoted_nanos: int
    """What all requests, each by itself, were expected to cost; those without a price: nothing."""
    sent_bytes: int
    """Of pictures that were answered about, as they were sent."""
    original_bytes: int
    """Of the files they were made of."""
    picture_tokens: int
    """Of pictures whose tokens the server counted, by the formula."""
    original_tokens: int
    """Of the same pictures in the size of their files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Answers by who was asked, in which lane, and who answered; empty for unknown."""

    endpoint: str
    model_asked: str
    tier_asked: str
    model_answered: str
    tier_answered: str
    answers: int
    cost_nanos: int
    saved_nanos: int
    quoted_nanos: int
    """What these answers were expected to cost, each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What a model counts of pictures, against the formula of the one that was asked for."""

    model_asked: str
    model_answered: str
    slope: Slope


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodSpending:
    """What all runs spent and hold since the UTC day and month began."""

    today: Sums
    month: Sums


def sum_spending(connection: Connection, run_id: int | None) -> Spending:
    """All that was sent and paid, by one run or ever."""
    settled = _sum_settled(run_id).subquery("settled")
    unsettled = _sum_unsettled(run_id).subquery("unsettled")
    # one statement, so of one moment
    query = select(settled, unsettled).join_from(settled, unsettled, true())
    row = connection.execute(query).one()
    # Postgres sums into decimals
    found = {name: int(value) for name, value in row._mapping.items()}  # noqa: SLF001  its public way to names
    return Spending(
        requests=found.pop("requests") + found.pop("unsettled"),
        answered=found.pop("answers"),
        **found,
    )


def _sum_settled(run_id: int | None) -> Any:
    amounts = (
        "requests", "answers", "unpriced", "input_tokens", "cached_tokens", "cache_write_tokens",
        "output_tokens", "reasoning_tokens", "cost_nanos", "saved_nanos", "quoted_nanos",
        "sent_bytes", "original_bytes", "picture_tokens", "original_tokens",
    )  # fmt: skip
    query = select(*(func.coalesce(func.sum(spends.c[name]), 0).label(name) for name in amounts))
    return query if run_id is None else query.where(spends.c.run_id == run_id)


def _sum_unsettled(run_id: int | None) -> Any:
    is_lost = attempts.c.state == "lost"
    reserved = func.sum(attempts.c.reserved_nanos).filter(is_lost)
    query = select(
        func.count().label("unsettled"),
        func.count().filter(is_lost).label("lost"),
        func.coalesce(reserved, 0).label("maybe_billed_nanos"),
    ).where(attempt_is_unsettled)
    return query if run_id is None else query.where(attempts.c.run_id == run_id)


def list_shares(connection: Connection, run_id: int | None) -> Sequence[Share]:
    """Answers of one run or ever, by who was asked and answered; the most first."""
    words = ("endpoint", "model_asked", "tier_asked", "model_answered", "tier_answered")
    amounts = ("answers", "cost_nanos", "saved_nanos", "quoted_nanos")
    keys = [spends.c[name] for name in words]
    query = (
        select(*keys, *(func.sum(spends.c[name]).label(name) for name in amounts))
        .where(spends.c.answers > 0)
        .group_by(*keys)
        .order_by(func.sum(spends.c.answers).desc(), *keys)
    )
    if run_id is not None:
        query = query.where(spends.c.run_id == run_id)
    return [
        Share(
            endpoint=row.endpoint,
            model_asked=row.model_asked,
            tier_asked=row.tier_asked,
            model_answered=row.model_answered,
            tier_answered=row.tier_answered,
            answers=int(row.answers),
            cost_nanos=int(row.cost_nanos),
            saved_nanos=int(row.saved_nanos),
            quoted_nanos=int(row.quoted_nanos),
        )
        for row in connection.execute(query)
    ]


def measure_drift(connection: Connection) -> Sequence[Drift]:
    """What each model that answered counts for a token of the formula of each that was asked.

    Measured on no more of its latest pictures than it takes: those of before a formula was
    corrected say nothing of the one that holds. The words are the same within a run, and so within
    a row; the slopes of all rows are one.
    """
    meters: dict[tuple[str, str], SlopeMeter] = {}
    for row in connection.execute(_FIND_MOMENTS):
        meter = meters.setdefault((row.model_asked, row.model_answered), SlopeMeter())
        if not meter.is_sure and meter.answers < _LATEST_PICTURES:
            meter.add(_moments_of(row))
    return [
        Drift(model_asked=asked, model_answered=answered, slope=meter.slope)
        for (asked, answered), meter in sorted(meters.items())
    ]


_FIND_MOMENTS: Final = (
    select(spends)
    .where(spends.c.pictures > 0)
    .order_by(spends.c.run_id.desc(), spends.c.day.desc(), *spends.primary_key.columns)
)


def _moments_of(row: Any) -> Moments:
    return Moments(
        pictures=row.pictures,
        tokens=row.picture_tokens,
        squares=row.picture_squares,
        inputs=row.picture_inputs,
        products=row.picture_products,
    )


def sum_periods(connection: Connection, now_ms: int) -> PeriodSpending:
    """What the caps of the day and the month count at this moment."""
    return PeriodSpending(
        today=sum_period(connection, find_period("day", now_ms)),
        month=sum_period(connection, find_period("month", now_ms)),
    )


def count_steps(connection: Connection, run_id: int | None) -> dict[str, int]:
    """Requests that followed another one for the same picture, by why; each has a count."""
    query = (
        select(attempts.c.step, func.count()).where(attempt_is_follow_up).group_by(attempts.c.step)
    )
    if run_id is not None:
        query = query.where(attempts.c.run_id == run_id)
    found = {step: int(count) for step, count in connection.execute(query)}
    return {step: found.get(step, 0) for step in FOLLOW_UPS}
