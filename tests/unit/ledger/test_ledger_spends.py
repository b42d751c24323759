"""Settled attempts are summed by day, run, and who was asked and answered."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outcomes import Spend
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.ledger.spends import _AMOUNTS, _KEYS, DAY_MS, sum_spends
from pipeline.ledger.tables import spends


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt as it was opened."""

    opened_at: int = 0
    run_id: int = 1
    endpoint: str | None = None
    model_asked: str = "sim-1"
    tier_asked: str | None = None
    reserved_nanos: int = 70
    quoted_nanos: int | None = 60
    picture_tokens: int = 90
    sent_bytes: int = 3
    original_bytes: int = 9
    original_tokens: int = 95


USAGE = TokenUsage(input=100, cached=20, cache_write=5, output=10, reasoning=3)
SPEND = Spend(usage=USAGE, cost=NanoDollars(50), model="sim-1", saved=NanoDollars(-4))


def test_keys_and_amounts_are_the_columns_of_the_table() -> None:
    assert [column.name for column in spends.columns] == [*_KEYS, *_AMOUNTS]
    assert [column.name for column in spends.primary_key] == list(_KEYS)


def test_each_amount_has_its_place() -> None:
    [row] = sum_spends([(Row(), SPEND)])
    assert row == {
        "day": 0, "run_id": 1, "endpoint": "", "model_asked": "sim-1", "tier_asked": "",
        "model_answered": "sim-1", "tier_answered": "", "requests": 1, "answers": 1, "unpriced": 0,
        "input_tokens": 100, "cached_tokens": 20, "cache_write_tokens": 5, "output_tokens": 10,
        "reasoning_tokens": 3, "cost_nanos": 50, "saved_nanos": -4, "assumed_nanos": 0,
        "quoted_nanos": 60, "sent_bytes": 3, "original_bytes": 9, "original_tokens": 95,
        "pictures": 1, "picture_tokens": 90, "picture_squares": 8100, "picture_inputs": 100,
        "picture_products": 9000,
    }  # fmt: skip


def test_an_answer_without_a_price_is_assumed_to_cost_the_most() -> None:
    [row] = sum_spends([(Row(), replace(SPEND, cost=None))])
    assert (row["unpriced"], row["cost_nanos"], row["assumed_nanos"]) == (1, 0, 70)


def test_what_nobody_counted_says_nothing_about_the_formula() -> None:
    for row, spend in (
        (Row(), replace(SPEND, usage_is_estimated=True)),
        (Row(picture_tokens=0), SPEND),
        (Row(), None),
    ):
        [summed] = sum_spends([(row, spend)])
        assert not any(amount for name, amount in summed.items() if name.startswith("picture"))


def test_a_request_without_an_answer_is_counted_and_costs_nothing() -> None:
    [row] = sum_spends([(Row(), None)])
    assert (row["requests"], row["answers"], row["cost_nanos"]) == (1, 0, 0)
    assert (row["model_answered"], row["assumed_nanos"]) == ("", 0)


ROWS = st.builds(
    Row,
    opened_at=st.integers(0, 2 * DAY_MS),
    run_id=st.integers(1, 2),
    tier_asked=st.sampled_from([None, "flex"]),
)
SPENDS = st.builds(
    Spend, usage=st.just(USAGE), cost=st.none() | st.integers(0, 90), model=st.just("sim-1")
)


@given(st.lists(st.tuples(ROWS, st.none() | SPENDS)))
def test_nothing_is_lost_in_the_sums_and_their_order_is_one(
    settled: list[tuple[Row, Spend | None]],
) -> None:
    rows = sum_spends(settled)
    keys = [tuple(row[name] for name in _KEYS) for row in rows]
    assert keys == sorted(set(keys))
    costs = [spend.cost or 0 for _, spend in settled if spend]
    assert sum(row["requests"] for row in rows) == len(settled)
    assert sum(row["cost_nanos"] for row in rows) == sum(costs)
