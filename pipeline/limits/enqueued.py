"""How many tokens may wait at the server in batches: configured, or learned from refusals.

OpenAI takes a batch first and refuses it afterwards (``failed``, ``token_limit_exceeded``), with
the limit in its words (guide "Batch API", "Rate limits", 2026-06).
"""

import re
from collections.abc import Mapping
from typing import Final

_NAMED: Final = re.compile(r"limit:?\s*([\d,_.]*\d)\s*enqueued", re.IGNORECASE)
_AT_ONCE: Final = 4
"""Batches that share what may wait at the server."""
_FIRST_WAIT_SECONDS: Final = 15.0
_LONGEST_WAIT_SECONDS: Final = 600.0


class EnqueuedTokens:
    """What waits at the server of each batch, and how much may.

    Args:
        limit: tokens; None where only the server knows.
        first_wait_seconds: after a refusal; doubles with each in a row.
    """

    def __init__(
        self, limit: int | None = None, *, first_wait_seconds: float = _FIRST_WAIT_SECONDS
    ) -> None:
        self.limit = limit
        self._first_wait_seconds = min(first_wait_seconds, _FIRST_WAIT_SECONDS)
        self._waiting: dict[int, int] = {}
        self._refusals = 0
        self._is_guess = False

    @property
    def total(self) -> int:
        return sum(self._waiting.values())

    @property
    def waiting(self) -> Mapping[int, int]:
        """Tokens by batch."""
        return self._waiting

    def has_room(self, tokens: int) -> bool:
        """Whether a batch of so many tokens may be submitted; alone, it may always try."""
        return self.limit is None or not self._waiting or self.total + tokens <= self.limit

    def enter(self, batch: int, tokens: int) -> None:
        """The server was told of a batch."""
        self._waiting[batch] = tokens

    def leave(self, batch: int) -> None:
        """A batch is over: what others were refused for may fit now."""
        if self._waiting.pop(batch, None) is not None:
            self._refusals = 0
            if self._is_guess and self.limit is not None:
                self.limit *= 2  # others may have filled what we took for ours

    def note_refusal(
        self, batch: int, tokens: int, message: str, *, is_smallest: bool = False
    ) -> float:
        """A batch was one too many; return the seconds after which it is worth another try.

        Args:
            batch: that was refused.
            tokens: it has.
            message: the server's words.
            is_smallest: it cannot be split: if it is alone, others fill the server.
        """
        self._waiting.pop(batch, None)
        named = read_limit(message)
        self._is_guess = named is None and not self._waiting
        if named is not None:
            self.limit = named
        elif self._waiting:
            # it fitted without the one that was refused
            self.limit = max(self.total, 1)
        else:
            self.limit = tokens if is_smallest else max(tokens // 2, 1)
        wait = min(_LONGEST_WAIT_SECONDS, self._first_wait_seconds * 2.0 ** min(self._refusals, 10))
        self._refusals += 1
        return wait if is_smallest or tokens <= (self.limit or tokens) else 0.0

    def choose_size(self) -> int | None:
        """Tokens of one batch, so that the next can wait while others are worked on."""
        return None if self.limit is None else max(1, self.limit // _AT_ONCE)

    def is_too_large(self, tokens: int) -> bool:
        """Whether a batch cannot fit, however empty the server is."""
        return self.limit is not None and tokens > self.limit and not self._waiting


def read_limit(message: str) -> int | None:
    """The limit that a refusal names; None when it names none."""
    found = _NAMED.search(message)
    if found is None:
        return None
    return int(re.sub(r"\D", "", found[1])) or None
