"""Cuts requests that hang, so that neither a slot nor the end of a run waits for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from pipeline.engine.routes import Route

_LOOK_SECONDS: Final = 0.5
_FEW: Final = 8
"""Fewer than an eighth of the most that was under way: the others have been answered."""


@dataclass(slots=True)
class _Traffic:
    """What is under way by one route."""

    under_way: dict[anyio.CancelScope, float]
    """Since when, seconds."""
    heard_at: float
    most: int = 0

    def is_stalled(self, now: float, patience: float) -> bool:
        """Whether nobody has been answered for long: then none of them is a straggler."""
        is_many = len(self.under_way) * _FEW > self.most
        return is_many and now - self.heard_at > patience / 2


class Stragglers:
    """Watches all requests of a run. ``keep`` must be running while requests are watched."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._traffic: dict[Route, _Traffic] = {}

    @contextmanager
    def watch(self, route: Route) -> Iterator[anyio.CancelScope]:
        """A scope that is cancelled when its request takes too long.

        The scope's ``cancelled_caught`` tells. Left without it, the request was answered.
        """
        began = self._monotonic()
        traffic = self._traffic.setdefault(route, _Traffic({}, began))
        with anyio.CancelScope() as scope:
            traffic.under_way[scope] = began
            traffic.most = max(traffic.most, len(traffic.under_way))
            try:
                yield scope
                traffic.heard_at = self._monotonic()
                route.deadline.note(traffic.heard_at - began)
            finally:
                del traffic.under_way[scope]
        if scope.cancelled_caught:
            route.deadline.note(self._monotonic() - began)

    async def keep(self) -> None:
        """Look after them until cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            self.cut()

    def cut(self) -> None:
        """Cancel whatever has taken too long by now."""
        now = self._monotonic()
        for route, traffic in self._traffic.items():
            patience = route.deadline.seconds
            if traffic.is_stalled(now, patience):
                patience = route.deadline.most_seconds
            for scope, began in traffic.under_way.items():
                if now - began >= patience:
                    scope.cancel()
