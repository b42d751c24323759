"""Cuts requests that hang, so that neither a slot nor the end of a run waits for them."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

from pipeline.domain.jobs import JobId
from pipeline.engine.routes import Route

_LOOK_SECONDS: Final = 0.5
_MORE_TIME: Final = 3
"""So many times longer may each further try for one image take, after one that was cut."""
_FEW: Final = 8
"""An eighth of what was under way with it: the others have been answered."""


@dataclass(frozen=True, slots=True)
class _Request:
    began: float
    """Seconds."""
    mark: int
    """So many answers can have come to requests that were sent before."""
    peers: int
    """Requests under way when it was sent, itself included."""
    cuts: int
    """Of requests for the same image, made before."""


@dataclass(slots=True)
class _Traffic:
    """What is under way by one route."""

    under_way: dict[anyio.CancelScope, _Request] = field(default_factory=dict)
    answered: int = 0

    def add(self, scope: anyio.CancelScope, now: float, cuts: int) -> None:
        before = len(self.under_way)
        self.under_way[scope] = _Request(now, self.answered + before, before + 1, cuts)

    def is_left_behind(self, request: _Request) -> bool:
        """Whether it is the request that hangs, and not the server that stalls.

        As many as were under way with it were sent after it, and answered; or nearly all that
        was under way is over.
        """
        overtaken = self.answered - request.mark
        return overtaken >= request.peers or len(self.under_way) * _FEW <= request.peers


class Stragglers:
    """Watches all requests of a run. ``keep`` must be running while requests are watched."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._traffic: dict[Route, _Traffic] = {}
        self._cuts: Counter[JobId] = Counter()

    @contextmanager
    def watch(self, route: Route, job: JobId) -> Iterator[anyio.CancelScope]:
        """A scope that is cancelled when its request takes too long.

        The scope's ``cancelled_caught`` tells. Left without it, the request was answered. An
        image whose request was cut gets more time: it may be one that takes long.
        """
        began = self._monotonic()
        traffic = self._traffic.setdefault(route, _Traffic())
        with anyio.CancelScope() as scope:
            traffic.add(scope, began, self._cuts[job])
            try:
                yield scope
                traffic.answered += 1
                route.deadline.note(self._monotonic() - began)
            finally:
                del traffic.under_way[scope]
        if scope.cancelled_caught:
            self._cuts[job] += 1

    async def keep(self) -> None:
        """Look after them until cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            self.cut()

    def cut(self) -> None:
        """Cancel whatever has taken too long by now."""
        now = self._monotonic()
        for route, traffic in self._traffic.items():
            patience, most = route.deadline.seconds, route.deadline.most_seconds
            for scope, request in traffic.under_way.items():
                time = min(most, patience * _MORE_TIME**request.cuts)
                if not traffic.is_left_behind(request):
                    time = most
                if now - request.began >= time:
                    scope.cancel()
