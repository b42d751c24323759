"""May one more request go? A model of one server's limits, learned from what it says.

Pure: time is an argument, in seconds of a clock that does not go back.

All levels are the whole server's. A run that has a share of it takes its amounts divided by its
share, as if the others sent their part at the same moment; so shares may change at any time.
"""

from dataclasses import dataclass, field

from pipeline.domain.rates import Allowance, RateReading
from pipeline.limits.bucket import Bucket, Mark
from pipeline.limits.measure import Measure

_RECOVERY_A_MINUTE = 1.03
"""After "slow down" the rate is to be held for about a quarter of an hour (error codes guide)."""
_LEAST_RATE = 0.1
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What the settings allow; what is None is left to the server."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_seconds: float = 1.0
    """Depth of both, until the server tells its own."""


@dataclass(slots=True, kw_only=True)
class Ticket:
    """One request that was let go: what was taken for it, and what the model thought then."""

    tokens: int
    share: float
    taken_at: float
    sequence: int
    sent_at: float
    marks: list[Mark | None] = field(default_factory=list)


class Pace:
    """A rate that was halved because the server asked for it, on its way back to the usual."""

    def __init__(self, usual_rate: float, now: float) -> None:
        self._goal = max(_LEAST_RATE, usual_rate)
        self._start = max(_LEAST_RATE, usual_rate / 2)
        self._started_at = now
        self.rate = self._start
        self._bucket = Bucket(rate=self.rate, capacity=1, level=0, now=now)

    @property
    def has_recovered(self) -> bool:
        """Whether it bounds nothing any more."""
        return self.rate >= self._goal

    def compute_wait(self, now: float) -> float:
        """Seconds until the next request; brings the rate up to date."""
        self.rate = self._start * _RECOVERY_A_MINUTE ** ((now - self._started_at) / 60)
        self._bucket.resize(rate=self.rate, capacity=max(1.0, self.rate / 4), now=now)
        return self._bucket.compute_wait(1.0, now)

    def take(self, now: float) -> None:
        """One request goes."""
        self._bucket.take(1.0, now)

    def give_back(self, now: float) -> None:
        """One request did not go after all."""
        self._bucket.shift(1.0, now)


