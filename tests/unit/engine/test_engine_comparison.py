"""Quote against bill over a run's requests: every difference has a cause, and they add up."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import make_image

from pipeline.costs.differences import Gap
from pipeline.costs.models import load_models
from pipeline.costs.pricing import RunPricing
from pipeline.domain.jobs import JobId, ResultId
from pipeline.domain.outcomes import (
    AT_ONCE,
    Cause,
    Deferred,
    Failed,
    Outcome,
    Passed,
    Reused,
    Spend,
    Tagged,
)
from pipeline.domain.usage import Quote, TokenUsage
from pipeline.domain.vision import Detail, FieldQuestion, Question, ServiceTier
from pipeline.engine.comparison import Asked, Comparison
from pipeline.engine.progress import Tally

TABLE = load_models(on=date(2026, 11, 20))
QUESTION = Question(
    name="general",
    instructions="Tag this picture.",
    schema=b'{"type":"object"}',
    fields=(FieldQuestion(name="title", type="text", measure=None),),
    model="gpt-5.4-mini",
    detail=Detail.HIGH,
    max_output_tokens=300,
    fingerprint="f" * 64,
)
PRICING = RunPricing(TABLE, QUESTION, ServiceTier.DEFAULT)
QUOTE = replace(PRICING.quote(make_image(), original_bytes=100), original_tokens=500)
QUOTED = QUOTE.cost or 0


def asked_of(job: int = 1, step: str = "ask", quote: Quote = QUOTE) -> Asked:
    return Asked(job=JobId(job), step=step, quote=quote, pricing=PRICING)


def spend_of(more_output: int = 0, model: str = QUESTION.model) -> Spend:
    usage = TokenUsage(input=QUOTE.input, output=QUOTE.output + more_output)
    cost = PRICING.cost(usage, model=model, tier="default")
    return Spend(usage=usage, cost=cost, model=model, service_tier="default")


def tagged(more_output: int = 0, **given: str) -> Tagged:
    return Tagged(answer={}, confidence=None, spend=spend_of(more_output, **given))


def put_off(cause: Cause, spend: Spend | None = None, *, may_be_billed: bool = False) -> Deferred:
    return Deferred(
        cause=cause, message="", not_before=AT_ONCE, spend=spend, may_be_billed=may_be_billed
    )


def play(*events: tuple[Asked, Outcome]) -> Tally:
    tally = Tally()
    for asked, outcome in events:
        tally.add_outcome(outcome)
        tally.note_difference(asked, outcome)
    return tally


def explain(tally: Tally) -> dict[Gap, int]:
    return dict(tally.comparison.explain(tally.cost_nanos))


COST = spend_of().cost or 0
LONGER = tagged(10).spend.cost or 0


def test_an_answer_is_compared_with_its_quote() -> None:
    tally = play((asked_of(), tagged(10)))
    assert tally.comparison.quoted_nanos == QUOTED
    assert explain(tally) == {Gap.OUTPUT: LONGER - QUOTED}


def test_a_try_that_costs_nothing_and_is_repeated_is_no_part_of_it() -> None:
    tally = play(
        (asked_of(), put_off(Cause.RATE_LIMITED)),
        (asked_of(), put_off(Cause.SERVER_ERROR)),
        (asked_of(), tagged()),
    )
    assert (tally.comparison.quoted_nanos, explain(tally)) == (QUOTED, {})


def test_a_paid_try_in_vain_makes_the_next_one_tried_again() -> None:
    tally = play(
        (asked_of(), put_off(Cause.INVALID_ANSWER, spend_of())),
        (asked_of(), put_off(Cause.RATE_LIMITED)),
        (asked_of(), tagged()),
        (asked_of(), tagged()),
    )
    assert explain(tally) == {Gap.TRIED_AGAIN: COST}
    assert tally.comparison.quoted_nanos == 2 * QUOTED


def test_an_answer_that_was_lost_is_named_and_its_picture_tried_again() -> None:
    tally = play(
        (asked_of(), put_off(Cause.TIMEOUT, may_be_billed=True)),
        (asked_of(), tagged()),
    )
    assert explain(tally) == {Gap.TRIED_AGAIN: COST, Gap.LOST: -QUOTED}


def test_what_failed_without_a_bill_was_quoted_in_vain() -> None:
    tally = play((asked_of(), Failed(cause=Cause.REJECTED, message="400")))
    assert (tally.comparison.quoted_nanos, explain(tally)) == (QUOTED, {Gap.NOT_BILLED: -QUOTED})


@pytest.mark.parametrize("step", ["repair", "more_room", "fallback"])
def test_what_follows_was_in_no_quote(step: str) -> None:
    passed = Passed(cause=Cause.LENGTH, message="", spend=spend_of())
    tally = play((asked_of(), passed), (asked_of(step=step), tagged()))
    assert explain(tally) == {Gap.FOLLOW_UPS: COST}
    again = play(
        (asked_of(), passed),
        (asked_of(step=step), put_off(Cause.TIMEOUT)),
        (asked_of(), tagged()),
    )
    assert explain(again) == {Gap.TRIED_AGAIN: COST}


def test_what_nobody_could_price_beforehand_is_named_and_what_nobody_can_price_is_left_out() -> (
    None
):
    unquoted = play((asked_of(quote=replace(QUOTE, cost=None)), tagged()))
    assert explain(unquoted) == {Gap.UNQUOTED: COST}
    unpriced = play((asked_of(), tagged(model="llava")))
    assert (unpriced.comparison.quoted_nanos, explain(unpriced)) == (0, {})


def test_savings_are_of_answers_and_tokens_of_those_that_were_counted() -> None:
    estimated = replace(tagged(), spend=replace(spend_of(), usage_is_estimated=True))
    tally = play(
        (asked_of(1), tagged()),
        (asked_of(2), estimated),
        (asked_of(3), put_off(Cause.TIMEOUT)),
    )
    found = tally.comparison
    assert (found.sent_bytes, found.original_bytes) == (2 * QUOTE.sent_bytes, 200)
    assert found.saved_tokens == 500 - QUOTE.picture_tokens


def test_late_answers_are_paid_for_and_compared() -> None:
    tally = Tally()
    tally.add_late(tagged())
    tally.note_difference(asked_of(), tagged())
    assert (tally.late, tally.tagged, tally.cost_nanos, explain(tally)) == (1, 0, COST, {})


SPENDS = st.builds(
    spend_of, st.integers(-QUOTE.output, 200), st.sampled_from([QUESTION.model, "gpt-4o", "llava"])
)
OUTCOMES = st.one_of(
    SPENDS.map(lambda spend: Tagged(answer={}, confidence=None, spend=spend)),
    st.just(Reused(result_id=ResultId(1))),
    st.builds(put_off, st.just(Cause.TIMEOUT), st.none() | SPENDS, may_be_billed=st.booleans()),
    st.builds(
        Passed, cause=st.just(Cause.LENGTH), message=st.just(""), spend=st.none() | SPENDS,
        may_be_billed=st.booleans(),
    ),
    st.builds(Failed, cause=st.just(Cause.LENGTH), message=st.just(""), spend=st.none() | SPENDS),
)  # fmt: skip
ASKED = st.builds(
    asked_of, st.integers(1, 3), st.sampled_from(["ask", "ask", "ask", "repair", "fallback"])
)


@given(st.lists(st.tuples(ASKED, OUTCOMES), max_size=30))
def test_causes_add_up_to_the_difference_whatever_happens(
    events: list[tuple[Asked, Outcome]],
) -> None:
    tally = play(*events)
    found = tally.comparison
    assert found.quoted_nanos + sum(found.causes.values()) == tally.cost_nanos
    assert Gap.UNQUOTED not in explain(tally)
    assert found.quoted_nanos % QUOTED == 0


def test_a_comparison_forgets_pictures_that_came_to_an_end() -> None:
    comparison = Comparison()
    for job in range(100):
        comparison.note(asked_of(job), put_off(Cause.INVALID_ANSWER, spend_of()))
        comparison.note(asked_of(job), tagged())
    assert not comparison._quoted
