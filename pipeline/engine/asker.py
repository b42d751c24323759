"""From a prepared picture to its outcome: choose a route, wait for a turn, ask, weigh, settle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import anyio

from pipeline.domain.errors import (
    AskError,
    AttemptTimeout,
    BudgetExhausted,
    ModelSubstituted,
    ModelUnavailable,
    RunPaused,
)
from pipeline.domain.jobs import AttemptId, ClaimedJob, ResultId
from pipeline.domain.outcomes import Cause, Deferred, Outcome, Passed, Reused, Tagged
from pipeline.domain.usage import NanoDollars, to_usd
from pipeline.domain.vision import VisionResponse
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.comparison import FIRST_STEP, Asked
from pipeline.engine.following import Following
from pipeline.engine.progress import Tally
from pipeline.engine.routes import Resting, Route
from pipeline.engine.shelf import Picture, PreparedShelf
from pipeline.engine.stages import Stages
from pipeline.engine.step import Step
from pipeline.engine.stragglers import Stragglers
from pipeline.engine.weighing import (
    cost_of,
    describe_cap,
    give_back,
    interrupt,
    read_passage,
    read_refusal,
    reuse,
    wait_for_other,
)
from pipeline.ledger.caps import OverCap
from pipeline.ledger.opening import AlreadyAnswered, BeingAsked, Opened, Terms
from pipeline.limits.gate import Pass, Passage, PassageKind
from pipeline.providers.model_names import is_same_model, is_same_tier

_ASKED_ELSEWHERE_SECONDS: Final = 2.0
_CAP_POLL_SECONDS: Final = 0.5
_SENT_AWAY_SECONDS: Final = 0.1
_GIVEN_BACK_SECONDS: Final = 1.0
"""Where others go on: the server that is left alone may be the only one for some pictures."""
_NEARLY: Final = 0.8
_NOTHING: Final = NanoDollars(0)


@dataclass(slots=True)
class _Turn:
    """A request that may be sent now, and what is set aside for it."""

    passed: Pass
    reserved: NanoDollars
    asked: Asked
    paid: NanoDollars | None = _NOTHING
    """None: nobody knows."""
    is_sent: bool = False


class Asker:
    """Brings prepared pictures to their outcome. One object serves all tasks of a run."""

    def __init__(
        self, stages: Stages, tally: Tally, bookkeeper: Bookkeeper, shelf: PreparedShelf
    ) -> None:
        self._asking = stages.asking
        self._routes = stages.asking.routes
        self._budget = stages.ceilings.budget
        self._settler = stages.settler
        self._clock = stages.clock
        self._tally = tally
        self._bookkeeper = bookkeeper
        self._following = Following(stages, shelf)
        self._stopped = anyio.Event()
        self.stragglers = Stragglers(stages.clock.monotonic)

    def stop(self) -> None:
        """Send nothing new; what is under way still settles."""
        self._stopped.set()
        self._routes.close()

    async def bring_to_end(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | None:
        """Ask until the picture has its outcome or is put off; None when the run was stopped.

        Raises:
            RunPaused: after the job was given back untouched.
        """
        found: Outcome | Step | None = self._begin(job, picture, key)
        while isinstance(found, Step):
            found = await self._take(job, picture, found)
        return found

    def _begin(self, job: ClaimedJob, picture: Picture, key: bytes) -> Step:
        route = self._choose(picture)
        if job.next_step == "more_room":  # an answer was cut in a batch
            return Step(route=route, key=key, name="more_room", has_more_room=True)
        return Step(route=route, key=key)

    async def _take(self, job: ClaimedJob, picture: Picture, step: Step) -> Outcome | Step | None:
        """One request; what comes of it, or the one that follows."""
        if step.delay_seconds:
            with anyio.move_on_after(step.delay_seconds):
                await self._stopped.wait()
        async with self._wait_for_turn(job, picture, step) as turn:
            if self._stopped.is_set():
                return None
            if turn is None:
                return await self._leave_line(job, picture, step)
            admission = await self._open(job, step, turn)
            if isinstance(admission, Opened):
                return await self._ask(job, picture, step, turn, admission.attempt_id)
            if admission is None:
                return None
            return await self._do_without(job, picture, step, admission)

    async def _leave_line(self, job: ClaimedJob, picture: Picture, step: Step) -> Outcome | Step:
        """The route sent its line away: ask by another, or be content with what there is."""
        if step.unsure is not None:
            await self._bookkeeper.settle_picture(job, picture, step.unsure)
            return step.unsure
        await anyio.sleep(_SENT_AWAY_SECONDS)
        return replace(step, route=self._choose(picture))

    def _choose(self, picture: Picture) -> Route:
        """The route for a picture that nobody was asked about yet."""
        return self._routes.choose(self._clock.monotonic(), picture.prepared)

    @asynccontextmanager
    async def _wait_for_turn(
        self, job: ClaimedJob, picture: Picture, step: Step
    ) -> AsyncIterator[_Turn | None]:
        """A turn by rate and budget; None when the run was stopped meanwhile."""
        gate = step.route.gate
        passed = await gate.enter(step.count_tokens(picture))
        if passed is None:
            yield None
            return
        turn: _Turn | None = None
        try:
            reserved = await self._budget.reserve(step.find_worst(picture))
            asked = Asked(
                job=job.id,
                step=step.name,
                quote=step.quote(picture, original_bytes=job.image.size),
                pricing=step.route.pricing,
            )
            turn = _Turn(passed=passed, reserved=reserved, asked=asked)
            yield turn
        finally:
            if turn is not None:
                self._budget.settle(turn.reserved, turn.paid)
                self._warn_of_budget()
            if turn is None or not turn.is_sent:
                gate.give_back(passed)

    async def _open(
        self, job: ClaimedJob, step: Step, turn: _Turn
    ) -> Opened | AlreadyAnswered | BeingAsked | None:
        """Put the attempt on record; wait while only what is under way fills a cap.

        None when the run was stopped meanwhile.

        Raises:
            BudgetExhausted: the day's or the month's cap is reached.
        """
        terms = Terms(
            model=step.route.question.model,
            tier=step.route.tier.value,
            endpoint=step.route.name,
            step=step.name,
            reserved_nanos=turn.reserved,
            quote=turn.asked.quote,
        )
        while True:
            # Shielded: once it is handed in it will be written, and somebody has to settle it.
            with anyio.CancelScope(shield=True):
                now_ms = self._clock.now_ms()
                admission = await self._settler.open_attempt(job, step.key, now_ms, terms)
            self._warn_of_caps()
            if not isinstance(admission, OverCap):
                return admission
            if self._stopped.is_set():
                return None
            if not admission.open_nanos:
                raise BudgetExhausted(describe_cap(admission, turn.reserved))
            await anyio.sleep(_CAP_POLL_SECONDS)

    async def _do_without(
        self,
        job: ClaimedJob,
        picture: Picture,
        step: Step,
        admission: AlreadyAnswered | BeingAsked,
    ) -> Outcome | Step:
        """Nothing is sent: the answer is there, or somebody else asks for it."""
        if isinstance(admission, AlreadyAnswered):
            known = reuse(admission)
            if surer := self._following.find_surer(step, known, picture):
                return surer
            outcome: Outcome = known
        else:
            soon = self._clock.now() + timedelta(seconds=_ASKED_ELSEWHERE_SECONDS)
            outcome = wait_for_other(admission, soon, next_step=job.next_step)
        await self._bookkeeper.settle_picture(job, picture, outcome)
        return outcome

    async def _ask(  # noqa: PLR0917  the picture, the request, and what is set aside for it
        self, job: ClaimedJob, picture: Picture, step: Step, turn: _Turn, attempt: AttemptId
    ) -> Outcome | Step | None:
        """Send one request and settle it."""
        self._count_request(job, turn.asked)
        turn.is_sent, turn.paid = True, None
        step.route.gate.note_sent(turn.passed)
        self._routes.note_sent(step.route)
        outcome: Outcome = interrupt()
        follow: Step | None = None
        passage = Passage(kind=PassageKind.FAILED)
        pause: RunPaused | None = None
        try:
            response = await self._request(job, picture, step)
            passage = read_passage(response)
            outcome, follow = self._accept(response, picture, step, attempt)
            pause = self._note_good(step.route, outcome)
        except AskError as error:
            passage = read_refusal(error)
            pause = self._judge(error, step)
            outcome, follow = self._following.weigh(error, job, picture, step)
            if pause is not None and not step.route.rank:
                outcome, follow = self._give_back(pause, outcome), None
        except RunPaused as error:
            pause = error
            outcome = self._give_back(error)
        finally:
            is_over = pause is not None and self._must_pause(pause, step.route)
            step.route.gate.leave(turn.passed, passage)
            self._routes.disperse(step.route, self._clock.monotonic())
            turn.paid = cost_of(outcome)
            with anyio.CancelScope(shield=True):
                is_ours = await self._settle(job, picture, outcome, step, attempt)
                self._tally.note_difference(turn.asked, outcome)
        if pause is not None and is_over:
            raise pause
        if not isinstance(outcome, Passed):
            return outcome
        return await self._go_on(job, picture, step, follow) if is_ours else None

    def _give_back(self, pause: RunPaused, outcome: Outcome | None = None) -> Deferred:
        again_at = self._clock.now() + timedelta(seconds=_GIVEN_BACK_SECONDS)
        return give_back(pause, outcome, again_at)

    async def _settle(  # noqa: PLR0917  what is settled, and for whom
        self, job: ClaimedJob, picture: Picture, outcome: Outcome, step: Step, attempt: AttemptId
    ) -> bool:
        try:
            return await self._bookkeeper.settle_picture(
                job, picture, outcome, attempt=attempt, key=step.key, route=step.route
            )
        finally:
            self._tally.in_flight -= 1

    async def _go_on(
        self, job: ClaimedJob, picture: Picture, step: Step, follow: Step | None
    ) -> Outcome | Step | None:
        if follow is not None:
            return follow
        assert step.unsure is not None  # noqa: S101  else the attempt's end were the job's
        await self._bookkeeper.settle_picture(job, picture, step.unsure)
        return step.unsure

    async def _request(self, job: ClaimedJob, picture: Picture, step: Step) -> VisionResponse:
        """Ask, no longer than nearly all requests before took several times over."""
        route, response = step.route, None
        with self.stragglers.watch(route, job.id):
            response = await route.provider.ask(step.make_request(picture))
        if response is None:
            raise AttemptTimeout(
                f"no answer from {route.name} in several times what others take "
                "(provider.cut_stragglers)",
                may_be_billed=True,
            )
        return response

    def _accept(
        self, response: VisionResponse, picture: Picture, step: Step, attempt: AttemptId
    ) -> tuple[Tagged | Passed, Step | None]:
        """Read an answer.

        Raises:
            AskError: it is of no use.
        """
        self._compare(response, step.route)
        answer, confidence = self._asking.reader.read(response)
        spend = step.price(response, picture)
        known = Reused(result_id=ResultId(attempt), confidence=confidence)
        if surer := self._following.find_surer(step, known, picture):
            message = f"{response.model} is not sure enough; {surer.route.question.model} is asked"
            passed = Passed(
                cause=Cause.LOW_CONFIDENCE,
                message=message,
                spend=spend,
                answer=answer,
                confidence=confidence,
            )
            return passed, surer
        return Tagged(answer=answer, confidence=confidence, spend=spend), None

    def _compare(self, response: VisionResponse, route: Route) -> None:
        """Take note of who answered, in which lane.

        Raises:
            ModelSubstituted: another model answered, and none but the one asked will do.
        """
        asked, answered = route.question.model, response.model
        self._tally.downgraded += not is_same_tier(route.tier, response.service_tier)
        if is_same_model(asked, answered):
            return
        self._tally.substituted += 1
        if self._asking.requires_model:
            raise ModelSubstituted(
                f"{answered} answered, not {asked}, and provider.require_model is exact",
                response=response,
                request_id=response.request_id,
            )

    def _judge(self, error: AskError, step: Step) -> RunPaused | None:
        """Whether the error would strike all that are asked by this route."""
        if error.response is not None:
            self._bookkeeper.suspects.note_answer(is_good=False)
        return step.route.breaker.judge(
            error,
            slots=self._routes.find_peak(step.route),
            now=self._clock.monotonic(),
            is_follow_up=step.is_follow_up,
        )

    def _must_pause(self, pause: RunPaused, route: Route) -> bool:
        """Whether nobody else can go on; if so, nothing more is sent from this moment."""
        if isinstance(pause, ModelUnavailable) and route.retirement:
            pause.args = (f"{pause} {route.retirement}",)
        match self._routes.rest(route, pause, self._clock.monotonic()):
            case Resting.NOT_COVERED:
                self.stop()
                return True
            case Resting.BEGUN:
                self._tally.warn(f"{route.name} is left alone for now, others go on: {pause}")
                self._bookkeeper.suspects.clear_names(pause, route)
        return False

    def _note_good(self, route: Route, outcome: Tagged | Passed) -> RunPaused | None:
        """The server answers well: what failed before concerned its own picture.

        Returns why to pause all the same: answers that fit and say nothing, when they did not.
        """
        self._bookkeeper.suspects.note_answer(is_good=True)
        self._routes.note_answer(route)
        is_empty = self._asking.says_nothing(outcome.answer or {})
        return route.breaker.note_answer(now=self._clock.monotonic(), is_empty=is_empty)

    def _count_request(self, job: ClaimedJob, asked: Asked) -> None:
        self._tally.requests += 1
        self._tally.retried += job.tried_since_ms is not None
        self._tally.in_flight += 1
        self._tally.steps[asked.step] += 1
        if asked.step == FIRST_STEP and job.tried_since_ms is None:
            self._tally.estimate_nanos += asked.quote.cost or 0

    def _warn_of_budget(self) -> None:
        if self._budget.is_nearly_spent:
            self._tally.warn(
                f"80 % of this run's budget of ${to_usd(self._budget.cap or 0)} is spent"
            )

    def _warn_of_caps(self) -> None:
        for standing in self._settler.standings:
            if standing.used_nanos >= _NEARLY * standing.cap_nanos:
                self._tally.warn(
                    f"80 % of the {standing.scope}'s budget of "
                    f"${to_usd(standing.cap_nanos)} is spent or set aside"
                )
