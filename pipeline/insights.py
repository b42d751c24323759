"""What a run or the ledger looks like from outside: the documents behind ``--json`` and pages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.costs.drift import correct_multiplier, describe_drift
from pipeline.costs.models import ModelTable
from pipeline.domain.batches import OVER, BatchState, RemoteState
from pipeline.domain.jobs import JobState
from pipeline.domain.outcomes import CAUSE_HELP, Cause
from pipeline.domain.usage import to_usd
from pipeline.domain.vision import ServiceTier
from pipeline.ledger.batch_overview import BatchView
from pipeline.ledger.catalogue import Scope
from pipeline.ledger.reading import FailureGroup, LedgerReader
from pipeline.ledger.sums import Drift, Share, Spending
from pipeline.providers.model_names import is_same_model, is_same_tier


async def describe_status(
    reader: LedgerReader,
    *,
    scopes: Sequence[Scope] | None,
    profile: str | None,
    models: ModelTable,
    now_ms: int,
) -> dict[str, Any]:
    """The ledger as it stands: counts, the latest run, spend of that run and of all time.

    ``models`` is the table whose formulas counted the pictures.
    """
    counts = await reader.count_jobs(scopes, profile=profile)
    batches = await reader.list_batches(now_ms)
    waiting = await reader.count_waiting(scopes, profile=profile)
    departures = await reader.count_departures(scopes)
    runs = await reader.list_runs(limit=1)
    latest = runs[0] if runs else None
    spending = await reader.sum_spending()
    periods = await reader.sum_period(now_ms)
    summary: Mapping[str, Any] = (latest or {}).get("summary") or {}
    return {
        "run_id": latest["id"] if latest else None,
        "state": latest["state"] if latest else "empty",
        "images": {
            "seen": sum(counts.values()),
            **{state.value: count for state, count in counts.items()},
            "reused": summary.get("images", {}).get("reused", 0),
            "gone": departures.gone,
            "moved": departures.moved,
        },
        "pending_by_reason": {reason.value: count for reason, count in waiting.items()},
        "batches": sum_up_batches(batches),
        "requests": {
            "sent": spending.requests,
            "retried": summary.get("requests", {}).get("retried", 0),
            "rate_limited": summary.get("requests", {}).get("rate_limited", 0),
            "lost": spending.lost,
            **await reader.count_steps(),
        },
        **_describe_spending(spending),
        "spent": {"today_usd": to_usd(periods.today.spent_nanos),
                  "month_usd": to_usd(periods.month.spent_nanos)},
        "drift": [
            _describe_drift(drift, models)
            for drift in await reader.measure_drift()
            if is_same_model(drift.model_asked, drift.model_answered)
        ],
        "shares": [_describe_share(share) for share in await reader.list_shares()],
        "estimate_usd": summary.get("estimate_usd"),
        "elapsed_s": _elapsed(latest, now_ms),
        "images_per_s": summary.get("images_per_s"),
        "latest_run": _describe_run(latest) if latest else None,
        "models": await reader.count_models(),
        "exports": [
            {"destination": row["destination"], "format": row["format"],
             "records": row["records"], "finished_at": row["finished_at"]}
            for row in await reader.list_exports()
        ],
    }  # fmt: skip


def _describe_spending(spending: Spending) -> dict[str, Any]:
    """What was used, paid and expected."""
    return {
        "tokens": _tokens_of(spending),
        "cost_usd": to_usd(spending.cost_nanos),
        "maybe_billed_usd": to_usd(spending.maybe_billed_nanos),
        "cache": {
            "hit_share": _share(spending.cached_tokens, spending.input_tokens),
            "written_tokens": spending.cache_write_tokens,
            "saved_usd": to_usd(spending.saved_nanos),
        },
        "quoted_usd": to_usd(spending.quoted_nanos),
        "saved": _describe_saving(spending),
        "unpriced_answers": spending.unpriced,
    }


def _describe_share(share: Share) -> dict[str, Any]:
    """Who was asked, who answered, and whether the two are the same."""
    is_substitute = not is_same_model(share.model_asked, share.model_answered)
    tier = ServiceTier(share.tier_asked or ServiceTier.AUTO)
    return {
        "endpoint": share.endpoint or None,
        "model_asked": share.model_asked,
        "model_answered": share.model_answered or None,
        "tier_asked": share.tier_asked or None,
        "tier_answered": share.tier_answered or None,
        "answers": share.answers,
        "cost_usd": to_usd(share.cost_nanos),
        "quoted_usd": to_usd(share.quoted_nanos),
        "is_substitute": is_substitute,
        "is_other_tier": not is_same_tier(tier, share.tier_answered or None),
    }


def _describe_saving(spending: Spending) -> dict[str, int]:
    """What right-sized pictures saved against sending the files as they are."""
    return {
        "bytes": spending.original_bytes - spending.sent_bytes,
        "picture_tokens": spending.original_tokens - spending.picture_tokens,
        "sent_bytes": spending.sent_bytes,
        "original_bytes": spending.original_bytes,
    }


def _describe_drift(drift: Drift, models: ModelTable) -> dict[str, Any]:
    """What a model counts for a token of the formula; no factor: it cannot be told."""
    factor, spec = drift.slope.factor, models.find(drift.model_asked)
    multiplier = correct_multiplier(spec, factor) if spec and factor else None
    told = describe_drift(drift.model_answered, drift.slope, spec)
    return {
        "model": drift.model_answered,
        "answers": drift.slope.answers,
        "factor": None if factor is None else round(float(factor), 4),
        "is_telling": told is not None,
        "multiplier": None if multiplier is None else float(multiplier),
        "remark": _remark_on_drift(drift, told),
    }


def _remark_on_drift(drift: Drift, told: tuple[str, str] | None) -> str:
    if told is not None:
        return ": ".join(told)
    if drift.slope.factor is None:
        return "the pictures are too much alike in size to be told apart from the words"
    return ""


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def sum_up_batches(views: Sequence[BatchView]) -> dict[str, Any]:
    """Batches that are not over, together."""
    open_ones = [view for view in views if view.batch.state not in OVER]
    return {
        "open": len(open_ones),
        "lines": sum(view.lines for view in open_ones),
        "answered": sum(view.batch.completed for view in open_ones),
        "failed": sum(view.batch.failed for view in open_ones),
        "by_state": dict(Counter(view.batch.state.value for view in open_ones)),
    }


def describe_batches(views: Sequence[BatchView], *, now_ms: int) -> dict[str, Any]:
    """The document of ``batch list --json``."""
    return {
        **sum_up_batches(views),
        "batches": [_describe_batch(view, now_ms) for view in views],
    }


def _describe_batch(view: BatchView, now_ms: int) -> dict[str, Any]:
    batch = view.batch
    return {
        "id": batch.id,
        "state": batch.state.value,
        "state_in_words": describe_batch_state(view),
        "server": batch.endpoint,
        "model": batch.model,
        "lines": view.lines,
        "answered": batch.completed,
        "failed": batch.failed,
        "opened_at": batch.opened_at_ms,
        "submitted_at": batch.submitted_at_ms,
        "ended_at": batch.ended_at_ms,
        "age_s": round(((batch.ended_at_ms or now_ms) - batch.opened_at_ms) / 1000, 3),
        "looked_after_by": view.keeper,
        "waits_for": _find_wait(view, now_ms),
        "message": batch.message,
        "remote_id": batch.remote_id,
        "remote_state": batch.remote_state,
    }


def describe_batch_state(view: BatchView) -> str:
    """Where a batch stands, in words."""
    batch = view.batch
    if view.is_unknown:
        return "not known to the server any more"
    if batch.state is not BatchState.SUBMITTED:
        return _STATE_WORDS[batch.state]
    if batch.remote_state is None:
        return "at the server"
    return _REMOTE_WORDS[RemoteState(batch.remote_state)]


def _find_wait(view: BatchView, now_ms: int) -> str | None:
    """What has to come next; None for a batch that is over."""
    batch = view.batch
    if batch.state in OVER:
        return None
    if view.is_unknown:
        return f"tagpipe batch forget {batch.id}"
    if batch.state is BatchState.SUBMITTED and not _is_done(batch.remote_state):
        return "the server" if view.keeper else "the server, then tagpipe tag"
    if batch.state is BatchState.UPLOADED and batch.not_before_ms > now_ms:
        return "room at the server" if view.keeper else "room at the server, then tagpipe tag"
    return view.keeper or "tagpipe tag"


def _is_done(remote_state: str | None) -> bool:
    return remote_state is not None and RemoteState(remote_state).is_over


_STATE_WORDS = {
    BatchState.PACKING: "being packed",
    BatchState.PACKED: "packed, not at the server yet",
    BatchState.UPLOADED: "uploaded, not submitted yet",
    BatchState.SUBMITTING: "being submitted",
    BatchState.HARVESTED: "collected",
    BatchState.DISCARDED: "given up, never worked on",
    BatchState.FORGOTTEN: "forgotten",
}
_REMOTE_WORDS = {
    RemoteState.VALIDATING: "being looked over by the server",
    RemoteState.FAILED: "refused by the server",
    RemoteState.IN_PROGRESS: "in work",
    RemoteState.FINALIZING: "worked on, its files are being made",
    RemoteState.COMPLETED: "answered, to be collected",
    RemoteState.EXPIRED: "expired, to be collected",
    RemoteState.CANCELLING: "being ended",
    RemoteState.CANCELLED: "cancelled, to be collected",
}


def describe_failures(groups: Sequence[FailureGroup]) -> list[dict[str, Any]]:
    """The document of ``errors --json``."""
    return [
        {
            "cause": group.cause,
            "state": group.state,
            "count": group.count,
            "meaning": CAUSE_HELP[Cause(group.cause)],
            "examples": [{"uri": uri, "message": message} for uri, message in group.examples],
        }
        for group in groups
    ]


def exit_code_of(state: str, counts: Mapping[JobState, int]) -> int:
    """0 all done, 3 some images failed, 4 paused, 130 interrupted."""
    if state == "paused":
        return 4
    if state == "interrupted":
        return 130
    return 3 if counts[JobState.FAILED] else 0


def _tokens_of(spending: Spending) -> dict[str, int]:
    return {
        "input": spending.input_tokens,
        "cached": spending.cached_tokens,
        "output": spending.output_tokens,
        "reasoning": spending.reasoning_tokens,
    }


def _elapsed(run: Mapping[str, Any] | None, now_ms: int) -> float | None:
    if run is None:
        return None
    ended: int = run["ended_at"] or now_ms
    started: int = run["started_at"]
    return round((ended - started) / 1000, 3)


def _describe_run(run: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("id", "verb", "state", "profile", "version", "model", "started_at", "ended_at")
    return {**{key: run[key] for key in wanted}, "summary": run["summary"]}
