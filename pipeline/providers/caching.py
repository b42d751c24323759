"""How the words that all requests share are kept by the server: chosen, and put on the wire."""

from typing import Any, Final, Literal

from pipeline.costs.estimate import estimate_prefix_tokens
from pipeline.costs.models import ModelSpec
from pipeline.domain.vision import PromptCaching, Question
from pipeline.providers.endpoint import is_azure_host, is_openai_host

_LEAST_CACHED_TOKENS: Final = 1024
"""Shorter prefixes are never kept (OpenAI's guide "Prompt caching", 2026-09)."""
_FINGERPRINT_DIGITS: Final = 16
_EXPLICIT: Final = {"mode": "explicit"}


def choose_caching(
    spec: ModelSpec | None,
    question: Question,
    *,
    host: str,
    setting: Literal["auto", "always", "never"],
) -> PromptCaching:
    """The way that costs least with this model.

    Models that bill what is written to the cache write each request's picture too, unless they are
    told where the shared words end, or that nothing is to be written.

    Args:
        spec: the model; None when it is unknown.
        question: what every request shares.
        host: of the server; compatible ones are told nothing unless the setting is ``on``.
        setting: ``provider.prompt_cache``.
    """
    is_known_host = is_openai_host(host) or is_azure_host(host)
    if setting == "never" or not (is_known_host or setting == "always"):
        return PromptCaching.NONE
    if spec is None:
        # Some models refuse the keys of others; a key by itself is the least that "on" can mean.
        return PromptCaching.KEYED if setting == "always" else PromptCaching.NONE
    if spec.caching is not PromptCaching.MARKED:
        return spec.caching
    is_kept = estimate_prefix_tokens(question) >= _LEAST_CACHED_TOKENS
    return PromptCaching.MARKED if is_kept else PromptCaching.OFF


def make_cache_options(question: Question) -> dict[str, Any]:
    """The request's keys about caching, the same in both APIs."""
    options: dict[str, Any] = {}
    if question.caching in {PromptCaching.KEYED, PromptCaching.MARKED}:
        options["prompt_cache_key"] = f"tagpipe-{question.fingerprint[:_FINGERPRINT_DIGITS]}"
    if question.caching in {PromptCaching.MARKED, PromptCaching.OFF}:
        options["prompt_cache_options"] = _EXPLICIT
    return options


def mark_shared_end(part: dict[str, Any], question: Question) -> dict[str, Any]:
    """The last part of the shared words, with the mark after it where the question has one."""
    if question.caching is not PromptCaching.MARKED:
        return part
    return {**part, "prompt_cache_breakpoint": _EXPLICIT}
