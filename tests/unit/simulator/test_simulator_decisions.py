"""Each cause leads to its own refusal; outages outrank the plan, and the plan the shares."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.simulator.behavior import Behavior, Fault, Outage
from pipeline.simulator.decisions import Case, Verdict, decide
from pipeline.simulator.plan import FaultPlan, read_plan
from pipeline.simulator.reading import AnswerFormat

PICTURE = "ab" * 32
QUOTA = "insufficient_quota"


def decide_for(behavior: Behavior, **more: Any) -> Verdict:
    facts = {"model": "sim-x", "picture": PICTURE, "times_seen": 0, "faults_so_far": 0, **more}
    return decide(Case(behavior=behavior, **facts))


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        (Fault.RATE_LIMITED, 429, "requests", "rate_limit_exceeded"),
        (Fault.TOKENS_LIMITED, 429, "tokens", "rate_limit_exceeded"),
        (Fault.SLOW_DOWN, 429, "requests", "slow_down"),
        (Fault.FLEX_SHORTAGE, 429, "resource_unavailable", "resource_unavailable"),
        (Fault.NO_QUOTA, 429, QUOTA, QUOTA),
        (Fault.CREDIT_EXHAUSTED, 429, QUOTA, "credit_balance_exhausted"),
        (Fault.ORGANIZATION_SPEND, 429, QUOTA, "organization_spend_limit_exceeded"),
        (Fault.PROJECT_SPEND, 429, QUOTA, "project_spend_limit_exceeded"),
        (Fault.ORGANIZATION_USAGE, 429, QUOTA, "organization_usage_limit_exceeded"),
        (Fault.SERVER_ERROR, 500, "server_error", None),
        (Fault.OVERLOADED, 503, "service_unavailable_error", "server_is_overloaded"),
        (Fault.ERROR_IN_200, 200, "server_error", 502),
    ],
)
def test_refusals_have_the_words_of_the_api(
    fault: Fault, status: int, kind: str, code: str | int | None
) -> None:
    error = decide_for(Behavior.model_validate({fault: 1}), service_tier="flex").error
    assert error
    assert (error.status, error.kind, error.code) == (status, kind, code)
    assert ("retry-after-ms" in error.headers) == (code == "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.BAD_GATEWAY, 502), (Fault.GATEWAY_TIMEOUT, 504)]
)
def test_gateways_answer_in_html(fault: Fault, status: int) -> None:
    error = decide_for(Behavior.model_validate({fault: 1})).error
    assert error
    assert (error.status, error.is_html) == (status, True)
    assert error.message.startswith(f"<html>\r\n<head><title>{status} ")


@pytest.mark.parametrize(
    ("share", "tier", "fault"),
    [
        ("flex_shortage", "flex", Fault.FLEX_SHORTAGE),
        ("flex_shortage", "auto", None),
        ("downgraded", "priority", Fault.DOWNGRADED),
        ("downgraded", "default", None),
    ],
)
def test_tiers_fail_only_who_asked_for_them(share: str, tier: str, fault: Fault | None) -> None:
    assert decide_for(Behavior.model_validate({share: 1}), service_tier=tier).fault is fault


@pytest.mark.parametrize(
    ("outage", "status", "code"),
    [
        (Outage.BAD_KEY, 401, "invalid_api_key"),
        (Outage.FORBIDDEN, 403, "unsupported_country_region_territory"),
        (Outage.NO_CREDIT, 429, "credit_balance_exhausted"),
        (Outage.SPEND_LIMIT, 429, "organization_spend_limit_exceeded"),
        (Outage.NO_MODEL, 404, "model_not_found"),
        (Outage.DOWN, 503, "server_is_overloaded"),
    ],
)
def test_outage_refuses_everything(outage: Outage, status: int, code: str) -> None:
    behavior = Behavior(refuse_all=outage, max_faults_per_picture=0)
    verdict = decide_for(behavior, plan=FaultPlan(lines=read_lines({"fault": "hang"})))
    assert verdict.error
    assert (verdict.fault, verdict.error.status, verdict.error.code) == (outage, status, code)


def test_schema_is_refused_where_there_is_one() -> None:
    behavior = Behavior(refuse_all=Outage.SCHEMA)
    wanted = AnswerFormat(kind="json_schema", name="tags", schema={}, param="text.format.schema")
    error = decide_for(behavior, format=wanted).error
    assert error
    assert error.message.startswith("Invalid schema for response_format 'tags': ")
    assert (error.code, error.param) == ("invalid_json_schema", "text.format.schema")
    assert decide_for(behavior).error is None


def read_lines(*lines: dict[str, Any]) -> Any:
    from pipeline.simulator.plan import PlannedFault

    return [PlannedFault.model_validate(line) for line in lines]


def test_plan_outranks_shares_and_spares_whom_it_names() -> None:
    plan = FaultPlan(
        lines=read_lines(
            {"picture": "abab", "time": 2, "fault": "reset"},
            {"request": 7, "fault": None},
            {"picture": "cd", "fault": "cut_body"},
        )
    )
    behavior = Behavior(hang=1)
    assert decide_for(behavior, plan=plan, times_seen=1).fault is Fault.RESET
    assert decide_for(behavior, plan=plan, times_seen=0, request=7).fault is None
    assert decide_for(behavior, plan=plan, times_seen=0, request=8).fault is Fault.HANG
    assert decide_for(Behavior(), plan=plan, picture="cd" * 32).fault is Fault.CUT_BODY


def test_plan_is_read_from_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_text('{"picture": null, "request": 3, "fault": "reset"}\n\n{"fault": "none"}\n')
    with pytest.raises(ConfigurationError, match="line 3: fault"):
        read_plan(file)
    file.write_text('{"picture": null, "request": 3, "fault": "reset"}\n')
    found = read_plan(file).find(PICTURE, request=3, time=9)
    assert found
    assert found.fault is Fault.RESET
    assert read_plan(file).find(PICTURE, request=4, time=9) is None
    assert read_plan(None).find(PICTURE, request=3, time=1) is None


def test_missing_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_plan(tmp_path / "none.jsonl")
