"""The Responses API on the wire: how a question is put, how an answer is read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from pipeline.config.settings import ProviderSettings
from pipeline.costs.estimate import LEAST_OUTPUT_TOKENS
from pipeline.domain.rates import RateReading
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import (
    Detail,
    FinishReason,
    Question,
    Repair,
    ServiceTier,
    VisionResponse,
)
from pipeline.providers.caching import make_cache_options, mark_shared_end
from pipeline.providers.errors_map import classify_reported, keep_billed, report_no_answer
from pipeline.providers.loose_json import (
    as_count,
    as_mapping,
    as_sequence,
    as_text,
    join_texts,
    make_usage,
)
from pipeline.providers.request_frame import (
    IMAGE_SLOT,
    NOTE_SLOT,
    RequestFrame,
    make_format,
    name_tier,
    write_instructions,
    write_repair,
)

RESPONSES_PATH: Final = "responses"
_INCOMPLETE: Final = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_WITHOUT_ANSWER: Final = frozenset({"failed", "cancelled", "queued", "in_progress"})
_TEXT_PARTS: Final = frozenset({"output_text", "text"})
_REFUSAL_PARTS: Final = frozenset({"refusal"})


def frame_responses_request(
    question: Question, tier: ServiceTier, *, settings: ProviderSettings
) -> RequestFrame:
    """Everything of a request but the picture; what is stable first, so that it can be cached."""
    # The API's schema has ``detail`` as required; ``auto`` is what leaving it out would mean.
    detail = question.detail if settings.send_detail else Detail.AUTO
    image = {"type": "input_image", "image_url": IMAGE_SLOT, "detail": detail.value}
    document = _make_document(question, tier, [NOTE_SLOT, image], settings=settings)
    return RequestFrame.cut(document, note_part={"type": "input_text", "text": NOTE_SLOT})


def write_responses_repair(
    question: Question, tier: ServiceTier, repair: Repair, *, settings: ProviderSettings
) -> bytes:
    """A request to put an answer right: all that is stable as ever, and words for the picture."""
    content = [{"type": "input_text", "text": write_repair(repair)}]
    return orjson.dumps(_make_document(question, tier, content, settings=settings))


def _make_document(
    question: Question, tier: ServiceTier, content: list[Any], *, settings: ProviderSettings
) -> dict[str, Any]:
    instructions = {"type": "input_text", "text": write_instructions(question, settings)}
    return {
        "model": question.model,
        **_make_options(question, tier, settings=settings),
        "input": [
            {"role": "developer", "content": [mark_shared_end(instructions, question)]},
            {"role": "user", "content": content},
        ],
    }


def _make_options(
    question: Question, tier: ServiceTier, *, settings: ProviderSettings
) -> dict[str, Any]:
    effort = settings.reasoning_effort
    form = make_format(question, settings)
    options: dict[str, Any] = {
        "max_output_tokens": max(question.max_output_tokens, LEAST_OUTPUT_TOKENS),
        "temperature": settings.temperature,
        "reasoning": {"effort": effort} if effort else None,
        "service_tier": name_tier(tier),
        "text": {"format": form} if form else None,
        "store": False,  # the API keeps answers unless told otherwise
        "stream": False,
        **make_cache_options(question),
    }
    return {key: value for key, value in options.items() if value is not None}


def read_responses_answer(
    document: Any,
    *,
    request_id: str | None = None,
    asked_model: str = "",
    rates: RateReading | None = None,
) -> VisionResponse:
    """Read an answer, whatever shape a compatible server gave it.

    Args:
        document: the parsed body of an HTTP 200.
        request_id: from the headers.
        asked_model: taken for the model that answered where the server does not say.
        rates: from the headers.

    Raises:
        PipelineError: it failed, is not done, or holds no answer.
    """
    answer = as_mapping(document)
    response = _read_output(answer, request_id=request_id, asked_model=asked_model, rates=rates)
    if reported := answer.get("error"):
        raise classify_reported(reported, request_id=request_id, response=keep_billed(response))
    status = as_text(answer.get("status"))
    if status in _WITHOUT_ANSWER or not _has_answer(answer):
        raise report_no_answer(f"the response holds no answer (status {status})", response)
    return response


def _has_answer(answer: Mapping[str, Any]) -> bool:
    is_settled = answer.get("status") in ("completed", "incomplete")
    return is_settled or isinstance(answer.get("output"), list)


def _read_output(
    answer: Mapping[str, Any],
    *,
    request_id: str | None,
    asked_model: str,
    rates: RateReading | None,
) -> VisionResponse:
    parts = list(_list_parts(answer))
    refusal = join_texts(parts, kinds=_REFUSAL_PARTS, key="refusal")
    usage = _read_usage(as_mapping(answer.get("usage")))
    return VisionResponse(
        text=join_texts(parts, kinds=_TEXT_PARTS) or as_text(answer.get("output_text")),
        finish=FinishReason.REFUSAL if refusal else _read_finish(answer),
        usage=usage or TokenUsage(),
        usage_is_estimated=usage is None,
        model=as_text(answer.get("model")) or asked_model,
        service_tier=as_text(answer.get("service_tier")),
        refusal=refusal,
        request_id=request_id,
        rates=rates,
    )


def _list_parts(answer: Mapping[str, Any]) -> Iterator[Any]:
    for item in map(as_mapping, as_sequence(answer.get("output"))):
        # Reasoning items have parts with text too: thoughts, not the answer.
        if item.get("type", "message") == "message":
            yield from as_sequence(item.get("content"))


def _read_finish(answer: Mapping[str, Any]) -> FinishReason:
    if answer.get("status") == "completed":
        return FinishReason.STOP
    reason = as_text(as_mapping(answer.get("incomplete_details")).get("reason"))
    return _INCOMPLETE.get(reason or "", FinishReason.OTHER)


def _read_usage(usage: Mapping[str, Any]) -> TokenUsage | None:
    into = as_mapping(usage.get("input_tokens_details"))
    out_of = as_mapping(usage.get("output_tokens_details"))
    return make_usage(
        as_count(usage.get("input_tokens")),
        as_count(usage.get("output_tokens")),
        cached=as_count(into.get("cached_tokens")),
        cache_write=as_count(into.get("cache_write_tokens")),
        reasoning=as_count(out_of.get("reasoning_tokens")),
    )
