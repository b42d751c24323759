"""A vision server in virtual time: how long it takes depends on how much it has to do at once.

Nothing sleeps. A client keeps as many requests in flight as its limit says and hands in every
answer; what comes out is how many were answered, and what the limit was, over time.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol


class Limit(Protocol):
    @property
    def limit(self) -> int: ...

    def note_answer(self, latency_seconds: float, now: float) -> None: ...

    def note_overload(self, now: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Latency is ``base * max(1, in_flight / at_once) ** power``, times lognormal noise."""

    at_once: Callable[[float], float]
    base_seconds: Callable[[float], float] = lambda _: 1.0
    power: float = 1.0
    sigma: float = 0.3
    shares: bool = True
    """All in flight slow down together, as in a batch; else each by what it met when it came."""
    refuses_above: int | None = None
    """More in flight than this are refused at once as too many."""

    def slowness(self, in_flight: int, now: float) -> float:
        return max(1.0, in_flight / self.at_once(now)) ** self.power


@dataclass(slots=True)
class Story:
    """What happened."""

    answers: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    refusals: int = 0

    def rate(self, since: float, until: float) -> float:
        """Answers a second."""
        return sum(since <= at < until for at in self.answers) / (until - since)

    def mean_limit(self, since: float, until: float) -> float:
        """Averaged over time."""
        ends = [*(at for at, _ in self.limits[1:]), until]
        total = sum(
            limit * max(0.0, min(end, until) - max(start, since))
            for (start, limit), end in zip(self.limits, ends, strict=True)
        )
        return total / (until - since)

    def limits_between(self, since: float, until: float) -> list[int]:
        return [limit for at, limit in self.limits if since <= at < until]


def play(server: Server, limit: Limit, *, seconds: float, seed: int, users: int = 10**9) -> Story:
    """Ask without end for so many seconds; ``users`` bounds what the client wants at once."""
    chance, story = Random(seed), Story()
    flying: list[tuple[float, float]] = []  # work at which it is done, when it was sent
    now = work = 0.0
    while now < seconds:
        wanted = min(limit.limit, users)
        while len(flying) < wanted:
            if server.refuses_above is not None and len(flying) >= server.refuses_above:
                story.refusals += 1
                limit.note_overload(now)
                break
            noise = math.exp(chance.gauss(0, server.sigma) - server.sigma**2 / 2)
            amount = server.base_seconds(now) * noise
            if not server.shares:
                amount *= server.slowness(len(flying) + 1, now)
            heapq.heappush(flying, (work + amount, now))
        slowness = server.slowness(len(flying), now) if server.shares else 1.0
        done, sent = heapq.heappop(flying)
        now += (done - work) * slowness
        work = done
        story.answers.append(now)
        limit.note_answer(now - sent, now)
        if not story.limits or story.limits[-1][1] != limit.limit:
            story.limits.append((now, limit.limit))
    return story
