"""One request from arrival to answer: think, decide, wait, send, book."""

import hashlib
import hmac
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import anyio
import anyio.to_thread
import orjson
from aiohttp import web

from pipeline.costs.models import ModelSpec, load_models
from pipeline.simulator.behavior import (
    Behavior,
    Fault,
    Outage,
    draw_latency_seconds,
    overload_factor,
)
from pipeline.simulator.books import FINAL_FAULTS, Books, LogLine, PictureAccount, Visit
from pipeline.simulator.decisions import Case, Verdict, decide
from pipeline.simulator.documents import make_document
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Thought, Thoughts, think
from pipeline.simulator.gate import Gate
from pipeline.simulator.plan import read_plan
from pipeline.simulator.prompt_cache import PromptCache
from pipeline.simulator.reading import Api
from pipeline.simulator.refusals import make_refusal, unknown_model, wrong_key
from pipeline.simulator.replying import Lane, Reply, make_reply, served_tier
from pipeline.simulator.wire import (
    CLIENT_LEFT,
    hang_up,
    is_gone,
    send_half,
    send_slowly,
    send_whole,
)

STAND_IN_MODEL: Final = "gpt-5.6-luna"
"""Counts and prices the tokens of every model named ``sim-...``."""
_ANY_MODEL: Final = "sim-"
_AT_THE_DOOR: Final = frozenset({Outage.BAD_KEY, Outage.FORBIDDEN, Outage.DOWN})
"""Outages that refuse a request unread, whatever it is about."""
_UNJUDGED: Final = _AT_THE_DOOR | {Outage.NO_MODEL}
"""Outages that leave nothing to decide about."""
_NEVER_WHOLE: Final = frozenset({Fault.CUT_BODY, Fault.BAD_BODY})


@dataclass(slots=True, kw_only=True)
class _Errand:
    """One request under way, with the behaviour that it met."""

    request: web.Request
    behavior: Behavior
    visit: Visit
    key: str
    headers: dict[str, str] | None = field(default=None)
    """What the answer says of the limits; None until the request is let in."""


