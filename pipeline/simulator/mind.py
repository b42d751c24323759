"""What the server knows, decides and charges, whichever way it was asked."""

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from pipeline.costs.models import ModelSpec, load_models
from pipeline.simulator.behavior import Behavior, Fault, Outage
from pipeline.simulator.books import FINAL_FAULTS, Books, PictureAccount, Visit
from pipeline.simulator.decisions import DECISIONS, Case, Decision, Verdict, decide
from pipeline.simulator.documents import make_document
from pipeline.simulator.exchange import Thought
from pipeline.simulator.plan import FaultPlan
from pipeline.simulator.prompt_cache import PromptCache
from pipeline.simulator.refusals import unknown_model
from pipeline.simulator.replying import Lane, Reply, make_reply

STAND_IN_MODEL: Final = "gpt-5.6-luna"
"""Counts and prices the tokens of every model named ``sim-...``."""
_ANY_MODEL: Final = "sim-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of one request, and whose account it goes on."""

    case: Case
    verdict: Verdict
    account: PictureAccount


class Mind:
    """Models, prompt cache and books of one server. Used on one event loop.

    Behaviours are handed in, because what has begun keeps the one that it met.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.books = Books()
        self.threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        """For what takes CPU."""
        self._cache = PromptCache()
        self._today = datetime.now(UTC).date()
        self._models = load_models(on=self._today)
        self._numbers = itertools.count(1)

    def find_model(self, name: str, behavior: Behavior) -> ModelSpec | None:
        """The model under a name; None when the behaviour does not know it. May run in a thread."""
        if behavior.refuse_all is Outage.NO_MODEL:
            return None
        spec = self._models.find(STAND_IN_MODEL if name.startswith(_ANY_MODEL) else name)
        if spec and behavior.retire and spec.is_retired(self._today):
            return None
        return spec

    def list_models(self, behavior: Behavior) -> list[dict[str, Any]]:
        """Documents of all models of the table that the behaviour knows."""
        names = self._models.names
        return [_make_model(name) for name in names if self.find_model(name, behavior)]

    def show_model(self, name: str, behavior: Behavior) -> dict[str, Any]:
        """Document of one model.

        Raises:
            ApiError: 404, the behaviour does not know it.
        """
        if self.find_model(name, behavior) is None:
            raise unknown_model(name)
        return _make_model(name)

    def judge(
        self,
        thought: Thought,
        behavior: Behavior,
        plan: FaultPlan,
        *,
        tier: str,
        decisions: tuple[Decision, ...] = DECISIONS,
    ) -> Judgement:
        """Decide about a request; nothing is counted yet.

        Args:
            thought: the request.
            behavior: that it met.
            plan: that goes with the behaviour.
            tier: as asked for.
            decisions: that are asked in turn.
        """
        account = self._open_account(thought)
        case = Case(
            behavior=behavior,
            model=thought.asked.model,
            picture=thought.subject,
            times_seen=account.seen,
            faults_so_far=account.faults,
            request=self.books.let_through + 1,
            service_tier=tier,
            format=thought.asked.format,
            plan=plan,
        )
        return Judgement(case=case, verdict=decide(case, decisions), account=account)

    def _open_account(self, thought: Thought) -> PictureAccount:
        sight = thought.sight
        if sight.sha256:
            return self.books.open_account(sight.sha256)
        return self.books.open_question(sight.signature)

    def count(self, judgement: Judgement, visit: Visit) -> None:
        """Book that a request was let through, and what it meets."""
        account, fault = judgement.account, judgement.verdict.fault
        account.seen += 1
        self.books.let_through += 1
        self.books.sent_again += account.answered
        if fault:
            account.faults += 1
            visit.note(fault=fault.value)

    def reply(
        self, thought: Thought, judgement: Judgement, visit: Visit, *, tier: str, key: str
    ) -> Reply:
        """Make the answer and charge for it, in the lane of the tier."""
        lane = self._choose_lane(thought, judgement, tier)
        cache = self._cache.use(
            thought.cache_wish,
            owner=(key, lane.model),
            spec=lane.spec or thought.spec,
            input_tokens=thought.input_tokens,
            now=self.clock(),
        )
        reply = make_reply(thought, judgement.verdict.fault, lane=lane, cache=cache)
        visit.note(answered_by=lane.model, tier=lane.tier)
        visit.bill(reply.usage, cost_nano=reply.cost_nano)
        return reply

    def _choose_lane(self, thought: Thought, judgement: Judgement, tier: str) -> Lane:
        model, fault = thought.asked.model, judgement.verdict.fault
        if fault is Fault.DOWNGRADED:
            tier = "default"
        if fault is Fault.SUBSTITUTED:
            behavior = judgement.case.behavior
            model = behavior.substitute_model
            return Lane(model=model, spec=self.find_model(model, behavior), tier=tier)
        return Lane(model=model, spec=thought.spec, tier=tier)

    def write(self, reply: Reply) -> dict[str, Any]:
        """Write the answer as its API does, under an id of its own."""
        return make_document(reply, number=next(self._numbers), created=int(time.time()))

    def close(self, judgement: Judgement) -> None:
        """Book that a request was answered, if the client has no reason to ask again."""
        if judgement.verdict.fault in FINAL_FAULTS:
            self.books.answered += 1
            judgement.account.answered = True


def _make_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"}
