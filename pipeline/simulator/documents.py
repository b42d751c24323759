"""Answers as the two APIs write them; every key the official SDK requires is there."""

from typing import Any, Final

from pipeline.simulator.reading import Api
from pipeline.simulator.replying import Reply

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Endings as the Responses API names them."""
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats from its request, with the API's defaults."""


def make_document(reply: Reply, *, number: int, created: int) -> dict[str, Any]:
    """Write the answer as the API that was asked writes it.

    Args:
        reply: what is said.
        number: unique, for the ids.
        created: seconds since 1970.
    """
    if reply.thought.asked.api is Api.CHAT:
        return _make_chat(reply, number=number, created=created)
    return _make_response(reply, number=number, created=created)


def _make_chat(reply: Reply, *, number: int, created: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number:024x}",
        "object": "chat.completion",
        "created": created,
        "model": reply.lane.model,
        "choices": [] if reply.is_void else [_make_choice(reply)],
        "usage": _make_chat_usage(reply),
        "service_tier": reply.lane.told_tier,
        "system_fingerprint": "fp_simulator",
    }


def _make_choice(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if reply.is_refusal else reply.text,
        "refusal": reply.text if reply.is_refusal else None,
        "annotations": [],
    }
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.ending}


def _make_chat_usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
            "image_tokens": reply.thought.image_tokens,
            "text_tokens": reply.thought.text_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _make_response(reply: Reply, *, number: int, created: int) -> dict[str, Any]:
    asked = reply.thought.asked
    reason = _INCOMPLETE.get(reply.ending)
    status = "incomplete" if reason else "completed"
    reasoning = asked.document.get("reasoning") or {}
    caching = asked.document.get("prompt_cache_options")
    echoed = {
        key: default if asked.document.get(key) is None else asked.document[key]
        for key, default in _ECHOED.items()
    }
    return {
        "id": f"resp_{number:024x}",
        "object": "response",
        "created_at": created,
        "completed_at": None if reason else created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": reply.lane.model,
        "output": [] if reply.is_void else [_make_output(reply, number=number, status=status)],
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"} | caching if caching else None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "service_tier": reply.lane.told_tier,
        "store": asked.document.get("store", True),
        "text": {"format": {"type": "text"}, "verbosity": "medium"}
        | (asked.document.get("text") or {}),
        "usage": _make_response_usage(reply),
        **echoed,
    }


def _make_output(reply: Reply, *, number: int, status: str) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": reply.text}
    part |= {"annotations": [], "logprobs": []}
    if reply.is_refusal:
        part = {"type": "refusal", "refusal": reply.text}
    return {
        "id": f"msg_{number:024x}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


def _make_response_usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
