"""Who may send now? The one place all requests to one endpoint, key and model pass."""

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from pipeline.domain.rates import RateReading
from pipeline.limits.rate import RateModel, Ticket, find_exhausted, has_plenty
from pipeline.limits.refusals import RefusalJudge
from pipeline.limits.send_meter import SendMeter
from pipeline.limits.shares import Demand

_BLIND = 4
"""Requests inside before the first answer: a wrong key shows itself before sixty are out."""
_HUNGER_SECONDS = 0.5
_FIRST_HOLD_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 60.0
"""The bounds of a hold whose length the server does not say."""
_DOUBTS = 3
"""Holds that leave the concurrency alone while nothing tells a limit from chance: a cut is slow to
mend, a hold is not."""
_OUT_OF_BREATH = 8
"""Overloads in a row without an answer; beyond them, each further one doubles the pause."""
_BREATHLESS_SECONDS = 1.0
"""A server that has too much to do has it still for so long."""
_SMOOTH = 0.05
"""Weight of one answer in the usual round trip."""
_TIMER_SECONDS = 1e-4
"""To wake earlier by less than that is not worth a new timer."""


class Concurrency(Protocol):
    """How many may be inside at once; it finds that out from what happens to them."""

    @property
    def limit(self) -> int:
        """At least 1."""
        ...

    def note_answer(self, latency_seconds: float, now: float) -> None: ...

    def note_overload(self, now: float) -> None: ...

    def trust_headers(self) -> None:
        """The server tells its limits: how long answers take need not tell them."""
        ...


class PassageKind(enum.Enum):
    """How a request came out of it, as far as the rate is concerned."""

    ANSWERED = "answered"
    REFUSED = "refused"  # 429
    SLOW_DOWN = "slow_down"  # 429 for too sudden a rise
    OVERLOADED = "overloaded"  # 503, or reset under load
    FAILED = "failed"  # anything else


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What an answer, or the lack of one, says of the rate."""

    kind: PassageKind
    rates: RateReading | None = None
    retry_after_seconds: float | None = None
    used_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """The right to send one request, until it is given back or left with."""

    ticket: Ticket


class Obstacle(enum.Enum):
    """What one more request would wait for."""

    NOTHING = "nothing"
    HOLD = "hold"  # the server refused, and said for how long
    RATE = "rate"
    CONCURRENCY = "concurrency"
    FIRST_ANSWER = "first_answer"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one more request would stand."""

    obstacle: Obstacle
    wait_seconds: float
    """At least; 0 where only an answer can end the wait, infinite when closed."""
    waiting: int


class _Doubt:
    """A hold that ends as soon as what was refused turns out to be single requests."""

    def __init__(self, judge: RefusalJudge) -> None:
        self._judge = judge
        self._doubts = 0
        self._doubted_at = -math.inf
        self.until = -math.inf

    @property
    def is_over(self) -> bool:
        """Whether the refusals are taken for a limit for good, which lowers the concurrency."""
        return self._judge.has_verdict or self._doubts > _DOUBTS

    def note_let_through(self, ticket: Ticket) -> None:
        self._judge.note_let_through(ticket.sequence, ticket.sent_at)
        if self._judge.is_sporadic:
            self.until = -math.inf

    def note_refused(self, ticket: Ticket, now: float, *, hold: float, shadow: float) -> bool:
        """Hold everybody for so long unless refusals are sporadic; whether they are.

        Args:
            ticket: of the refused request.
            now: seconds.
            hold: seconds.
            shadow: seconds for which nothing else would be let through, if it is a limit.
        """
        self._judge.note_refused(ticket.sequence, ticket.sent_at, now + shadow)
        if self._judge.is_sporadic:
            return True
        self.until = max(self.until, now + hold)
        if ticket.sent_at > self._doubted_at:
            self._doubts, self._doubted_at = self._doubts + 1, now
        return False


@dataclass(slots=True, eq=False)
class _Waiter:
    tokens: int
    changed: anyio.Event = field(default_factory=anyio.Event)
    passed: Pass | None = None
    is_sent_away: bool = False
    due_at: float = math.inf


