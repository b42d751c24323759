"""What becomes of a request that could be answered: a list of small functions, first word wins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.simulator.behavior import Behavior, Fault, draw_fault
from pipeline.simulator.errors import ApiError, rate_limited, server_failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a decision may depend on."""

    behavior: Behavior
    model: str
    picture: str
    """sha256 of the picture, in hex."""
    times_seen: int
    """Requests about this picture before this one."""
    faults_so_far: int
    """Of this picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Nothing set: answer truly."""

    fault: Fault | None = None
    error: ApiError | None = None
    """Sent instead of an answer."""


Decision = Callable[[Case], Verdict | None]


def inject_fault(case: Case) -> Verdict | None:
    """Draw one of the behaviour's faults, until the picture has had its share."""
    limit = case.behavior.max_faults_per_picture
    if limit is not None and case.faults_so_far >= limit:
        return None
    fault = draw_fault(case.behavior, case.picture, times_seen=case.times_seen)
    if fault is Fault.RATE_LIMITED:
        error = rate_limited(case.model, case.behavior.retry_after_ms)
        return Verdict(fault=fault, error=error)
    if fault is Fault.SERVER_ERROR:
        return Verdict(fault=fault, error=server_failed())
    return Verdict(fault=fault) if fault else None


DECISIONS: Final[tuple[Decision, ...]] = (inject_fault,)


def decide(case: Case) -> Verdict:
    """Ask each decision in turn; the first verdict holds."""
    for decision in DECISIONS:
        verdict = decision(case)
        if verdict is not None:
            return verdict
    return Verdict()
