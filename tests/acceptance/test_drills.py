"""The drills in their short form; ``make drills`` runs the long one."""

from dataclasses import replace
from typing import Any

import pytest
from drills.audit import (
    Account,
    Evidence,
    Job,
    Picture,
    check_accounts,
    find_double_settled,
    find_lost,
    find_wrong,
)
from drills.catalog import DRILLS, Drill, run_drill
from drills.verdict import NotRunHere, Scale

CASES = [
    pytest.param(drill, kind, id=f"{drill.name}-{kind}")
    for drill in DRILLS
    for kind in drill.short_kinds
]


@pytest.mark.drill
@pytest.mark.parametrize(("drill", "kind"), CASES)
def test_nothing_is_lost_and_nothing_paid_twice(drill: Drill, kind: str) -> None:
    try:
        verdict = run_drill(drill, kind, Scale(is_short=True))
    except NotRunHere as reason:
        pytest.skip(str(reason))
    assert verdict.problems == ()
    assert (verdict.lost, verdict.double_settled) == (0, 0)


# What the drills stand on: an audit that finds what must not be.
PICTURE = Picture(sha256="aa", caption="a harbour")
PAID_ONCE = Account(
    name="a.jpg", sent=1, billed=1, billed_nanos=7, settled=1, answered=1, answered_nanos=7, lost=0
)


def make_evidence(
    *, state: str = "done", tries: int = 1, cost: int = 0, exported: tuple[str, ...] = ("a.jpg",)
) -> Evidence:
    job = Job(name="a.jpg", state=state, tries=tries, cost=cost, attempts=())
    records = [
        {"uri": f"/x/{name}", "status": "done", "caption": PICTURE.caption} for name in exported
    ]
    return Evidence(library={"a.jpg": PICTURE}, jobs=[job], records=records, accounts=[PAID_ONCE])


def test_audit_finds_nothing_where_all_is_well() -> None:
    evidence = make_evidence()
    assert not find_lost(evidence) | find_double_settled(evidence) | find_wrong(evidence)
    assert check_accounts([PAID_ONCE], late=0) == []


@pytest.mark.parametrize("evidence", [make_evidence(state="pending"), make_evidence(exported=())])
def test_audit_finds_what_is_lost(evidence: Evidence) -> None:
    assert find_lost(evidence) == {"a.jpg"}


@pytest.mark.parametrize(
    "evidence",
    [make_evidence(tries=2), make_evidence(cost=7), make_evidence(exported=("a.jpg", "a.jpg"))],
)
def test_audit_finds_what_is_settled_twice(evidence: Evidence) -> None:
    assert find_double_settled(evidence) == {"a.jpg"}


def test_audit_knows_what_is_to_have_no_answer() -> None:
    declined = replace(make_evidence(state="failed"), failing={"a.jpg": "refused"})
    assert not find_lost(replace(declined, records=[{"uri": "a.jpg", "status": "failed"}]))
    assert find_lost(replace(make_evidence(), failing={"a.jpg": "refused"})) == {"a.jpg"}


def test_audit_counts_only_good_answers_as_repeats() -> None:
    twice = replace(PAID_ONCE, sent=2, billed=2, answered=2, settled=2)
    assert replace(make_evidence(), accounts=[twice]).repeats == 1
    assert replace(make_evidence(), accounts=[replace(twice, bad=1)]).repeats == 0


def test_audit_finds_an_answer_about_another_picture() -> None:
    other = replace(make_evidence(), library={"a.jpg": replace(PICTURE, caption="a meadow")})
    assert find_wrong(other) == {"a.jpg"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sent": 2, "billed": 2, "billed_nanos": 14}, "requests and attempts"),
        ({"lost": 0, "settled": 2}, "requests and attempts"),
        ({"answered": 0, "answered_nanos": 0}, "are missing"),
        ({"answered_nanos": 8}, "dollars"),
        ({"sent": 2, "billed": 2, "billed_nanos": 14, "settled": 2, "answered": 2,
          "answered_nanos": 14}, "paid and settled twice"),
    ],
)  # fmt: skip
def test_audit_finds_requests_and_dollars_that_do_not_match(
    change: dict[str, Any], said: str
) -> None:
    (problem,) = check_accounts([replace(PAID_ONCE, **change)], late=0)
    assert said in problem


def test_audit_explains_a_repeat_by_what_was_in_flight() -> None:
    repeated = replace(PAID_ONCE, sent=2, billed=2, billed_nanos=14, lost=1)
    assert check_accounts([repeated], late=0) == []
