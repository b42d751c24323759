"""One request in six goes wrong, in every way there is: each picture ends as it should, in time."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from drills.audit import Evidence, conclude
from drills.money import check_money
from drills.stage import DONE_BUT_SOME_FAILED, Plan, Stage, open_stage
from drills.verdict import Scale, Verdict

_CONCURRENCY = 64
_FAULTS = (
    "--latency-shape", "lognormal", "--rate-limited", "0.1", "--server-error", "0.02",
    "--hang", "0.01", "--cut-body", "0.01", "--wrong-schema", "0.005", "--bad-json", "0.005",
    "--refused", "0.01",
)  # fmt: skip
_SHORT = ("provider.timeout_s=5",)
_BAD_ANSWERS = frozenset({"wrong_schema", "bad_json"})
_LAST = 0.01
_LONGEST_ATTEMPT_SECONDS = 25.0
"""The adaptive deadline is twenty where all others take less than two."""
_MOST_EXTRA = 0.01


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Refusals name a second to wait, and an attempt may take five."""
    told = ("--retry-after-ms", "1000")
    return _run(
        kind, folder, scale, drill="faults", faults=told, settings=("provider.timeout_s=5",)
    )


def run_untold(kind: str, folder: Path, scale: Scale) -> Verdict:
    """Refusals name no time, and only the adaptive deadline ends what hangs."""
    told = ("--no-rate-headers",)
    return _run(kind, folder, scale, drill="faults-untold", faults=told, settings=())


def _run(  # noqa: PLR0917  a drill's three, and what tells the two apart
    kind: str,
    folder: Path,
    scale: Scale,
    drill: str,
    faults: tuple[str, ...],
    settings: tuple[str, ...],
) -> Verdict:
    plan = Plan(
        pictures=scale.pick(150, 2_000),
        copies=0,
        latency_ms=100,
        concurrency=_CONCURRENCY,
        faults=(*_FAULTS, *faults),
        settings=settings,
    )
    with open_stage(kind, folder, plan) as stage:
        stage.expect(stage.tag(), DONE_BUT_SOME_FAILED, when="the run through the faults")
        money = check_money(stage)
        return conclude(stage, drill, remark=lambda seen: f"{_describe(stage, seen)}; {money}")


def _describe(stage: Stage, seen: Evidence) -> str:
    """How it went, and what must not be."""
    wrong = [job.name for job in seen.jobs if job.cause != _wanted_cause(seen, job.name)]
    stage.demand(not wrong, f"{len(wrong)} images with another cause: {wrong[:5]}")
    once = _find_failed_after_one(seen)
    stage.demand(not once, f"{len(once)} images failed after a single bad answer: {once[:5]}")
    fewest = _count_fewest(seen)
    extra = len(seen.log) / fewest - 1
    stage.demand(extra <= _MOST_EXTRA, f"{len(seen.log)} requests, {fewest} would have done")
    return f"{extra:+.1%} requests, {len(seen.failing)} refused or unusable, {_time(stage, seen)}"


def _wanted_cause(seen: Evidence, name: str) -> str | None:
    return seen.failing.get(name) if seen.library[name] else "not_an_image"


def _find_failed_after_one(seen: Evidence) -> list[str]:
    """Pictures without an answer whose answers broke the schema only once."""
    bad = Counter(line["sha256"] for line in seen.log if line["fault"] in _BAD_ANSWERS)
    names = {picture.sha256: name for name, picture in seen.library.items() if picture}
    return [
        name
        for sha256, count in bad.items()
        if count == 1 and seen.failing.get(name := names[sha256], "refused") != "refused"
    ]


def _count_fewest(seen: Evidence) -> int:
    """One request for each picture, and one more for each fault that was not its last word."""
    return sum(
        1 + sum(line["fault"] is not None for line in lines[:-1]) for lines in _by_picture(seen)
    )


def _by_picture(seen: Evidence) -> Iterable[list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for line in seen.log:
        found.setdefault(line["sha256"], []).append(dict(line))
    return found.values()


def _time(stage: Stage, seen: Evidence) -> str:
    """The last images against all, and against the longest attempt: there is no tail."""
    ended = sorted(job.settled_at for job in seen.jobs if job.settled_at is not None)
    tries = [one for job in seen.jobs for one in job.attempts if one.settled_at is not None]
    took = [(one.settled_at - one.opened_at) / 1000 for one in tries]
    began = min(one.opened_at for one in tries)
    whole = (ended[-1] - began) / 1000
    last = (ended[-1] - ended[-1 - max(1, round(_LAST * len(ended)))]) / 1000
    stage.demand(
        last <= 2 * _LONGEST_ATTEMPT_SECONDS and max(took) <= _LONGEST_ATTEMPT_SECONDS,
        f"a tail: the last 1 % took {last:.1f} s of {whole:.1f} s, an attempt {max(took):.1f} s",
    )
    return (
        f"{whole:.1f} s, its last 1 % {last:.1f} s (an attempt: {fmean(took):.2f} s, the longest "
        f"{max(took):.1f} s)"
    )
