"""Chat Completions on the wire: how a question is put, how an answer is read."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pipeline.config.settings import ProviderSettings
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.rates import RateReading
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import (
    Detail,
    FinishReason,
    PromptCaching,
    Question,
    Repair,
    ServiceTier,
    VisionResponse,
)
from pipeline.providers.caching import make_cache_options, mark_shared_end
from pipeline.providers.endpoint import is_azure_host, is_openai_host
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

CHAT_PATH: Final = "chat/completions"
_FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_TEXT_PARTS: Final = frozenset({"text", "output_text"})
_REFUSAL_PARTS: Final = frozenset({"refusal"})


def frame_chat_request(
    question: Question, tier: ServiceTier, *, settings: ProviderSettings, host: str
) -> RequestFrame:
    """Everything of a request but the picture; what is stable first, so that it can be cached.

    Raises:
        ConfigurationError: ``detail: original``, which only the Responses API takes.
    """
    check_chat_detail(question)
    image_url = {"url": IMAGE_SLOT}
    if settings.send_detail:
        image_url["detail"] = question.detail.value
    content = [NOTE_SLOT, {"type": "image_url", "image_url": image_url}]
    document = _make_document(question, tier, content, settings=settings, host=host)
    return RequestFrame.cut(document, note_part={"type": "text", "text": NOTE_SLOT})


def write_chat_repair(
    question: Question,
    tier: ServiceTier,
    repair: Repair,
    *,
    settings: ProviderSettings,
    host: str,
) -> bytes:
    """A request to put an answer right: all that is stable as ever, and words for the picture."""
    content = [{"type": "text", "text": write_repair(repair)}]
    return orjson.dumps(_make_document(question, tier, content, settings=settings, host=host))


def _make_document(
    question: Question,
    tier: ServiceTier,
    content: list[Any],
    *,
    settings: ProviderSettings,
    host: str,
) -> dict[str, Any]:
    return {
        "model": question.model,
        **_make_options(question, tier, settings=settings, host=host),
        "messages": [
            {"role": "system", "content": _make_instructions(question, settings)},
            {"role": "user", "content": content},
        ],
    }


def _make_instructions(question: Question, settings: ProviderSettings) -> str | list[Any]:
    text = write_instructions(question, settings)
    if question.caching is not PromptCaching.MARKED:
        return text  # every compatible server takes a plain text, and not all take parts here
    return [mark_shared_end({"type": "text", "text": text}, question)]


def check_chat_detail(question: Question) -> None:
    """Refuse what only the Responses API can do.

    Raises:
        ConfigurationError: ``detail: original``.
    """
    if question.detail is Detail.ORIGINAL:
        raise ConfigurationError(
            "provider.api is chat, but the profile asks for detail: original, which only the "
            "Responses API takes: set provider.api: responses, or detail: high"
        )


def _make_options(
    question: Question, tier: ServiceTier, *, settings: ProviderSettings, host: str
) -> dict[str, Any]:
    options: dict[str, Any] = {
        name_output_limit(settings, host): question.max_output_tokens,
        "temperature": settings.temperature,
        "reasoning_effort": settings.reasoning_effort,
        "service_tier": name_tier(tier),
        "response_format": _nest_format(make_format(question, settings)),
        # Only these two keep answers, and strict servers (Gemini's) reject a key they do not know.
        "store": False if is_openai_host(host) or is_azure_host(host) else None,
        "stream": False,
        **make_cache_options(question),
    }
    return {key: value for key, value in options.items() if value is not None}


def name_output_limit(settings: ProviderSettings, host: str) -> str:
    """Which key limits the output, by ``provider.output_limit`` or else by the host.

    OpenAI's reasoning models (Azure's too) refuse ``max_tokens`` and all its models take the new
    name; other servers know the old one, and some ignore the new one in silence, which would leave
    the answer's price without a limit.
    """
    if settings.output_limit != "auto":
        return settings.output_limit
    return "max_completion_tokens" if is_openai_host(host) or is_azure_host(host) else "max_tokens"


def _nest_format(form: dict[str, Any] | None) -> dict[str, Any] | None:
    """Chat Completions has what describes the schema one level deeper."""
    match form:
        case {"type": "json_schema" as kind, **described}:
            return {"type": kind, kind: described}
        case _:
            return form


def read_chat_answer(
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
        PipelineError: it reports an error after all, or holds no answer.
    """
    answer = as_mapping(document)
    choice = as_mapping(next(iter(as_sequence(answer.get("choices"))), None))
    response = _read_choice(
        answer, choice, request_id=request_id, asked_model=asked_model, rates=rates
    )
    for reported in (answer.get("error"), choice.get("error")):
        if reported:
            raise classify_reported(reported, request_id=request_id, response=keep_billed(response))
    if not choice:
        raise report_no_answer("the answer holds no choice", response)
    return response


def _read_choice(
    answer: Mapping[str, Any],
    choice: Mapping[str, Any],
    *,
    request_id: str | None,
    asked_model: str,
    rates: RateReading | None,
) -> VisionResponse:
    message = as_mapping(choice.get("message"))
    content = message.get("content")
    refusal = as_text(message.get("refusal")) or join_texts(
        content, kinds=_REFUSAL_PARTS, key="refusal"
    )
    usage = _read_usage(as_mapping(answer.get("usage")))
    return VisionResponse(
        text=as_text(content) or join_texts(content, kinds=_TEXT_PARTS),
        finish=FinishReason.REFUSAL if refusal else _read_finish(choice.get("finish_reason")),
        usage=usage or TokenUsage(),
        usage_is_estimated=usage is None,
        model=as_text(answer.get("model")) or asked_model,
        service_tier=as_text(answer.get("service_tier")),
        refusal=refusal,
        request_id=request_id,
        rates=rates,
    )


def _read_finish(reason: Any) -> FinishReason:
    # Azure has shown it as an object with the reason as its type.
    word = as_text(reason) or as_text(as_mapping(reason).get("type"))
    return _FINISH.get(word or "", FinishReason.OTHER)


def _read_usage(usage: Mapping[str, Any]) -> TokenUsage | None:
    into = as_mapping(usage.get("prompt_tokens_details"))
    out_of = as_mapping(usage.get("completion_tokens_details"))
    return make_usage(
        as_count(usage.get("prompt_tokens")),
        as_count(usage.get("completion_tokens")),
        cached=as_count(into.get("cached_tokens")),
        cache_write=as_count(into.get("cache_write_tokens")),
        reasoning=as_count(out_of.get("reasoning_tokens")),
    )