class Desk:
    """Answers requests under one behaviour and keeps the books. Used on one event loop."""

    def __init__(self, behavior: Behavior, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._behavior = behavior
        self._plan = read_plan(behavior.fault_plan)
        self._gate = Gate(behavior, clock)
        self._cache = PromptCache()
        self._thoughts = Thoughts()
        self.books = Books()
        self._today = datetime.now(UTC).date()
        self._models = load_models(on=self._today)
        self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._numbers = itertools.count(1)

    @property
    def behavior(self) -> Behavior:
        return self._behavior

    @behavior.setter
    def behavior(self, behavior: Behavior) -> None:
        self._plan = read_plan(behavior.fault_plan)
        self._behavior = behavior
        self._gate.change(behavior)
        # the seed may be another, and so may the models that are known
        self._thoughts = Thoughts()

    def check_door(self, request: web.Request) -> None:
        """Refuse a request without the key, or all of them if none gets in.

        Raises:
            ApiError: 401, or what the outage says.
        """
        outage = self.behavior.refuse_all
        refusal = make_refusal(outage, model="", wait_ms=0) if outage in _AT_THE_DOOR else None
        if refusal is not None:
            raise refusal
        wanted, got = self.behavior.require_key, request.headers.get("Authorization", "")
        if wanted is None or hmac.compare_digest(got.encode(), f"Bearer {wanted}".encode()):
            return
        if not got:
            raise ApiError(401, "You didn't provide an API key.")
        raise wrong_key()

    async def answer(self, request: web.Request, api: Api) -> web.StreamResponse:
        """Answer one request.

        Raises:
            ApiError: it is refused, or a fault says so.
        """
        body = await request.read()
        with self.books.open_visit(LogLine(when=time.time(), api=api)) as visit:
            errand = _Errand(
                request=request,
                behavior=self.behavior,
                visit=visit,
                key=request.headers.get("Authorization", ""),
            )
            try:
                self.check_door(request)
                thought = await self._think(body, api)
                visit.note(**_describe(thought))
                return await self._serve(errand, thought)
            except ApiError as error:
                visit.note(status=error.status)
                outage = errand.behavior.refuse_all
                if outage is not None and outage in _UNJUDGED:
                    visit.note(fault=outage.value)
                self._complete_headers(error, errand)
                raise
            except ConnectionError:
                # nobody is left to tell; the books show a request without a status
                return web.Response(status=CLIENT_LEFT)

    async def _think(self, body: bytes, api: Api) -> Thought:
        thoughts, seed = self._thoughts, self.behavior.seed
        digest = hashlib.blake2b(body, digest_size=16).digest()
        known = thoughts.find(api, digest)
        if known is not None:
            return known
        thought = await anyio.to_thread.run_sync(
            partial(think, body, api, self._find_model, seed=seed), limiter=self._threads
        )
        thoughts.keep(api, digest, thought)
        return thought

    def _complete_headers(self, error: ApiError, errand: _Errand) -> None:
        if not errand.behavior.rate_headers:
            error.headers = {}
        elif error.model is not None:
            error.headers |= self._find_headers(errand, error.model)

    def _find_headers(self, errand: _Errand, model: str) -> dict[str, str]:
        if errand.headers is None or errand.behavior.headers_at == "answer":
            return self._gate.read_headers(errand.key, model)
        return errand.headers

    async def _serve(self, errand: _Errand, thought: Thought) -> web.StreamResponse:
        account = self._open_account(thought)
        case = self._open_case(errand.behavior, thought, account)
        verdict = decide(case)
        if verdict.error is not None:
            verdict.error.model = case.model
        if not verdict.is_at_once:
            self._let_in(errand, thought)
        self._count(account, verdict, errand.visit)
        if verdict.is_at_once and verdict.error:
            raise verdict.error
        reply = None
        if verdict.error is None and verdict.fault is not Fault.HANG:
            # charged before it is sent: the work is done even for a client that has left
            reply = self._make_reply(errand, thought, verdict)
        await self._wait(case)
        if verdict.error:
            raise verdict.error
        if reply is None:
            await _hang()
        return await self._hand_over(errand, reply, verdict, account)

    def _let_in(self, errand: _Errand, thought: Thought) -> None:
        asked = thought.asked
        tokens = thought.input_tokens + (asked.max_output_tokens or 0)
        overdraft = self._gate.admit(errand.key, asked.model, tokens)
        if overdraft is not None:
            errand.visit.note(refused_by=overdraft.measure)
            refusal = self._gate.refuse(overdraft, asked.model)
            refusal.model = asked.model
            raise refusal
        errand.headers = self._gate.read_headers(errand.key, asked.model)
        errand.visit.note(reserved_tokens=tokens)
        self.books.admitted.add(tokens, when=time.time(), at=self._clock())

    def _open_account(self, thought: Thought) -> PictureAccount:
        sight = thought.sight
        if sight.sha256:
            return self.books.open_account(sight.sha256)
        return self.books.open_question(sight.signature)

    def _open_case(self, behavior: Behavior, thought: Thought, account: PictureAccount) -> Case:
        return Case(
            behavior=behavior,
            model=thought.asked.model,
            picture=thought.subject,
            times_seen=account.seen,
            faults_so_far=account.faults,
            request=self.books.let_through + 1,
            service_tier=thought.asked.service_tier,
            format=thought.asked.format,
            plan=self._plan,
        )

    def _count(self, account: PictureAccount, verdict: Verdict, visit: Visit) -> None:
        account.seen += 1
        self.books.let_through += 1
        self.books.sent_again += account.answered
        if verdict.fault:
            account.faults += 1
            visit.note(fault=verdict.fault.value)

    def _make_reply(self, errand: _Errand, thought: Thought, verdict: Verdict) -> Reply:
        lane = self._choose_lane(errand.behavior, thought, verdict)
        cache = self._cache.use(
            thought.cache_wish,
            owner=(errand.key, lane.model),
            spec=lane.spec or thought.spec,
            input_tokens=thought.input_tokens,
            now=self._clock(),
        )
        reply = make_reply(thought, verdict.fault, lane=lane, cache=cache)
        errand.visit.note(answered_by=lane.model, tier=lane.tier)
        errand.visit.bill(reply.usage, cost_nano=reply.cost_nano)
        return reply

    def _choose_lane(self, behavior: Behavior, thought: Thought, verdict: Verdict) -> Lane:
        asked, spec = thought.asked, thought.spec
        model, tier = asked.model, served_tier(asked.service_tier)
        if verdict.fault is Fault.DOWNGRADED:
            tier = "default"
        if verdict.fault is Fault.SUBSTITUTED:
            model = behavior.substitute_model
            return Lane(model=model, spec=self._find_model(model), tier=tier)
        return Lane(model=model, spec=spec, tier=tier)

    async def _wait(self, case: Case) -> None:
        delay = draw_latency_seconds(case.behavior, case.picture, times_seen=case.times_seen)
        factor = overload_factor(case.behavior, in_flight=self.books.inflight)
        await anyio.sleep(delay * factor)

    async def _hand_over(
        self, errand: _Errand, reply: Reply, verdict: Verdict, account: PictureAccount
    ) -> web.StreamResponse:
        if verdict.fault is Fault.RESET:
            return hang_up(errand.request)
        response = await self._send(errand, reply, verdict)
        has_all = verdict.fault not in _NEVER_WHOLE and not is_gone(errand.request)
        errand.visit.note(status=response.status, delivered=has_all)
        if verdict.fault in FINAL_FAULTS:
            self.books.answered += 1
            account.answered = True
        return response

    async def _send(self, errand: _Errand, reply: Reply, verdict: Verdict) -> web.StreamResponse:
        document = make_document(reply, number=next(self._numbers), created=int(time.time()))
        headers = self._find_headers(errand, reply.thought.asked.model)
        request, body = errand.request, orjson.dumps(document)
        if verdict.fault is Fault.CUT_BODY:
            return await send_half(request, body, headers=headers)
        if verdict.fault is Fault.SLOW_BODY:
            seconds = errand.behavior.slow_body_ms / 1000
            return await send_slowly(request, body, headers=headers, seconds=seconds)
        if verdict.fault is Fault.BAD_BODY:
            body = body[: len(body) * 2 // 3]
        return await send_whole(request, body, headers=headers)

    def _find_model(self, name: str) -> ModelSpec | None:
        if self.behavior.refuse_all is Outage.NO_MODEL:
            return None
        spec = self._models.find(STAND_IN_MODEL if name.startswith(_ANY_MODEL) else name)
        if spec and self.behavior.retire and spec.is_retired(self._today):
            return None
        return spec

    def list_models(self) -> list[dict[str, Any]]:
        """Documents of all models of the table that the server knows."""
        return [_make_model(name) for name in self._models.names if self._find_model(name)]

    def show_model(self, name: str) -> dict[str, Any]:
        """Document of one model.

        Raises:
            ApiError: 404, the server does not know it.
        """
        if self._find_model(name) is None:
            raise unknown_model(name)
        return _make_model(name)


def _make_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"}


def _describe(thought: Thought) -> dict[str, Any]:
    sight = thought.sight
    return {
        "model": thought.asked.model,
        "sha256": sight.sha256 or None,
        "width": sight.width,
        "height": sight.height,
        "detail": thought.detail,
    }


async def _hang() -> NoReturn:
    """Wait until the client leaves or the server ends, which cancels the request."""
    while True:
        await anyio.sleep_forever()
