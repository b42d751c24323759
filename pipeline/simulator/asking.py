"""One request from arrival to answer: think, decide, wait, send, book."""

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn

import anyio
import anyio.to_thread
import orjson
from aiohttp import web

from pipeline.simulator.behavior import (
    Behavior,
    Fault,
    Outage,
    draw_latency_seconds,
    overload_factor,
)
from pipeline.simulator.books import LogLine, Visit
from pipeline.simulator.decisions import Case
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Thought, Thoughts, describe, think
from pipeline.simulator.gate import Gate
from pipeline.simulator.mind import Judgement, Mind
from pipeline.simulator.plan import read_plan
from pipeline.simulator.reading import Api
from pipeline.simulator.refusals import make_refusal, wrong_key
from pipeline.simulator.replying import Reply, served_tier
from pipeline.simulator.wire import (
    CLIENT_LEFT,
    hang_up,
    is_gone,
    send_half,
    send_slowly,
    send_whole,
)

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
    """Answers requests under one behaviour. Used on one event loop."""

    def __init__(self, mind: Mind, behavior: Behavior) -> None:
        self._mind = mind
        self._behavior = behavior
        self.plan = read_plan(behavior.fault_plan)
        self._gate = Gate(behavior, mind.clock)
        self._thoughts = Thoughts()

    @property
    def behavior(self) -> Behavior:
        return self._behavior

    @behavior.setter
    def behavior(self, behavior: Behavior) -> None:
        self.plan = read_plan(behavior.fault_plan)
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
        with self._mind.books.open_visit(LogLine(when=time.time(), api=api)) as visit:
            errand = _Errand(
                request=request,
                behavior=self.behavior,
                visit=visit,
                key=request.headers.get("Authorization", ""),
            )
            try:
                self.check_door(request)
                thought = await self._think(body, api)
                visit.note(**describe(thought))
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
        thoughts, behavior = self._thoughts, self.behavior
        digest = hashlib.blake2b(body, digest_size=16).digest()
        known = thoughts.find(api, digest)
        if known is not None:
            return known
        find_model = partial(self._mind.find_model, behavior=behavior)
        thought = await anyio.to_thread.run_sync(
            partial(think, body, api, find_model, seed=behavior.seed), limiter=self._mind.threads
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
        tier = thought.asked.service_tier
        judgement = self._mind.judge(thought, errand.behavior, self.plan, tier=tier)
        case, verdict = judgement.case, judgement.verdict
        if verdict.error is not None:
            verdict.error.model = case.model
        if not verdict.is_at_once:
            self._let_in(errand, thought)
        self._mind.count(judgement, errand.visit)
        if verdict.is_at_once and verdict.error:
            raise verdict.error
        reply = None
        if verdict.error is None and verdict.fault is not Fault.HANG:
            # charged before it is sent: the work is done even for a client that has left
            reply = self._mind.reply(
                thought, judgement, errand.visit, tier=served_tier(tier), key=errand.key
            )
        await self._wait(case)
        if verdict.error:
            raise verdict.error
        if reply is None:
            await _hang()
        return await self._hand_over(errand, reply, judgement)

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
        self._mind.books.admitted.add(tokens, when=time.time(), at=self._mind.clock())

    async def _wait(self, case: Case) -> None:
        delay = draw_latency_seconds(case.behavior, case.picture, times_seen=case.times_seen)
        factor = overload_factor(case.behavior, in_flight=self._mind.books.inflight)
        await anyio.sleep(delay * factor)

    async def _hand_over(
        self, errand: _Errand, reply: Reply, judgement: Judgement
    ) -> web.StreamResponse:
        fault = judgement.verdict.fault
        if fault is Fault.RESET:
            return hang_up(errand.request)
        response = await self._send(errand, reply, fault)
        has_all = fault not in _NEVER_WHOLE and not is_gone(errand.request)
        errand.visit.note(status=response.status, delivered=has_all)
        self._mind.close(judgement)
        return response

    async def _send(
        self, errand: _Errand, reply: Reply, fault: Fault | Outage | None
    ) -> web.StreamResponse:
        headers = self._find_headers(errand, reply.thought.asked.model)
        request, body = errand.request, orjson.dumps(self._mind.write(reply))
        if fault is Fault.CUT_BODY:
            return await send_half(request, body, headers=headers)
        if fault is Fault.SLOW_BODY:
            seconds = errand.behavior.slow_body_ms / 1000
            return await send_slowly(request, body, headers=headers, seconds=seconds)
        if fault is Fault.BAD_BODY:
            body = body[: len(body) * 2 // 3]
        return await send_whole(request, body, headers=headers)


async def _hang() -> NoReturn:
    """Wait until the client leaves or the server ends, which cancels the request."""
    while True:
        await anyio.sleep_forever()