class RateModel:
    """All limits of one endpoint, key and model, and what is in flight under them.

    Args:
        limits: what the settings allow.
    """

    def __init__(self, limits: RateLimits) -> None:
        burst = limits.burst_seconds
        self._requests = Measure(limits.requests_per_minute, burst)
        self._measures = (
            self._requests,
            Measure(limits.tokens_per_minute, burst),
            Measure(None, burst),
        )
        self._share = 1.0
        self._sequence = 0
        self._newest_read = 0
        self._newest_blamed = 0
        self._in_flight: dict[int, Ticket] = {}
        self._newest_slowed = 0
        self._pace: Pace | None = None
        self._find_known()

    @property
    def is_limited(self) -> bool:
        """Whether any rate is known."""
        return bool(self._known)

    @property
    def is_told(self) -> bool:
        """Whether the server's headers told of any."""
        return any(measure.learned is not None for _, measure in self._known)

    def compute_wait(self, tokens: int, now: float) -> float:
        """Seconds until one more request of this size may go; 0 if it may go at once."""
        wait = 0.0
        for index, measure in self._known:
            amount = (tokens if index else 1) / self._share
            wait = max(wait, measure.compute_wait(amount, now))
        if self._pace is not None:
            wait = max(wait, self._pace.compute_wait(now))
            self._pace = None if self._pace.has_recovered else self._pace
        return wait

    def take(self, tokens: int, now: float) -> Ticket:
        """Let one request go."""
        self._sequence += 1
        ticket = Ticket(
            tokens=tokens, share=self._share, taken_at=now, sequence=self._sequence, sent_at=now
        )
        if self._known:
            amounts = _list_amounts(ticket)
            ticket.marks = [
                measure.take(amount, now)
                for measure, amount in zip(self._measures, amounts, strict=True)
            ]
        if self._pace is not None:
            self._pace.take(now)
        self._in_flight[ticket.sequence] = ticket
        return ticket

    def note_sent(self, ticket: Ticket, now: float) -> None:
        """The request goes out now: what came back since it was taken is at the server, too."""
        del self._in_flight[ticket.sequence]
        self._sequence += 1
        ticket.sequence, ticket.sent_at = self._sequence, now
        self._in_flight[ticket.sequence] = ticket
        for measure, mark in zip(self._measures, ticket.marks, strict=False):
            if mark is not None and measure.learned is not None:
                measure.learned.postpone(mark, now - ticket.taken_at)

    def give_back(self, ticket: Ticket, now: float) -> None:
        """The request was not sent."""
        del self._in_flight[ticket.sequence]
        for index, amount in enumerate(_list_amounts(ticket)):
            was_taken = bool(ticket.marks) and ticket.marks[index] is not None
            self._measures[index].put_back(amount, now, is_learned_of=was_taken)
        if self._pace is not None:
            self._pace.give_back(now)

    def leave(self, ticket: Ticket, rates: RateReading | None, now: float) -> None:
        """The request is over; take in what its answer said, if it had any headers."""
        del self._in_flight[ticket.sequence]
        # Overtaken by an answer to a later request, it tells of a state that is corrected already.
        if rates is None or ticket.sequence < self._newest_read:
            return
        self._newest_read = ticket.sequence
        has_new = False
        for index, told in enumerate(_list_allowances(rates)):
            if told is not None:
                has_new |= self._read(index, told, ticket, now)
        if has_new:
            self._find_known()

    def credit(self, ticket: Ticket, used_tokens: int, now: float) -> None:
        """Return what was reserved beyond the true use; headers tell of it where there are any."""
        for measure in self._measures[1:]:
            unused = (ticket.tokens - used_tokens) / ticket.share
            measure.put_back(unused, now, is_learned_of=False)

    def blame(self, ticket: Ticket, rates: RateReading | None, now: float) -> None:
        """A limit refused this request: what it named, or else everything, is used up."""
        is_first = ticket.sequence > self._newest_blamed
        named = find_exhausted(ticket.tokens, rates)
        for index, measure in self._known:
            if named and index not in named:
                continue
            measure.drop_to(max(0.0, named.get(index, 0.0)), now)
            if is_first:
                measure.strain(now)
        if is_first:
            # Those that are in flight already were let go under the old margin.
            self._newest_blamed = self._sequence

    def slow_down(self, ticket: Ticket, sent_per_second: float, now: float) -> None:
        """Halve what is sent, and let it recover by a few per cent a minute.

        Args:
            ticket: of the request that was answered so; those sent with it count as one.
            sent_per_second: of late; a known rate that is lower goes first.
            now: seconds.
        """
        if ticket.sequence <= self._newest_slowed:
            return
        self._newest_slowed = self._sequence
        usual = min(self._requests.rate * self._share, sent_per_second)
        self._pace = Pace(usual if self._pace is None else min(usual, self._pace.rate), now)

    def set_share(self, share: float, now: float) -> None:
        """Use that part of everything, above 0 and at most 1."""
        share = min(1.0, max(_LEAST_SHARE, share))
        for _, measure in self._known:
            measure.scale_debt(self._share / share, now)
        self._share = share

    def _read(self, index: int, told: Allowance, ticket: Ticket, now: float) -> bool:
        measure = self._measures[index]
        is_new = measure.learn(told, now)
        bucket = measure.learned
        if bucket is None:
            return False
        mark = ticket.marks[index] if ticket.marks else None
        if is_new:
            self._mark_later_ones(index, bucket, ticket, now)
        elif mark is not None and told.remaining is not None:
            bucket.observe(mark, told.remaining, now)
        return is_new

    def _mark_later_ones(self, index: int, bucket: Bucket, read: Ticket, now: float) -> None:
        """What was sent after the first reading is not in it: take it from the new bucket."""
        for ticket in self._in_flight.values():
            if ticket.sequence > read.sequence:
                ticket.marks = ticket.marks or [None] * len(self._measures)
                ticket.marks[index] = bucket.take(_list_amounts(ticket)[index], now)

    def _find_known(self) -> None:
        self._known = [
            (index, measure) for index, measure in enumerate(self._measures) if measure.is_known
        ]


def find_exhausted(tokens: int, rates: RateReading | None) -> dict[int, float]:
    """Which measures explain a refusal, and what they have left.

    Half a request's amount more than it wanted is allowed for: ``remaining`` is rounded.
    """
    if rates is None:
        return {}
    return {
        index: told.remaining
        for index, told in enumerate(_list_allowances(rates))
        if told is not None
        and told.remaining is not None
        and told.remaining < 1.5 * (tokens if index else 1)
    }


def has_plenty(tokens: int, rates: RateReading | None) -> bool:
    """Whether a refusal's own headers say that no limit was behind it."""
    if rates is None or find_exhausted(tokens, rates):
        return False
    allowances = [told for told in _list_allowances(rates) if told is not None]
    return bool(allowances) and all(told.remaining is not None for told in allowances)


def _list_amounts(ticket: Ticket) -> tuple[float, float, float]:
    tokens = ticket.tokens / ticket.share
    return 1 / ticket.share, tokens, tokens


def _list_allowances(rates: RateReading) -> tuple[Allowance | None, ...]:
    return rates.requests, rates.tokens, rates.project_tokens
