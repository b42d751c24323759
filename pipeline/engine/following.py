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
        decision = decide(error, self._describe_try(job, step), self._asking.policy)
        follow = self._find_follower(decision, error, step, picture)
        if follow is not None or step.unsure is not None:
            return pass_on(error, spend), follow
        if not isinstance(decision, Wait):
            self._bad_answers.pop(job.id, None)
            return give_up(error, spend), None
        if not decision.counts:
            elsewhere = self._routes.find_wait_elsewhere(step.route, self._clock.monotonic())
            decision = replace(decision, seconds=min(decision.seconds, elsewhere))
        self._shelf.put(job.id, picture)
        return put_off(error, spend, decision, self._clock.now()), None

    def find_surer(self, step: Step, known: Reused, picture: Picture) -> Step | None:
        """The next request, where an answer is not sure enough and somebody else may be surer."""
        if self._asking.review_of(known.confidence) is not ReviewState.NEEDS_REVIEW:
            return None
        now = self._clock.monotonic()
        route = self._routes.find_next(step.route, Why.LOW_CONFIDENCE, now)
        if route is None or not route.takes(picture.prepared):
            return None
        key = hashlib.sha256(step.key + route.question.model.encode()).digest()
        return Step(route=route, key=key, name="fallback", unsure=known)

    def _describe_try(self, job: ClaimedJob, step: Step) -> Attempt:
        now_ms = self._clock.now_ms()
        return Attempt(
            tries=job.attempts + 1,
            chance=self._clock.chance(),
            # not from an earlier run: that one may have paused for days
            elapsed_seconds=(now_ms - max(job.tried_since_ms or now_ms, self._began_ms)) / 1000,
            bad_answers=self._bad_answers[job.id],
            was_repair=step.repair is not None,
            had_more_room=step.has_more_room,
            leads_on=self._routes.leads_on(step.route, self._clock.monotonic()),
        )

    def _find_follower(
        self, decision: Decision, error: AskError, step: Step, picture: Picture
    ) -> Step | None:
        match decision:
            case MoreRoom():
                return replace(step, name="more_room", has_more_room=True)
            case RepairIt():
                words = (error.response.text if error.response else None) or ""
                repair = Repair(answer=words, complaint=str(error))
                return replace(step, name="repair", repair=repair)
            case AskNext(why=why):
                route = self._routes.find_next(step.route, why, self._clock.monotonic())
                if route is None or not route.takes(picture.prepared):
                    return None
                return Step(route=route, key=step.key, name="fallback", unsure=step.unsure)
            case Wait(counts=False, seconds=seconds) if step.is_follow_up:
                # what it follows is paid for: asked anew, that would be paid for again
                return replace(step, delay_seconds=min(seconds, _LONGEST_DELAY_SECONDS))
        return None
