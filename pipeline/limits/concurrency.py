"""How many requests at once give the best throughput, found out from how long answers take.

For servers that tell no limits (vLLM, Ollama, llama.cpp). Up to some number at once, answers take
as long as on an idle server; above it they take longer, and sending more gains nothing or loses.
That number, the knee, is looked for from both sides.

- **Ramp.** Two more at once per answer, until ``most`` is reached or answers take longer. Latencies
  of the ramp are all too short (only the quick ones of the latest are back), so they decide when to
  stop it, and nothing else.
- **Search.** After a ramp that was stopped, the limit is halved for as long as that helps. A ratio
  to the idle latency would not do: nobody knows it yet.
- **Steer.** Once a round trip, the limit goes by a fraction of how far latency is from 1.06 times
  the base: an integral controller, as in TCP Vegas (Brakmo and Peterson 1995), averages noise that
  would make single decisions jump. Far from a known knee it grows in steps.
- **Dip.** While the limit is bound by congestion, it is lowered by 15 % for two round trips every
  now and then: that measures the base. The lowest mean seen would be the luckiest one, and the
  limit would creep down after it. Where ``most`` is reached, there are no dips.
- **Cut.** Latency far above the base twice in a row (or once by half): down to what Little's law
  says is used, and see. If latency falls with it, that was congestion. If not, answers have become
  longer: that is the base from here on, and the limit is put back.

Deciding takes logarithms, because latencies of language models spread like a lognormal, and asks
for 2.5 standard errors. A measurement begins when most answers are to requests that were sent
after the last change; their own latencies tell when that was.
"""

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from pipeline.limits.latency_window import SHORTEST_SECONDS, Average, LatencyWindow

