"""After a request: is there another that follows at once, or is the image put off, or given up?"""

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Final, TypeAlias

from pipeline.domain.errors import AskError, InvalidAnswer
from pipeline.domain.jobs import ClaimedJob, JobId, ReviewState
from pipeline.domain.outcomes import Outcome, Reused
from pipeline.domain.vision import Repair
from pipeline.engine.retry import AskNext, Attempt, Decision, MoreRoom, Wait, Why, decide
from pipeline.engine.retry import Repair as RepairIt
from pipeline.engine.shelf import Picture, PreparedShelf
from pipeline.engine.stages import Stages
from pipeline.engine.step import Step
from pipeline.engine.weighing import give_up, pass_on, put_off

_LONGEST_DELAY_SECONDS: Final = 5.0
"""The gate knows better how long the rate keeps everybody back."""

Next: TypeAlias = tuple[Outcome, Step | None]
"""What becomes of an attempt, and the request that follows it."""


class Following:
    """Decides what follows; it sends and writes nothing."""

    def __init__(self, stages: Stages, shelf: PreparedShelf) -> None:
        self._asking = stages.asking
        self._routes = stages.asking.routes
        self._clock = stages.clock
        self._shelf = shelf
        self._began_ms = stages.clock.now_ms()
        self._bad_answers: Counter[JobId] = Counter()

    def weigh(self, error: AskError, job: ClaimedJob, picture: Picture, step: Step) -> Next:
        """Turn a failed request into what happens next."""
        spend = step.price(error.response, picture) if error.response else None
        if isinstance(error, InvalidAnswer) and not step.is_follow_up:
            self._bad_answers[job.id] += 1
        decision = decide(error, self._describe_try(job, step, picture), self._asking.policy)
        follow = self._find_follower(decision, error, step, picture)
        if follow is not None or step.unsure is not None:
            return pass_on(error, spend), follow
        if not isinstance(decision, Wait):
            self._bad_answers.pop(job.id, None)
            return give_up(error, spend), None
        self._shelf.put(job.id, picture)
        wait = self._shorten(decision, step)
        return put_off(error, spend, wait, self._clock.now()), None

    def _shorten(self, wait: Wait, step: Step) -> Wait:
        """Not as long as this server asks, where another of the first has room sooner."""
        now, gate = self._clock.monotonic(), step.route.gate
        elsewhere = self._routes.find_wait_elsewhere(step.route, now)
        if wait.counts or gate.wait_seconds(0) <= elsewhere:
            return wait
        least = self._asking.policy.base_seconds * (0.5 + 0.5 * self._clock.chance())
        return replace(wait, seconds=min(wait.seconds, max(elsewhere, least)))

    def find_surer(self, step: Step, known: Reused, picture: Picture) -> Step | None:
        """The next request, where an answer is not sure enough and somebody else may be surer."""
        if self._asking.review_of(known.confidence) is not ReviewState.NEEDS_REVIEW:
            return None
        now = self._clock.monotonic()
        route = self._routes.find_next(step.route, Why.LOW_CONFIDENCE, now, picture.prepared)
        if route is None:
            return None
        key = hashlib.sha256(step.key + route.question.model.encode()).digest()
        return Step(route=route, key=key, name="fallback", unsure=known)

    def _describe_try(self, job: ClaimedJob, step: Step, picture: Picture) -> Attempt:
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        return Attempt(
            tries=job.attempts + 1,
            chance=self._clock.chance(),
            # not from an earlier run: that one may have paused for days
            elapsed_seconds=(now_ms - max(job.tried_since_ms or now_ms, self._began_ms)) / 1000,
            bad_answers=self._bad_answers[job.id],
            was_repair=step.repair is not None,
            had_more_room=step.has_more_room,
            leads_on=self._routes.leads_on(step.route, now, picture.prepared),
        )

    def _find_follower(
        self, decision: Decision, error: AskError, step: Step, picture: Picture
    ) -> Step | None:
        match decision:
            case MoreRoom():
                return replace(step, name="more_room", has_more_room=True, delay_seconds=0.0)
            case RepairIt():
                words = (error.response.text if error.response else None) or ""
                repair = Repair(answer=words, complaint=str(error))
                return replace(step, name="repair", repair=repair, delay_seconds=0.0)
            case AskNext(why=why):
                now = self._clock.monotonic()
                route = self._routes.find_next(step.route, why, now, picture.prepared)
                if route is None:
                    return None
                return Step(route=route, key=step.key, name="fallback", unsure=step.unsure)
            case Wait(counts=False, seconds=seconds) if step.is_follow_up:
                # what it follows is paid for: asked anew, that would be paid for again
                return replace(step, delay_seconds=min(seconds, _LONGEST_DELAY_SECONDS))
        return None
