"""The server's clock: what hour it is for the API, and waiting until another."""

import math
import time
from collections.abc import Callable
from typing import Final

import anyio

_NAP_SECONDS: Final = 0.005


class Calendar:
    """Tells times of ``clock``, in seconds, as the API tells them: in seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._epoch = time.time() - clock()
        # the clock of a test moves in leaps that nobody announces
        self._longest_nap = math.inf if clock is time.monotonic else _NAP_SECONDS

    def now(self) -> float:
        return self._clock()

    def tell(self, moment: float | None) -> int | None:
        """Whole seconds since 1970."""
        return None if moment is None else int(self._epoch + moment)

    async def sleep_until(self, moment: float, *, unless: anyio.Event | None = None) -> None:
        """Return at the moment, or as soon as ``unless`` is set."""
        call = unless or anyio.Event()
        while not call.is_set() and (left := moment - self.now()) > 0:
            with anyio.move_on_after(min(left, self._longest_nap)):
                await call.wait()
