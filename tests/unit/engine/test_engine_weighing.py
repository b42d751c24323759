"""What becomes of an image, its money and its turn, case by case."""

from datetime import UTC, datetime

import pytest
from engines import make_response

from pipeline.domain.errors import (
    AskError,
    AttemptTimeout,
    ContentRefused,
    NoCapacity,
    Overloaded,
    ProviderUnavailable,
    RateLimited,
    ServerDown,
    SlowDown,
)
from pipeline.domain.jobs import ResultId
from pipeline.domain.outcomes import Cause, Failed, Reused, Skipped, Spend, Tagged
from pipeline.domain.rates import Allowance, RateReading
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.engine.retry import Wait
from pipeline.engine.weighing import (
    cost_of,
    describe_cap,
    give_back,
    give_up,
    interrupt,
    pass_on,
    put_off,
    read_passage,
    read_refusal,
)
from pipeline.ledger.caps import OverCap
from pipeline.limits.gate import PassageKind

NOW = datetime(2026, 11, 21, tzinfo=UTC)
READING = RateReading(requests=Allowance(limit=60, remaining=3))


def spend(**changes: object) -> Spend:
    values = {"usage": TokenUsage(input=9), "cost": NanoDollars(7), "model": "m", **changes}
    return Spend(**values)  # type: ignore[arg-type]


def test_what_nobody_knows_the_cost_of_costs_nobody_knows_what() -> None:
    lost = AttemptTimeout("late", may_be_billed=True)
    assert cost_of(pass_on(lost, None)) is None
    assert cost_of(give_up(lost, None)) is None
    assert cost_of(interrupt()) is None
    assert cost_of(Tagged(answer={}, confidence=None, spend=spend(cost=None))) is None
    guess = spend(usage_is_estimated=True)
    assert cost_of(Tagged(answer={}, confidence=None, spend=guess)) is None


def test_what_was_not_sent_or_not_answered_costs_nothing() -> None:
    assert cost_of(Reused(result_id=ResultId(1))) == 0
    assert cost_of(Skipped(cause=Cause.TOO_SMALL, message="x")) == 0
    assert cost_of(give_up(ProviderUnavailable("x"), None)) == 0


def test_a_useless_answer_costs_what_it_costs() -> None:
    refused = ContentRefused("no", response=make_response())
    assert cost_of(give_up(refused, spend())) == 7
    assert cost_of(put_off(refused, spend(), Wait(seconds=1), NOW)) == 7


def test_a_pause_leaves_the_image_as_it_was_and_keeps_what_was_paid() -> None:
    failed = Failed(cause=Cause.LENGTH, message="cut", spend=spend())
    back = give_back(ServerDown("down"), failed, NOW)
    assert (back.cause, back.counts, back.spend) == (Cause.PAUSED, False, spend())
    lost = Failed(cause=Cause.TIMEOUT, message="late", may_be_billed=True)
    assert give_back(ServerDown("down"), lost, NOW).may_be_billed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("x"), PassageKind.REFUSED),
        (SlowDown("x"), PassageKind.SLOW_DOWN),
        (Overloaded("x"), PassageKind.OVERLOADED),
        (NoCapacity("x"), PassageKind.FAILED),
        (ProviderUnavailable("x"), PassageKind.FAILED),
        (ContentRefused("x", response=make_response()), PassageKind.FAILED),
    ],
)
def test_the_gate_learns_from_each_error_what_it_says_of_the_rate(
    error: AskError, kind: PassageKind
) -> None:
    assert read_refusal(error).kind is kind


def test_limits_are_read_from_good_answers_useless_ones_and_refusals() -> None:
    good = make_response(rates=READING)
    assert read_passage(good).rates is READING
    assert read_passage(good).used_tokens == 1_050
    assert read_refusal(ContentRefused("x", response=good)).rates is READING
    refusal = read_refusal(RateLimited("x", rates=READING, retry_after_seconds=2))
    assert (refusal.rates, refusal.retry_after_seconds) == (READING, 2)
    assert read_passage(make_response(usage_is_estimated=True)).used_tokens is None


def test_a_cap_says_what_is_left_and_what_to_do() -> None:
    cap = OverCap(
        scope="day", cap_nanos=10**9, spent_nanos=9 * 10**8, held_nanos=10**8, open_nanos=0,
        resets_at_ms=0,
    )  # fmt: skip
    text = describe_cap(cap, 5_000_000)
    assert "the day's budget of $1 has $0 left" in text
    assert "$0.005" in text
    assert "--budget-day" in text
