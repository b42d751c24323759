"""The closing figures of a run, from its tally and the ledger's counts."""

from collections.abc import Mapping
from typing import Any

from pipeline.domain.jobs import JobState, RunId
from pipeline.domain.usage import to_usd
from pipeline.engine.comparison import Comparison
from pipeline.engine.progress import Tally


def describe_run(
    run: RunId,
    state: str,
    tally: Tally,
    *,
    counts: Mapping[JobState, int],
    elapsed_seconds: float,
) -> dict[str, Any]:
    """The document of ``tag --json``; stored with the run.

    ``images.done``, ``failed``, ``skipped``, ``pending`` and ``leased`` say how the tagged part
    of the library stands afterwards; ``seen``, ``tagged`` and ``reused`` what this run did.
    """
    return {
        "run_id": run,
        "state": state,
        "images": {
            "seen": tally.seen,
            **{state.value: counts[state] for state in JobState},
            "tagged": tally.tagged,
            "reused": tally.reused,
            "recovered": tally.recovered,
        },
        "scan": {
            **{kind: tally.findings.get(kind, 0) for kind in _FINDINGS},
            "moved": tally.moved,
            "gone": tally.gone,
            "stale": tally.stale,
        },
        "requests": {
            "sent": tally.requests,
            "retried": tally.retried,
            "rate_limited": tally.rate_limited,
            **{name: tally.steps[name] for name in _FOLLOWING if tally.steps[name]},
        },
        "batches": {"open": tally.batches, "over": tally.batches_over},
        "tokens": {
            "input": tally.usage.input,
            "cached": tally.usage.cached,
            "output": tally.usage.output,
            "reasoning": tally.usage.reasoning,
        },
        "cost_usd": to_usd(tally.cost_nanos),
        "cache_saved_usd": to_usd(tally.saved_nanos),
        "answers": [
            {"model": model, "service_tier": tier or None, "count": count}
            for (model, tier), count in tally.answers.most_common()
        ],
        "substituted": tally.substituted,
        "downgraded": tally.downgraded,
        "unpriced_answers": tally.unpriced,
        "estimate_usd": to_usd(tally.estimate_nanos),
        "quote": _describe_quote(tally),
        "saved": _describe_saving(tally.comparison),
        "elapsed_s": round(elapsed_seconds, 3),
        "images_per_s": round(tally.settled / elapsed_seconds, 3) if elapsed_seconds else 0.0,
        "warnings": list(tally.warnings),
        "causes": {cause.value: count for cause, count in tally.causes.most_common()},
    }


def _describe_quote(tally: Tally) -> dict[str, Any]:
    """What the pictures were quoted at, and why the bill differs: causes add up to difference."""
    quoted, actual = tally.comparison.quoted_nanos, tally.cost_nanos
    return {
        "quoted_usd": to_usd(quoted),
        "actual_usd": to_usd(actual),
        "difference_usd": to_usd(actual - quoted),
        "causes": {
            gap.value: to_usd(nanos) for gap, nanos in tally.comparison.explain(actual).items()
        },
    }


def _describe_saving(comparison: Comparison) -> dict[str, int]:
    """What right-sized pictures saved against sending the files as they are."""
    return {
        "bytes": comparison.original_bytes - comparison.sent_bytes,
        "picture_tokens": comparison.saved_tokens,
        "sent_bytes": comparison.sent_bytes,
        "original_bytes": comparison.original_bytes,
    }


_FOLLOWING = ("repair", "more_room", "fallback")
_FINDINGS = ("new", "changed", "unchanged", "returned")
