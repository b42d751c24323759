"""Shares the allowed rate with other processes that use the same key on the same ledger."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

import anyio

from pipeline.domain.errors import EnvironmentFault
from pipeline.engine.progress import Tally
from pipeline.engine.routes import Route
from pipeline.engine.stages import Clock
from pipeline.ledger.pacing import Pacers
from pipeline.limits.gate import Gate, Obstacle
from pipeline.limits.shares import Demand, apportion

_log = logging.getLogger(__name__)

_BEAT_SECONDS: Final = 0.5
_SHARED_BEAT_SECONDS: Final = 0.25
"""Where others are at work: what one no longer needs is lost until the others hear of it."""
_MAKE_ROOM_SECONDS: Final = 0.7
"""What others get to notice us before we send the first request."""


class Pacing:
    """Tells others what we use and takes our share of what there is."""

    def __init__(self, pacers: Pacers, routes: Sequence[Route], clock: Clock, tally: Tally) -> None:
        self._pacers = pacers
        self._tally = tally
        self._gates = {route.account: route.gate for route in routes if route.account}
        self._clock = clock

    async def begin(self) -> None:
        """Take our place; where others are at work, give them time to make room."""
        if self._gates and await self._share():
            await anyio.sleep(_MAKE_ROOM_SECONDS)
            await self._share()

    async def keep(self) -> None:
        """Keep the shares true until cancelled."""
        is_shared = False
        while self._gates:
            await anyio.sleep(_SHARED_BEAT_SECONDS if is_shared else _BEAT_SECONDS)
            is_shared = await self._share()
            self._tally.waits_for = describe_wait([*self._gates.values()])

    async def end(self) -> None:
        """Leave our share to the others at once."""
        if self._gates:
            try:
                await self._pacers.leave()
            except EnvironmentFault as fault:  # they notice by themselves, a little later
                _log.info("pacing.left_late", extra={"why": str(fault)})

    async def _share(self) -> bool:
        """Whether anybody else uses one of our keys."""
        demands = {account: gate.demand() for account, gate in self._gates.items()}
        try:
            others = await self._announce(demands)
        except EnvironmentFault as fault:
            # nothing can be sent while the ledger is away; the shares stay as they are
            _log.info("pacing.kept", extra={"why": str(fault)})
            return False
        for account, gate in self._gates.items():
            gate.set_share(apportion(demands[account], others.get(account, ())))
        return any(others.values())

    async def _announce(self, demands: Mapping[str, Demand]) -> Mapping[str, Sequence[Demand]]:
        told = {
            account: (demand.use_per_second, demand.is_hungry)
            for account, demand in demands.items()
        }
        found = await self._pacers.announce(told, now_ms=self._clock.now_ms())
        return {
            account: [Demand(use_per_second=use, is_hungry=hungry) for use, hungry in rows]
            for account, rows in found.items()
        }


def describe_wait(gates: Sequence[Gate]) -> str:
    """What keeps the requests that wait from being sent; nothing when none has to wait."""
    standings = [gate.describe() for gate in gates]
    waiting = [standing for standing in standings if standing.waiting]
    if len(waiting) < len(standings):
        return ""
    first = min(waiting, key=lambda standing: standing.wait_seconds)
    if first.obstacle is Obstacle.HOLD:
        return f"the server asks to wait {math.ceil(first.wait_seconds):,} s"
    return "at the rate limit" if first.obstacle is Obstacle.RATE else ""
