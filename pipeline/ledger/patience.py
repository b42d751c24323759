"""Waiting for a ledger that is away: locked, restarting, or without room."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio

from pipeline.domain.errors import LedgerAway, LedgerStaysAway

T = TypeVar("T")
P = ParamSpec("P")

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Patience:
    """How long a run waits for its ledger; one outage for all who wait.

    A disk that is full can be read: only what is written ends an outage of writing.

    Args:
        seconds: how long the ledger may be away before the run gives up; 0 gives up at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._away_since: dict[bool, float] = {}
        """Since when writing (True) and reading (False) fail."""
        self._is_told = False
        self._lost: LedgerStaysAway | None = None

    async def insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work``, again and again while the ledger is away. It must bear repetition.

        Raises:
            LedgerStaysAway: it was away for too long; from then on nothing is tried any more.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self._lost is not None:
                raise LedgerStaysAway(str(self._lost))
            try:
                return await work()
            except LedgerAway as fault:
                self._note_absence(fault)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def end(self) -> None:
        """Wait no longer than for the try under way."""
        self._seconds = 0.0

    def note_presence(self, *, is_writing: bool) -> None:
        """The ledger was read, or written."""
        if not self._away_since:
            return
        now = anyio.current_time()
        away = now - min(self._away_since.values())
        self._away_since.pop(False, None)
        if is_writing:
            self._away_since.clear()
        if self._is_told and not self._away_since:
            self._is_told = False
            _log.warning("ledger.back", extra={"after_s": round(away, 1)})

    def _note_absence(self, fault: LedgerAway) -> None:
        now = anyio.current_time()
        since = self._away_since.setdefault(fault.is_writing, now)
        if since != now and not self._is_told:  # once may be a deadlock, which is over by now
            self._is_told = True
            _log.warning("ledger.away", extra={"said": str(fault), "waits_s": self._seconds})
        if now - since >= self._seconds:
            self._lost = LedgerStaysAway(
                f"{fault} (and has for {now - since:.0f} s): see to it, then run the same command "
                "again; what was settled is safe"
            )
            raise self._lost from fault


class _HasPatience(Protocol):
    patience: Patience


class _Keeper(Protocol):
    """A part of the ledger that works on a database."""

    @property
    def _database(self) -> _HasPatience: ...


K = TypeVar("K", bound=_Keeper)


def patient(
    method: Callable[Concatenate[K, P], Awaitable[T]],
) -> Callable[Concatenate[K, P], Coroutine[Any, Any, T]]:
    """A method that waits for an absent ledger; it must bear repetition."""

    @wraps(method)
    async def insisting(self: K, /, *args: P.args, **given: P.kwargs) -> T:
        return await self._database.patience.insist(lambda: method(self, *args, **given))

    return insisting
