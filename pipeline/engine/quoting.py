"""The document of a quote: what a survey found, priced and put in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pipeline.config.settings import BatchSettings, LimitSettings
from pipeline.costs.comparing import LANES, Comparison
from pipeline.costs.habits import Band, Habits, Record
from pipeline.costs.models import ModelSpec
from pipeline.costs.quote import (
    Batches,
    count_batches,
    count_images,
    count_input,
    count_output,
    estimate_hours,
    quote_cost,
)
from pipeline.costs.sending import count_base64_bytes, count_frame_bytes
from pipeline.domain.jobs import Reason
from pipeline.domain.usage import to_usd
from pipeline.domain.vision import Question
from pipeline.engine.estimating import Survey
from pipeline.ledger.history import Pace, Standing
from pipeline.preprocess.prepare import PrepareOptions

_BATCH_HOURS: Final = 24
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is quoted, and all that the quote rests on beside the survey."""

    question: Question
    spec: ModelSpec | None
    is_local: bool
    options: PrepareOptions
    limits: LimitSettings
    batch: BatchSettings
    habits: Habits
    record: Record | None
    pace: Pace | None
    has_ledger: bool
    today: date


def describe_quote(
    inquiry: Inquiry, survey: Survey, compared: Sequence[Comparison] | None = None
) -> dict[str, Any]:
    """The document of ``estimate --json``.

    ``images`` are those that would be asked about, each once: what is paid for, copies and files
    that will be refused are not among them. Dollars are exact decimal texts.
    """
    sample, habits = survey.sample, inquiry.habits
    images = count_images(sample).expected
    input_tokens = count_input(sample, habits)
    output_tokens = count_output(sample, habits)
    costs = {lane: _quote_lane(inquiry, survey, tier) for lane, tier in LANES.items()}
    sent = _count_bytes(inquiry, survey, images)
    return {
        "model": inquiry.question.model,
        "profile": inquiry.question.name,
        "detail": inquiry.question.detail.value,
        "images": images,
        "input_tokens": input_tokens.expected,
        "picture_tokens": sample.sum_up(lambda tokens: tokens).expected,
        "output_tokens": output_tokens.expected,
        "cost_usd": {
            lane: None if band is None else to_usd(band.expected) for lane, band in costs.items()
        },
        "cost_band_usd": {lane: _describe_band(band) for lane, band in costs.items()},
        "input_band": {"low": input_tokens.low, "high": input_tokens.high},
        "output_band": {"low": output_tokens.low, "high": output_tokens.high},
        "hours": _find_hours(inquiry, images, input_tokens.expected),
        "listed": survey.listed,
        "to_ask": {reason.value: survey.reasons[reason] for reason in Reason},
        "paid": survey.standings[Standing.PAID] + sample.scale(survey.paid_copies),
        "failed": survey.standings[Standing.FAILED],
        "passed_over": survey.standings[Standing.PASSED_OVER],
        "copies": survey.all_copies.expected,
        "refused": {
            cause.value: sample.scale(count) for cause, count in survey.refused.most_common()
        },
        "bytes_to_send": sent.request_bytes,
        "saved": {"bytes": sent.saved_bytes, "tokens": _count_saved_tokens(survey)},
        "batches": _describe_batches(inquiry, images, sent.request_bytes, input_tokens.expected),
        "sample": _describe_sample(survey),
        "is_assumed": _is_assumed(inquiry),
        "is_retired": _is_retired(inquiry.spec, inquiry.today),
        "retired_on": _tell_day(inquiry.spec),
        "successor": inquiry.spec.successor if inquiry.spec else None,
        "warnings": [*_warn(inquiry, survey), *_warn_of_compared(compared or (), inquiry)],
        "basis": " ".join(_tell_basis(inquiry, survey)),
        "compare": None if compared is None else [_describe_compared(one) for one in compared],
        "compare_is_sampled": survey.sizes.is_sample or survey.is_sample,
    }


def _quote_lane(inquiry: Inquiry, survey: Survey, tier: str | None) -> Band | None:
    if inquiry.is_local:
        return Band(expected=0, low=0, high=0) if tier is None else None
    return quote_cost(inquiry.spec, survey.sample, inquiry.habits, tier=tier)


def _to_usd(nanos: int | None) -> str | None:
    return None if nanos is None else to_usd(nanos)


def _describe_band(band: Band | None) -> dict[str, str] | None:
    return None if band is None else {"low": to_usd(band.low), "high": to_usd(band.high)}


