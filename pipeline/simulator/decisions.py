"""What becomes of a request that could be answered: a list of small functions, first word wins."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pipeline.simulator.behavior import Behavior, Fault, Outage, draw_fault, strikes_line
from pipeline.simulator.errors import ApiError
from pipeline.simulator.plan import FaultPlan
from pipeline.simulator.reading import AnswerFormat
from pipeline.simulator.refusals import make_refusal
from pipeline.simulator.strict_schema import refuse_schema

_FIRST_SERVER_STATUS: Final = 500
_STANDARD_TIERS: Final = frozenset({"auto", "default"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a decision may depend on."""

    behavior: Behavior
    model: str
    picture: str
    """sha256 of the picture, in hex; of a question without one, its signature."""
    times_seen: int
    """Requests about this picture before this one."""
    faults_so_far: int
    """Of this picture."""
    request: int = 1
    """Of the requests that the limits let through, from 1."""
    service_tier: str = "auto"
    """As asked for."""
    format: AnswerFormat = field(default_factory=AnswerFormat)
    plan: FaultPlan = field(default_factory=FaultPlan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Nothing set: answer truly."""

    fault: Fault | Outage | None = None
    error: ApiError | None = None
    """Sent instead of an answer."""

    @property
    def is_at_once(self) -> bool:
        """Refused before any work is done: without delay, and without a draw on the limits."""
        return self.error is not None and 400 <= self.error.status < _FIRST_SERVER_STATUS  # noqa: PLR2004 - the first error


Decision = Callable[[Case], Verdict | None]


def refuse_everything(case: Case) -> Verdict | None:
    """Refuse as all requests are refused."""
    outage = case.behavior.refuse_all
    if outage is Outage.SCHEMA:
        wanted = case.format
        if wanted.schema is None:
            return None
        fault = "In context=(), 'additionalProperties' is required to be supplied and to be false."
        error = refuse_schema(fault, name=wanted.name, param=wanted.param)
        return Verdict(fault=outage, error=error)
    return _make_verdict(case, outage) if outage else None


def follow_plan(case: Case) -> Verdict | None:
    """Do as planned for this request, which may be to answer it truly."""
    line = case.plan.find(case.picture, request=case.request, time=case.times_seen + 1)
    if line is None:
        return None
    return _make_verdict(case, line.fault) if line.fault else Verdict()


def inject_fault(case: Case) -> Verdict | None:
    """Draw one of the behaviour's faults, until the picture has had its share."""
    if _is_spared(case):
        return None
    fault = draw_fault(case.behavior, case.picture, times_seen=case.times_seen)
    return _make_verdict(case, fault) if fault else None


def fail_line(case: Case) -> Verdict | None:
    """Draw whether a batch's line fails for a reason of the server's own."""
    is_struck = strikes_line(case.behavior, case.picture, times_seen=case.times_seen)
    return _make_verdict(case, Fault.SERVER_ERROR) if is_struck and not _is_spared(case) else None


def _is_spared(case: Case) -> bool:
    limit = case.behavior.max_faults_per_picture
    return limit is not None and case.faults_so_far >= limit


def _make_verdict(case: Case, cause: Fault | Outage) -> Verdict:
    if not _can_befall(cause, case.service_tier):
        return Verdict()
    wait_ms = case.behavior.retry_after_ms
    return Verdict(fault=cause, error=make_refusal(cause, model=case.model, wait_ms=wait_ms))


def _can_befall(cause: Fault | Outage, tier: str) -> bool:
    if cause is Fault.FLEX_SHORTAGE:
        return tier == "flex"
    return cause is not Fault.DOWNGRADED or tier not in _STANDARD_TIERS


DECISIONS: Final[tuple[Decision, ...]] = (refuse_everything, follow_plan, inject_fault)
LINE_DECISIONS: Final = (refuse_everything, follow_plan, fail_line, inject_fault)
"""Asked about a line of a batch."""


def decide(case: Case, decisions: tuple[Decision, ...] = DECISIONS) -> Verdict:
    """Ask each decision in turn; the first verdict holds."""
    for decision in decisions:
        verdict = decision(case)
        if verdict is not None:
            return verdict
    return Verdict()