_RAMP: Final = 2
"""More at once per answer: three times as many each round trip."""
_EARLY: Final = 16
"""At once: answers to what was sent below it tell how long they take before any congestion."""
_FEWEST_EARLY: Final = 6
"""Early answers to compare with: with fewer, a slow first one would hide the congestion."""
_FEWEST_ANSWERS: Final = 16
"""In a window, so that its mean is known to an eighth or so, however low the limit is."""
_FEWEST_OF_TRIAL: Final = 32
"""In a window: a trial has one chance, the controller has many."""
_USUAL_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of a language model's latencies, until it is measured."""
_SPREAD_MEMORY: Final = 300.0
"""Answers that the spread is measured over: it changes seldom, and is hard to measure."""
_ROUND_TRIP_MEMORY: Final = 20
"""Answers that the mean latency is taken over: it only says for how long overloads count once."""
_SURE: Final = 2.5
"""Standard errors beyond which a difference is no chance; looked at every round trip."""
_INFLATION: Final = math.log(1.2)
"""Longer than the base by this is looked at: thrice the setpoint's excess, so never steered to."""
_GREAT_INFLATION: Final = math.log(1.5)
"""Longer than the base by this, one window is enough: no second one to make sure."""
_SETPOINT: Final = math.log(1.06)
"""Longer than the base by this is steered to: the least excess that says the server is full."""
_GAIN: Final = 0.3
"""With noise of a tenth in each window, the limit wavers by some two per cent."""
_GROWTH: Final = 0.1
"""Of the limit: the first step up, and the most that it goes down by at once."""
_MOST_GROWTH: Final = 0.5
"""Of the limit: steps up double, and beyond this one would pass the knee by far."""
_ABOVE_KNEE: Final = 1.2
_BELOW_KNEE: Final = 1.1
"""Within these factors of a known knee the limit moves by tiny steps."""
_KNEE_WEIGHT: Final = 0.2
"""Of one window in where the knee is: a server's room changes, but not each round trip."""
_DIP: Final = 0.85
"""Of the limit: low enough to be below a knee that was steered to, and cheap."""
_FIRST_DIP: Final = 8
_RAREST_DIP: Final = 24
"""Windows between two dips; twice as many after each that brought nothing."""
_HALF: Final = 0.5
"""Of the limit: what the search goes down by, and a cut at most."""
_GROWN_STALE: Final = 0.5
"""Share of older answers to begin with after growth: the step is small, and so is the harm."""
_RELIEF: Final = 0.5
"""Of what lowering the limit should have brought; less means that load was not the reason."""
_ROOM: Final = 1.05
"""Times what Little's law says is used: a cut aims just above it, since it is measured late."""
_BASE_MEMORY: Final = 150.0
"""Answers that the base is an average over; older ones fade."""
_CREEP: Final = 10.0
"""Weight of a window at ``most``: the base follows the present within some fifteen of them."""
_BINDING: Final = 0.75
"""With less of the limit in use, latency says nothing about the limit."""
_OVERLOAD_CUT: Final = 0.7
"""Of the limit, after an overload: as much as TCP's CUBIC keeps of its window (RFC 9438, 4.6)."""
_FIRST_ROUND_TRIP_SECONDS: Final = 1.0
"""Until an answer tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """The limit was lowered to see what comes of it."""

    limit: float
    """Before."""
    latency: Average
    """Before."""
    is_dip: bool
    """Only to measure; else it stays down if that helps."""


class AdaptiveConcurrency:
    """Finds how many at once give the best throughput. Pure: time is an argument, in seconds.

    Args:
        most: never more than this at once.
        first: as many before anything is known.
    """

    def __init__(self, most: int, *, first: int = 4) -> None:
        self._most = max(1, most)
        self._limit = float(max(1, min(first, self._most)))
        self._is_ramping = True
        self._is_searching = False
        self._trusts_headers = False
        self._base = Average()
        self._spread = Average(_USUAL_SPREAD**2, _FEWEST_ANSWERS)
        self._recent: deque[float] = deque(maxlen=_FEWEST_ANSWERS)
        self._early_until = math.inf
        """When the ramp reached ``_EARLY``: what was sent before counts for the base."""
        self._window = LatencyWindow(0.0)
        self._trial: _Trial | None = None
        self._suspicion: Average | None = None
        """The window before, if it stood out."""
        self._knee: float | None = None
        """The limit at which answers began to take longer; None until that was seen."""
        self._free_limit = 0.0
        """At or below it there was no congestion when it was last tried."""
        self._streak = 0
        """Steps up in a row; each is larger than the one before."""
        self._windows_since_dip = 0
        self._dip_every = _FIRST_DIP
        self._round_trip = 0.0
        """Mean latency of late, seconds."""
        self._deaf_until = -math.inf
        self._is_cut_off = False
        """Overloaded, and no answer since."""
        self._regrow_to = 0.0
        """The limit that the first overload of an outage left, to come back to."""

    @property
    def limit(self) -> int:
        """At least 1, at most ``most``."""
        return max(1, min(self._most, round(self._limit)))

    def trust_headers(self) -> None:
        """The server tells its limits: only its being overloaded counts from here on."""
        if not self._trusts_headers:
            self._trusts_headers = True
            self._is_ramping = self._is_searching = False
            self._trial = self._suspicion = None
            self._limit = float(self._most)

    def note_answer(self, latency_seconds: float, now: float) -> None:
        """An answer came, so long after its request was sent."""
        latency = max(latency_seconds, SHORTEST_SECONDS)
        memory = _ROUND_TRIP_MEMORY if self._round_trip else 1
        self._round_trip += (latency - self._round_trip) / memory
        if self._is_ramping:
            self._ramp(math.log(latency), now - latency, now)
            return
        self._is_cut_off = False
        if self._limit < self._regrow_to:
            self._step_to(min(self._limit + 1, self._regrow_to), now)
            if self._limit >= self._regrow_to:
                self._regrow_to = 0.0  # from here on the controller steers, up or down
            return
        window = self._window
        if not window.has_settled(latency, now):
            return
        window.add(latency)
        fewest = _FEWEST_ANSWERS if self._trial is None else _FEWEST_OF_TRIAL
        if window.mean.weight >= max(fewest, self.limit):
            self._judge(window, now)

    def note_overload(self, now: float) -> None:
        """The server has too much to do: one cut for all that say so within a round trip.

        After several with no answer in between, an outage, it soon comes back to where the first
        of them left it.
        """
        if now < self._deaf_until:
            return
        self._deaf_until = now + (self._round_trip or _FIRST_ROUND_TRIP_SECONDS)
        if not self._is_cut_off:
            self._regrow_to = self._limit * _OVERLOAD_CUT
        self._is_cut_off = True
        self._is_ramping = self._is_searching = False
        self._trial = self._suspicion = None
        self._knee = self._limit
        self._streak = 0
        self._step_to(self._limit * _OVERLOAD_CUT, now)

    def _ramp(self, value: float, sent_at: float, now: float) -> None:
        """Two more for each answer, until ``most``, or until answers take far longer."""
        if sent_at <= self._early_until:
            self._base.add(value)
        self._recent.append(value)
        if self._has_ramped_too_far():
            self._is_ramping, self._is_searching = False, True
            self._step_to(self._limit * _HALF, now)
            return
        self._limit = min(self._limit + _RAMP, self._most)
        if self._limit >= _EARLY and self._early_until == math.inf:
            self._early_until = now
        if self._is_at_most:
            self._is_ramping = False
            self._step_to(self._limit, now)

    def _has_ramped_too_far(self) -> bool:
        count = len(self._recent)
        if count < _FEWEST_ANSWERS or self._base.weight < _FEWEST_EARLY:
            return False
        recent = Average(sum(self._recent) / count, count)
        error = self._estimate_error(recent)
        return recent.value - self._base.value > max(_GREAT_INFLATION, _SURE * error)

    def _judge(self, window: LatencyWindow, now: float) -> None:
        """Decide, once a round trip, on the answers of one window.

        A trial that is under way is concluded before anything else begins. After a ramp that went
        too far, halving trials follow each other (search); all else is left to ``_steer``. With too
        little of the limit in use nothing can be learned, so a trial is broken off. Of a server
        that tells its limits latency says nothing: after an overload the limit just grows back.
        """
        self._window = LatencyWindow(window.stepped_at, begins_at=now)
        latency = window.mean
        self._spread.add(window.measure_spread(), latency.weight, memory=_SPREAD_MEMORY)
        if self._trusts_headers:
            self._grow(now)
        elif window.measure_in_flight(now) < _BINDING * self.limit:
            self._break_off(now)
        elif self._trial is not None:
            self._conclude(self._trial, latency, now)
        elif self._is_searching and self.limit > 1:
            self._try(_HALF, latency, now)
        else:
            self._is_searching = False
            self._steer(latency, now)

    def _steer(self, latency: Average, now: float) -> None:
        """Hold the latency just above the base, or find out why it cannot be held.

        Far above the base, the cause is looked for (``_suspect``: longer answers, or too many of
        them?). Otherwise: at ``most`` without a knee, nothing is to be steered, and the base
        follows the present; else a dip is due now and then, to measure the base; else the limit
        goes by how far the latency is from the setpoint. Windows at a limit that was known to be
        free count for the base, too.
        """
        if not self._base.weight:
            self._base = replace(latency)
        inflation = latency.value - self._base.value
        error = self._estimate_error(latency)
        if inflation > max(_INFLATION, _SURE * error) and self.limit > 1:
            self._suspect(latency, inflation, now)
            return
        self._suspicion = None
        self._windows_since_dip += 1
        if self._is_at_most and self._knee is None:
            self._base.add(latency.value, _CREEP, memory=_BASE_MEMORY)
        elif self._windows_since_dip >= self._dip_every and self.limit > 1:
            self._try(_DIP, latency, now, is_dip=True)
        else:
            if self._limit <= self._free_limit:
                self._absorb(latency)
            self._move(_SETPOINT - inflation, error, now)

    def _suspect(self, latency: Average, inflation: float, now: float) -> None:
        """Cut, to see whether load is behind a latency that stands out: the second time, or far.

        A single window that stands out is luck in most cases; so is part of what it shows, so two
        are averaged. The cut goes down to what Little's law says is of use.
        """
        first, self._suspicion = self._suspicion, replace(latency)
        if first is None and inflation < _GREAT_INFLATION:
            return
        if first is not None:
            latency.add(first.value, first.weight)
        used = math.exp(self._base.value - latency.value)
        self._try(max(_HALF, min(_DIP, used * _ROOM)), latency, now)

    def _move(self, room: float, error: float, now: float) -> None:
        """Towards the point where answers begin to take longer, and note where it is (the knee).

        Below the point it grows in steps while no knee is near; beyond the point, or near a knee,
        it goes by a fraction of the distance. Latency that is too long beyond chance puts the knee
        here, or nearer to here when there was one; ``most`` without congestion makes it forgotten.

        Args:
            room: logarithm of how much longer answers might take; below zero they take too long.
            error: standard error of ``room``.
            now: seconds.
        """
        knee = self._knee
        is_congested = room < (-error if knee is None else 0)
        is_near = knee is not None and knee / _BELOW_KNEE <= self._limit <= knee * _ABOVE_KNEE
        if not is_congested and not is_near:
            self._grow(now)
        else:
            self._streak = 0
            self._limit *= math.exp(max(-_GROWTH, _GAIN * room))
            self._limit = max(1.0, min(self._limit, self._most))
        if room < -error:
            weight = 1.0 if knee is None else _KNEE_WEIGHT
            self._knee = (knee or 0.0) * (1 - weight) + self._limit * weight
        elif room > 0 and self._is_at_most:
            self._knee = None

    def _grow(self, now: float) -> None:
        """A step up, larger each time that nothing speaks against it."""
        step = self._limit * min(_MOST_GROWTH, _GROWTH * 2.0**self._streak)
        self._streak += 1
        limit = min(self._limit + max(1.0, step), float(self._most))
        if limit > self._limit:
            self._limit = limit
            self._window = LatencyWindow(now, stale=_GROWN_STALE)

    @property
    def _is_at_most(self) -> bool:
        return self._limit >= self._most

    def _try(self, share: float, latency: Average, now: float, *, is_dip: bool = False) -> None:
        """Lower the limit to that share of it, by one at least, and wait for what it shows."""
        self._trial = _Trial(limit=self._limit, latency=replace(latency), is_dip=is_dip)
        self._windows_since_dip = self._streak = 0
        self._suspicion = None
        self._step_to(min(self._limit * share, self.limit - 1), now)

    def _step_to(self, limit: float, now: float) -> None:
        """Set the limit; what is in flight was sent under the old one and is waited out."""
        self._limit = max(1.0, limit)
        self._window = LatencyWindow(now, stale=1.0)

    def _break_off(self, now: float) -> None:
        """There is too little to do for a trial to show anything."""
        trial, self._trial, self._suspicion = self._trial, None, None
        if trial is not None:
            self._step_to(trial.limit, now)

    def _conclude(self, trial: _Trial, latency: Average, now: float) -> None:
        """Two limits and two latencies: was it the load?

        Under load, latency falls with the limit, by as much if the server is full. A dip only
        measures the base, and the limit is put back (dips that show no load become rarer). A cut
        or a halving that has helped is kept; one that has not is undone, and the longer latency is
        the base from here on.
        """
        expected = math.log(max(1, round(trial.limit)) / self.limit)
        has_helped = trial.latency.value - latency.value > _RELIEF * expected
        self._trial = None
        self._free_limit = self._limit
        if trial.is_dip:
            self._absorb(latency)
            self._dip_every = _FIRST_DIP if has_helped else min(_RAREST_DIP, 2 * self._dip_every)
            self._step_to(trial.limit, now)
        elif has_helped:
            self._stay_down(trial, latency, now)
        else:
            self._go_back(trial, latency, now)

    def _stay_down(self, trial: _Trial, latency: Average, now: float) -> None:
        """It was the load: the knee is between the two limits; a search goes on further down."""
        if latency.value < self._base.value:
            self._absorb(latency)
        self._knee = math.sqrt(trial.limit * self._limit)
        self._dip_every = _FIRST_DIP
        if self._is_searching and self.limit > 1:
            self._try(_HALF, latency, now)

    def _go_back(self, trial: _Trial, latency: Average, now: float) -> None:
        """Answers are not slower for their number: they are longer than they were."""
        self._base = replace(latency)
        if not self._is_searching:
            self._base.add(trial.latency.value, trial.latency.weight)
        self._is_searching = False
        self._knee = None
        self._step_to(trial.limit, now)

    def _absorb(self, latency: Average) -> None:
        """Take in how long answers take without congestion; start anew if that has changed."""
        if abs(self._base.value - latency.value) > _SURE * self._estimate_error(latency):
            self._base = replace(latency)
        else:
            self._base.add(latency.value, latency.weight, memory=_BASE_MEMORY)

    def _estimate_error(self, latency: Average) -> float:
        """Of the difference to the base, by chance."""
        return math.sqrt(self._spread.value * (1 / latency.weight + 1 / self._base.weight))