def _find_hours(inquiry: Inquiry, images: int, input_tokens: int) -> float | None:
    by_limits = estimate_hours(
        images,
        input_tokens + images * inquiry.question.max_output_tokens,
        requests_per_minute=inquiry.limits.requests_per_minute,
        tokens_per_minute=inquiry.limits.tokens_per_minute,
    )
    if by_limits is None and inquiry.pace is not None:
        by_limits = images / inquiry.pace.images_per_s / 3600
    return None if by_limits is None else round(by_limits, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bytes:
    request_bytes: int
    """Of all requests, base64 and words included."""
    saved_bytes: int
    """Against sending the files as they are."""


def _count_bytes(inquiry: Inquiry, survey: Survey, images: int) -> _Bytes:
    if inquiry.is_local:
        return _Bytes(request_bytes=0, saved_bytes=0)
    found = survey.kept_bytes + _estimate_encoded(inquiry, survey)
    sent = count_base64_bytes(survey.sample.scale(found))
    original = count_base64_bytes(survey.sample.scale(survey.original_bytes))
    words = images * count_frame_bytes(inquiry.question)
    return _Bytes(request_bytes=sent + words, saved_bytes=original - sent)


def _estimate_encoded(inquiry: Inquiry, survey: Survey) -> int:
    """Bytes of the pictures that are encoded anew: as earlier ones took, else by their pixels."""
    record = inquiry.record
    if _knows_bytes(record):
        assert record is not None  # noqa: S101  that is what was asked
        return survey.encoded * record.sent_bytes // record.pictures
    return survey.encoded_bytes


def _knows_bytes(record: Record | None) -> bool:
    return record is not None and record.is_same_version and record.sent_bytes * record.pictures > 0


def _count_saved_tokens(survey: Survey) -> int:
    """Input tokens that the pictures would cost more in the size of their files."""
    sent = sum(tokens * count for tokens, count in survey.picture_tokens.items())
    return survey.sample.scale(max(survey.original_tokens - sent, 0))


def _describe_batches(
    inquiry: Inquiry, images: int, request_bytes: int, input_tokens: int
) -> dict[str, int | None] | None:
    if inquiry.is_local:
        return None
    batch = inquiry.batch
    found: Batches = count_batches(
        images,
        request_bytes,
        input_tokens,
        max_requests=batch.max_requests,
        max_bytes=batch.max_mb * _MEGABYTE,
        max_enqueued_tokens=batch.max_enqueued_tokens,
    )
    return {
        "count": found.count,
        "waves": found.waves,
        "hours_at_most": _BATCH_HOURS * (1 if found.waves is None else found.waves),
    }


def _describe_sample(survey: Survey) -> dict[str, int] | None:
    if not survey.is_sample:
        return None
    band = count_images(survey.sample)
    return {
        "looked_at": survey.looked_at,
        "of": survey.candidates,
        "seed": survey.seed,
        "images_low": band.low,
        "images_high": band.high,
    }


def _is_assumed(inquiry: Inquiry) -> bool:
    return inquiry.spec is not None and inquiry.spec.is_assumed(inquiry.question.detail)


def _is_retired(spec: ModelSpec | None, today: date) -> bool:
    return spec is not None and spec.is_retired(today)


def _tell_day(spec: ModelSpec | None) -> str | None:
    return spec.retired_on.isoformat() if spec and spec.retired_on else None


def _warn(inquiry: Inquiry, survey: Survey) -> Sequence[str]:
    """What a person should know beside the figures."""
    spec, model = inquiry.spec, inquiry.question.model
    warnings = []
    if spec is not None and (text := describe_retirement(model, spec, inquiry.today)):
        warnings.append(text)
    if _is_assumed(inquiry):
        warnings.append(f"{model}: the maker has not confirmed how it counts, or what it costs")
    if spec is None and not inquiry.is_local:
        warnings.append(
            f"{model} is in no model table: its tokens follow the usual rule of open models and "
            "its price is unknown; add it to a file named under `models:` (see configs/models.yaml)"
        )
    elif spec is not None and spec.prices is None:
        warnings.append(f"{model} has no known price: add one in a file named under `models:`")
    if inquiry.habits.is_output_measured is False and spec is not None and spec.reasons:
        warnings.append(
            f"{model} thinks before it answers: how many tokens that takes cannot be foreseen, and "
            "without earlier answers the quote has none of them"
        )
    if survey.unlistable:
        warnings.append(f"could not look into {survey.unlistable[0]}: nothing below it is counted")
    return warnings


def describe_retirement(model: str, spec: ModelSpec, today: date) -> str:
    """When a model goes, and what its maker names instead; nothing where no day is announced."""
    if spec.retired_on is None:
        return ""
    verb = "was retired" if spec.is_retired(today) else "retires"
    instead = f"; its maker names {spec.successor} instead" if spec.successor else ""
    return f"{model} {verb} on {spec.retired_on}{instead}"


def _warn_of_compared(compared: Sequence[Comparison], inquiry: Inquiry) -> Sequence[str]:
    others = {one.choice.model: one.choice.spec for one in compared}
    others.pop(inquiry.question.model, None)
    told = [
        f"{model} is in no model table: its price is unknown"
        if spec is None
        else describe_retirement(model, spec, inquiry.today)
        for model, spec in others.items()
    ]
    return [text for text in told if text]


def _tell_basis(inquiry: Inquiry, survey: Survey) -> Sequence[str]:
    """What the figures rest on, one sentence each."""
    told = [_tell_images(survey)]
    if not inquiry.has_ledger:
        told.append("There is no ledger yet: nothing counts as paid.")
    else:
        told.append("Paid: by the ledger; files that look like one that is paid for count as it.")
    if survey.has_forgotten_copies:
        told.append("Copies were looked for among the first pictures only.")
    if inquiry.is_local:
        return [*told, "The offline analyser answers: everything is free."]
    return [
        *told, _tell_words(inquiry), _tell_output(inquiry), _tell_cache(inquiry),
        _tell_bytes(inquiry), _tell_hours(inquiry),
    ]  # fmt: skip


def _tell_images(survey: Survey) -> str:
    if not survey.is_sample:
        return f"Images: the headers of all {survey.looked_at:,} that may be asked about."
    return (
        f"Images: a random sample of {survey.looked_at:,} of {survey.candidates:,} (seed "
        f"{survey.seed}), scaled, with 95 % confidence; copies by how often the same picture was "
        "drawn."
    )


def _tell_words(inquiry: Inquiry) -> str:
    if inquiry.habits.is_words_measured:
        return "Words: as billed for earlier answers of this version of the profile."
    return "Words: about four bytes a token, within 25 %."


def _tell_output(inquiry: Inquiry) -> str:
    record = inquiry.record
    if not inquiry.habits.is_output_measured or record is None:
        return (
            "Output: expected from the profile's fields, a quarter to twice as much; "
            "the ledger has too few answers."
        )
    whose = "this version" if record.is_same_version else "other versions"
    return f"Output: the mean of {record.answers:,} answers of {whose} of the profile."


def _tell_cache(inquiry: Inquiry) -> str:
    if inquiry.habits.is_output_measured:
        return "Prompt cache: its share of the input as in those answers."
    if inquiry.habits.cached.expected:
        return "Prompt cache: the shared words are marked and count as cached."
    return "Prompt cache: nothing is taken off for it."


def _tell_bytes(inquiry: Inquiry) -> str:
    if _knows_bytes(inquiry.record):
        return "Bytes: as earlier pictures took, base64 included."
    return (
        f"Bytes: by pixels, for photographs at quality {inquiry.options.quality}, base64 included."
    )


def _tell_hours(inquiry: Inquiry) -> str:
    limits, pace = inquiry.limits, inquiry.pace
    if limits.requests_per_minute or limits.tokens_per_minute:
        return "Hours: by limits.requests_per_minute and limits.tokens_per_minute."
    if pace is not None:
        return (
            f"Hours: at {pace.images_per_s:.1f} images a second, the pace of earlier runs with "
            f"this model over {pace.images:,} images."
        )
    return (
        "Hours: unknown, for there is no earlier run with this model and no limit is set "
        "(limits.requests_per_minute)."
    )


def _describe_compared(one: Comparison) -> Mapping[str, Any]:
    choice, each = one.choice, one.picture_tokens_each
    return {
        "model": choice.model,
        "detail": choice.detail.value,
        "size": choice.side,
        "is_offered": choice.is_offered,
        "picture_tokens_each": None if each is None else round(each, 1),
        "input_tokens": one.input_tokens,
        "cost_usd": {lane: _to_usd(cost) for lane, cost in one.costs.items()},
        "is_cheapest": one.is_cheapest,
        "is_assumed": choice.spec is not None and choice.spec.is_assumed(choice.detail),
        "is_retired": choice.is_retired,
        "retired_on": _tell_day(choice.spec),
        "successor": choice.spec.successor if choice.spec else None,
    }
