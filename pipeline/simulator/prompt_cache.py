"""Which input tokens were read from the prompt cache and which were written to it."""

import hashlib
from dataclasses import dataclass
from typing import Final

from pipeline.costs.models import ModelSpec

LEAST_TOKENS: Final = 1024
"""A shorter prefix is never cached (prompt caching guide, 2026-09)."""
_BLOCK_TOKENS: Final = 128
"""Models without a price for writing report what they read in multiples of this."""
_WRITTEN_SECONDS: Final = 30 * 60
_UNWRITTEN_SECONDS: Final = 10 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The beginning of a request that others share."""

    digest: bytes
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheWish:
    """What a request asks of the cache."""

    key: str = ""
    is_explicit: bool = False
    """Nothing is cached but what ends at a breakpoint."""
    prefix: Prefix | None = None
    """Up to the last breakpoint if explicit, else the instructions and the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """Tokens of one request's input."""

    cached: int = 0
    written: int = 0


def sells_writes(spec: ModelSpec) -> bool:
    """Whether the model has a price for writing to the cache, and the parameters that steer it."""
    rates = spec.prices.standard if spec.prices else None
    return rates is not None and rates.cache_write != rates.input


def make_prefix(words: list[str], schema: bytes, *, tokens: int) -> Prefix:
    """Name a prefix by what it is made of."""
    digest = hashlib.sha256(schema)
    for word in words:
        digest.update(b"\0" + word.encode(errors="replace"))
    return Prefix(digest=digest.digest(), tokens=tokens)


class PromptCache:
    """Prefixes by owner: API key, model and cache key. Used on one event loop."""

    def __init__(self) -> None:
        self._last_use: dict[tuple[str, str, str, bytes], float] = {}

    def use(
        self,
        wish: CacheWish,
        *,
        owner: tuple[str, str],
        spec: ModelSpec,
        input_tokens: int,
        now: float,
    ) -> CacheUse:
        """Read what is known, remember what is not; ``now`` is in seconds.

        Args:
            wish: what the request asks of the cache.
            owner: API key and model.
            spec: whether it pays for writing decides what is cached.
            input_tokens: of the whole request.
            now: for what is forgotten after a while.
        """
        has_writes = sells_writes(spec)
        lifetime = _WRITTEN_SECONDS if has_writes else _UNWRITTEN_SECONDS
        prefix = wish.prefix
        tokens = prefix.tokens if prefix and prefix.tokens >= LEAST_TOKENS else 0
        is_known = bool(prefix and tokens) and self._touch(
            (*owner, wish.key, prefix.digest if prefix else b""), now, lifetime
        )
        if not has_writes:
            return CacheUse(cached=tokens // _BLOCK_TOKENS * _BLOCK_TOKENS if is_known else 0)
        cached = tokens if is_known else 0
        if wish.is_explicit:
            return CacheUse(cached=cached, written=tokens - cached)
        # what follows the shared prefix is written too, though nobody will ever read it
        written = input_tokens - cached if input_tokens >= LEAST_TOKENS else 0
        return CacheUse(cached=cached, written=written)

    def _touch(self, name: tuple[str, str, str, bytes], now: float, lifetime: float) -> bool:
        last = self._last_use.get(name)
        self._last_use[name] = now
        return last is not None and now - last <= lifetime
