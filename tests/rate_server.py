"""A server with rate limits, and clients that ask it through a gate: all in virtual time."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from pipeline.domain.rates import Allowance, RateReading
from pipeline.limits.gate import Gate, Passage, PassageKind
from pipeline.limits.rate import RateLimits, RateModel

T = TypeVar("T")


class _VirtualSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting it moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits for something that never comes")
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_virtually(main: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(main, backend="asyncio", backend_options={"loop_factory": VirtualLoop})


@dataclass
class FixedConcurrency:
    limit: int = 64
    overloads: int = 0
    trusts_headers: bool = False

    def note_answer(self, latency_seconds: float, now: float) -> None:
        assert 0 <= latency_seconds <= now

    def note_overload(self, now: float) -> None:
        assert now >= 0
        self.overloads += 1

    def trust_headers(self) -> None:
        self.trusts_headers = True


def open_gate(limits: RateLimits | None = None, *, at_once: int = 64) -> Gate:
    return Gate(
        rate=RateModel(limits or RateLimits()),
        concurrency=FixedConcurrency(at_once),
        monotonic=anyio.current_time,
    )


@dataclass(kw_only=True)
class RateServer:
    """Two token buckets, in the manner of the vision API."""

    requests_per_second: float = 20.0
    tokens_per_second: float = 60_000.0
    depth_seconds: float = 1.0
    headers: str = "when let in"  # | "when answered" | "none"
    latency_seconds: float = 0.8
    latency_spread: float = 0.35
    refusal_seconds: float = 0.0
    random_refusals: float = 0.0
    retry_after_seconds: float | None = None
    """Told with every refusal; None: the time the bucket needs."""
    is_limited: bool = True
    charge: Callable[[int], float] = float
    """Tokens that a request of so many reserved is counted for."""
    seed: int = 1
    admitted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._filled_at = 0.0
        self.requests = self.requests_per_second * self.depth_seconds
        self.tokens = self.tokens_per_second * self.depth_seconds

    def scale(self, factor: float) -> None:
        self._refill()
        self.requests_per_second *= factor
        self.tokens_per_second *= factor
        self._refill()

    async def ask(self, tokens: int) -> Passage:
        await anyio.sleep(self._random.uniform(0.005, 0.03))
        self._refill()
        cost = self.charge(tokens)
        wait = self._find_wait(cost)
        if wait is not None:
            self.refused.append(anyio.current_time())
            rates = self._tell()
            await anyio.sleep(self.refusal_seconds)
            return Passage(
                kind=PassageKind.REFUSED,
                rates=self._tell_again(rates),
                retry_after_seconds=self.retry_after_seconds or wait,
            )
        self.requests -= 1
        self.tokens -= cost
        self.admitted.append((anyio.current_time(), cost))
        rates = self._tell()
        await anyio.sleep(
            self.latency_seconds * self._random.lognormvariate(0, self.latency_spread)
        )
        return Passage(
            kind=PassageKind.ANSWERED, rates=self._tell_again(rates), used_tokens=int(cost)
        )

    def _find_wait(self, cost: float) -> float | None:
        if self._random.random() < self.random_refusals:
            return 1.0
        if self.is_limited and (self.requests < 1 or self.tokens < cost):
            return max(
                (1 - self.requests) / self.requests_per_second,
                (cost - self.tokens) / self.tokens_per_second,
            )
        return None

    def _refill(self) -> None:
        seconds = anyio.current_time() - self._filled_at
        self._filled_at += seconds
        self.requests = min(
            self.requests + seconds * self.requests_per_second,
            self.requests_per_second * self.depth_seconds,
        )
        self.tokens = min(
            self.tokens + seconds * self.tokens_per_second,
            self.tokens_per_second * self.depth_seconds,
        )

    def _tell_again(self, rates: RateReading | None) -> RateReading | None:
        if self.headers != "when answered":
            return rates
        self._refill()
        return self._tell()

    def _tell(self) -> RateReading | None:
        if self.headers == "none":
            return None
        return RateReading(
            requests=self._tell_one(self.requests, self.requests_per_second),
            tokens=self._tell_one(self.tokens, self.tokens_per_second),
        )

    def _tell_one(self, level: float, rate: float) -> Allowance:
        reset = (rate * self.depth_seconds - level) / rate
        return Allowance(
            limit=rate * 60, remaining=max(0, round(level)), reset_seconds=round(reset, 3)
        )


@dataclass(kw_only=True)
class Story:
    """What became of a run."""

    server: RateServer
    allowed_requests: float
    allowed_tokens: float
    finished_at: float

    @property
    def share_of_allowed(self) -> float:
        """Of the measure that bound the run."""
        tokens = sum(tokens for _, tokens in self.server.admitted)
        return max(len(self.server.admitted) / self.allowed_requests, tokens / self.allowed_tokens)

    @property
    def share_refused(self) -> float:
        refused = len(self.server.refused)
        return refused / (refused + len(self.server.admitted))

    @property
    def last_admitted_at(self) -> float:
        return self.server.admitted[-1][0]

    def count_by_second(self) -> Sequence[int]:
        """Requests let in, by the second of the run."""
        counts = [0] * (int(self.last_admitted_at) + 1)
        for at, _ in self.server.admitted:
            counts[int(at)] += 1
        return counts


@dataclass(kw_only=True)
class Run:
    """So many images through some gates to one server, with what happens on the way."""

    server: RateServer
    images: int
    gates: int = 1
    limits: RateLimits | None = None
    tokens: tuple[int, int] = (1_500, 3_000)
    workers: int = 96
    shares: Sequence[float] = (1.0,)
    changes: Mapping[float, Callable[[RateServer, Sequence[Gate]], None]] = field(
        default_factory=dict
    )

    def play(self) -> Story:
        return run_virtually(self._play)

    async def _play(self) -> Story:
        chance = random.Random(self.server.seed + 1)
        waiting = deque(chance.randint(*self.tokens) for _ in range(self.images))
        gates = [open_gate(self.limits) for _ in range(self.gates)]
        self.rates = [(0.0, self.server.requests_per_second, self.server.tokens_per_second)]
        depth = self.server.depth_seconds
        for gate, share in zip(gates, self.shares, strict=True):
            gate.set_share(share)
        async with anyio.create_task_group() as changing:
            changing.start_soon(self._change, gates)
            async with anyio.create_task_group() as working:
                for index in range(self.workers * self.gates):
                    working.start_soon(self._work, gates[index % self.gates], waiting)
            changing.cancel_scope.cancel()
        assert all(gate.in_flight == 0 for gate in gates)
        end = self.server.admitted[-1][0]
        ends = [since for since, _, _ in self.rates[1:]] + [end]
        spans = [
            (until - since, requests, tokens)
            for (since, requests, tokens), until in zip(self.rates, ends, strict=True)
        ]
        return Story(
            server=self.server,
            allowed_requests=depth * self.rates[0][1] + sum(s * r for s, r, _ in spans),
            allowed_tokens=depth * self.rates[0][2] + sum(s * t for s, _, t in spans),
            finished_at=anyio.current_time(),
        )

    async def _change(self, gates: Sequence[Gate]) -> None:
        for at, change in sorted(self.changes.items()):
            await anyio.sleep_until(at)
            change(self.server, gates)
            server = self.server
            self.rates.append((at, server.requests_per_second, server.tokens_per_second))

    async def _work(self, gate: Gate, waiting: deque[int]) -> None:
        while waiting:
            tokens = waiting.popleft()
            while not await self._ask(gate, tokens):
                pass

    async def _ask(self, gate: Gate, tokens: int) -> bool:
        passed = await gate.enter(tokens)
        assert passed is not None
        gate.note_sent(passed)
        passage = await self.server.ask(tokens)
        gate.leave(passed, passage)
        if passage.kind is PassageKind.REFUSED:
            await anyio.sleep(passage.retry_after_seconds or 1.0)
        return passage.kind is PassageKind.ANSWERED