class Gate:
    """Lets requests in, in the order they came, as fast as rate and concurrency allow.

    Args:
        rate: the model of the server's limits.
        concurrency: how many may be inside at once.
        monotonic: seconds that do not go back.
    """

    def __init__(
        self, *, rate: RateModel, concurrency: Concurrency, monotonic: Callable[[], float]
    ) -> None:
        self._rate = rate
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._line: deque[_Waiter] = deque()
        self._inside = 0
        self._is_closed = False
        self._has_answered = False
        self._held_until = -math.inf
        self._last_hunger = -math.inf
        self._is_told = False
        self._guesses = self._unheard = 0
        self._round_trip = 0.0
        self._guessed_at = -math.inf
        self._refusals = _Doubt(RefusalJudge())
        # A server that is short of breath lets most through, too: that bar is higher.
        self._overloads = _Doubt(RefusalJudge(least_samples=20, least_share=0.9))
        self._meter = SendMeter()

    @property
    def in_flight(self) -> int:
        """Requests that were let in and are not over."""
        return self._inside

    @property
    def held_until(self) -> float | None:
        """When the server's refusal ends, by ``monotonic``; None when nobody is held."""
        end = self._find_hold_end()
        return end if end > self._monotonic() else None

    async def enter(self, tokens: int) -> Pass | None:
        """Wait for a turn; None when the gate was closed meanwhile, or sent its line away.

        Args:
            tokens: the most this request may be counted for, its answer included.
        """
        if not self._line and not self._is_closed:
            now = self._monotonic()
            if self._compute_wait(tokens, now) == 0:
                return self._let_in(tokens, now)
        if self._is_closed:
            return None
        waiter = _Waiter(tokens)
        self._line.append(waiter)
        try:
            await self._stand(waiter)
        except BaseException:
            self._step_out(waiter)
            raise
        return waiter.passed

    def note_sent(self, passed: Pass) -> None:
        """The request goes out now."""
        now = self._monotonic()
        self._meter.add(1, now)
        self._rate.note_sent(passed.ticket, now)

    def give_back(self, passed: Pass) -> None:
        """The request was not sent after all."""
        self._inside -= 1
        self._rate.give_back(passed.ticket, self._monotonic())
        self._advance()

    def leave(self, passed: Pass, passage: Passage) -> None:
        """The request is over; learn from how."""
        now = self._monotonic()
        ticket = passed.ticket
        self._inside -= 1
        self._rate.leave(ticket, passage.rates, now)
        if self._rate.is_told and not self._is_told:
            self._is_told = True
            self._concurrency.trust_headers()
        if passage.used_tokens is not None:
            self._rate.credit(ticket, passage.used_tokens, now)
        match passage.kind:
            case PassageKind.ANSWERED:
                self._note_answer(ticket, now)
            case PassageKind.REFUSED:
                self._note_refusal(ticket, passage, now)
            case PassageKind.SLOW_DOWN:
                self._rate.slow_down(ticket, self._find_rate(now), now)
                self._held_until = max(self._held_until, now + (passage.retry_after_seconds or 0.0))
            case PassageKind.OVERLOADED:
                self._note_overload(ticket, passage, now)
            case PassageKind.FAILED:
                pass
        self._advance()

    def wait_seconds(self, tokens: int) -> float:
        """How long one more would wait at least; 0 if not at all, infinite when closed."""
        return self.describe(tokens).wait_seconds

    def describe(self, tokens: int = 0) -> Standing:
        """What one more request would wait for, and how long at least."""
        now = self._monotonic()
        obstacle, wait = self._find_obstacle(tokens, now)
        return Standing(obstacle=obstacle, wait_seconds=wait, waiting=len(self._line))

    def demand(self) -> Demand:
        """What is used of the rate, and whether more is wanted."""
        now = self._monotonic()
        if self._line:
            self._compute_wait(self._line[0].tokens, now)  # notes who waits now
        return Demand(
            use_per_second=self._meter.compute_rate(now),
            is_hungry=now - self._last_hunger <= _HUNGER_SECONDS,
        )

    def set_share(self, share: float) -> None:
        """Use that part of the rate, above 0 and at most 1."""
        self._rate.set_share(share, self._monotonic())
        self._advance()

    def close(self) -> None:
        """Let nobody in any more; all who wait go without."""
        self._is_closed = True
        for waiter in self._line:
            waiter.changed.set()
        self._line.clear()

    def send_away(self) -> None:
        """Let all who wait go without, to be asked elsewhere; others may come."""
        for waiter in self._line:
            waiter.is_sent_away = True
            waiter.changed.set()
        self._line.clear()

    async def _stand(self, waiter: _Waiter) -> None:
        """Wait in line; who stands first also minds the clock, for all behind."""
        while waiter.passed is None and not (self._is_closed or waiter.is_sent_away):
            is_first = self._line[0] is waiter
            wait = self._compute_wait(waiter.tokens, self._monotonic()) if is_first else math.inf
            waiter.due_at = self._monotonic() + wait
            with anyio.move_on_after(wait):
                await waiter.changed.wait()
            waiter.changed = anyio.Event()
            if self._line and self._line[0] is waiter:
                waiter.due_at = -math.inf  # it looks for itself: nobody needs to wake it
                self._advance()

    def _advance(self) -> None:
        """Let in who may go; see that the first of the others wakes in time."""
        if not self._line:
            return
        now = self._monotonic()
        while self._line:
            waiter = self._line[0]
            wait = self._compute_wait(waiter.tokens, now)
            if wait > 0:
                if now + wait < waiter.due_at - _TIMER_SECONDS:
                    waiter.changed.set()
                return
            self._line.popleft()
            waiter.passed = self._let_in(waiter.tokens, now)
            waiter.changed.set()

    def _step_out(self, waiter: _Waiter) -> None:
        if waiter.passed is not None:
            self.give_back(waiter.passed)
        elif waiter in self._line:
            self._line.remove(waiter)
            self._advance()

    def _let_in(self, tokens: int, now: float) -> Pass:
        self._inside += 1
        return Pass(self._rate.take(tokens, now))

    def _compute_wait(self, tokens: int, now: float) -> float:
        """Seconds; infinite where an answer has to come first."""
        if self._inside >= self._find_room():
            return math.inf
        wait = max(self._find_hold_end() - now, self._rate.compute_wait(tokens, now))
        if wait <= 0:
            return 0.0
        self._last_hunger = now
        return wait

    def _find_room(self) -> int:
        limit = self._concurrency.limit
        return limit if self._has_answered else min(_BLIND, limit)

    def _find_rate(self, now: float) -> float:
        """Requests a second: of late, or by what is under way where answers take long."""
        under_way = (self._inside + 1) / self._round_trip if self._round_trip else 0.0
        return max(self._meter.compute_rate(now), under_way)

    def _find_hold_end(self) -> float:
        return max(self._held_until, self._refusals.until, self._overloads.until)

    def _find_obstacle(self, tokens: int, now: float) -> tuple[Obstacle, float]:
        if self._is_closed:
            return Obstacle.CLOSED, math.inf
        hold = max(0.0, self._find_hold_end() - now)
        wait = max(hold, self._rate.compute_wait(tokens, now))
        if wait > 0:
            return (Obstacle.HOLD if hold == wait else Obstacle.RATE), wait
        if self._inside >= self._find_room():
            is_blind = not self._has_answered
            return (Obstacle.FIRST_ANSWER if is_blind else Obstacle.CONCURRENCY), 0.0
        return Obstacle.NOTHING, 0.0

    def _note_answer(self, ticket: Ticket, now: float) -> None:
        self._has_answered = True
        self._guesses = self._unheard = 0
        took = now - ticket.sent_at
        self._round_trip += (took - self._round_trip) * (_SMOOTH if self._round_trip else 1.0)
        self._concurrency.note_answer(took, now)
        self._refusals.note_let_through(ticket)
        self._overloads.note_let_through(ticket)

    def _note_refusal(self, ticket: Ticket, passage: Passage, now: float) -> None:
        if has_plenty(ticket.tokens, passage.rates):
            return
        is_explained = bool(find_exhausted(ticket.tokens, passage.rates))
        wait = passage.retry_after_seconds
        if not wait:
            is_paced = is_explained and self._rate.is_limited
            wait = 0.0 if is_paced else self._guess_hold(ticket, now)
        if is_explained:
            self._held_until = max(self._held_until, now + wait)
        elif self._refusals.note_refused(ticket, now, hold=wait, shadow=wait):
            return
        self._rate.blame(ticket, passage.rates, now)
        if not self._rate.is_limited and self._refusals.is_over:
            self._concurrency.note_overload(now)

    def _note_overload(self, ticket: Ticket, passage: Passage, now: float) -> None:
        self._unheard += 1
        hold = passage.retry_after_seconds or 0.0
        if not hold and self._unheard > _OUT_OF_BREATH:
            hold = self._guess_hold(ticket, now)
        shadow = max(hold, _BREATHLESS_SECONDS)
        is_sporadic = self._overloads.note_refused(ticket, now, hold=hold, shadow=shadow)
        if not is_sporadic and self._overloads.is_over:
            self._concurrency.note_overload(now)

    def _guess_hold(self, ticket: Ticket, now: float) -> float:
        if ticket.sent_at > self._guessed_at:
            self._guesses += 1
            self._guessed_at = now
        return min(_LONGEST_HOLD_SECONDS, _FIRST_HOLD_SECONDS * 2.0 ** (self._guesses - 1))
