"""One request from arrival to answer: think, decide, wait, send, book."""

import hmac
import itertools
import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import anyio
import anyio.to_thread
from aiohttp import web

from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.prices import price
from pipeline.simulator.behavior import Behavior, Fault, draw_latency_seconds
from pipeline.simulator.books import FINAL_FAULTS, Books, LogLine, PictureAccount, Visit
from pipeline.simulator.decisions import Case, Verdict, decide
from pipeline.simulator.documents import make_document, served_tier
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Reply, Thought, make_reply, think, unknown_model
from pipeline.simulator.reading import Api
from pipeline.simulator.wire import send_half, send_whole

STAND_IN_MODEL: Final = "gpt-5.6-luna"
"""Counts and prices the tokens of every model named ``sim-...``."""
_ANY_MODEL: Final = "sim-"
_CLIENT_LEFT: Final = 499


class Desk:
    """Answers requests under one behaviour and keeps the books. Used on one event loop."""

    def __init__(self, behavior: Behavior) -> None:
        self.behavior = behavior
        self.books = Books()
        self._today = datetime.now(UTC).date()
        self._models = load_models(on=self._today)
        self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._numbers = itertools.count(1)

    def check_key(self, request: web.Request) -> None:
        """Refuse a request without the key.

        Raises:
            ApiError: 401.
        """
        wanted, got = self.behavior.require_key, request.headers.get("Authorization", "")
        if wanted is None or hmac.compare_digest(got.encode(), f"Bearer {wanted}".encode()):
            return
        if not got:
            raise ApiError(401, "You didn't provide an API key.")
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    async def answer(self, request: web.Request, api: Api) -> web.StreamResponse:
        """Answer one request.

        Raises:
            ApiError: it is refused, or a fault says so.
        """
        body = await request.read()
        behavior = self.behavior
        with self.books.open_visit(LogLine(when=time.time(), api=api)) as visit:
            try:
                self.check_key(request)
                thought = await anyio.to_thread.run_sync(
                    partial(think, body, api, self._find_model, seed=behavior.seed),
                    limiter=self._threads,
                )
                visit.note(**_describe(thought))
                return await self._serve(request, thought, behavior, visit)
            except ApiError as error:
                visit.note(status=error.status)
                raise
            except ConnectionError:
                # nobody is left to tell; the books show a request without a status
                return web.Response(status=_CLIENT_LEFT)

    async def _serve(
        self, request: web.Request, thought: Thought, behavior: Behavior, visit: Visit
    ) -> web.StreamResponse:
        account = self.books.open_account(thought.sight.sha256)
        case = _open_case(behavior, thought, account)
        verdict = decide(case)
        self._count(account, verdict, visit)
        reply = None
        if verdict.error is None and verdict.fault is not Fault.HANG:
            # charged before it is sent: the work is done even for a client that has left
            reply = make_reply(thought, verdict.fault)
            visit.bill(reply.usage, cost_nano=_charge(reply))
        await _wait(case, verdict)
        if verdict.error:
            raise verdict.error
        if reply is None:
            await _hang()
        response = await self._send(request, reply, verdict)
        visit.note(status=response.status)
        if verdict.fault in FINAL_FAULTS:
            self.books.answered += 1
            account.answered = True
        return response

    def _count(self, account: PictureAccount, verdict: Verdict, visit: Visit) -> None:
        account.seen += 1
        self.books.sent_again += account.answered
        if verdict.fault:
            account.faults += 1
            visit.note(fault=verdict.fault.value)

    async def _send(
        self, request: web.Request, reply: Reply, verdict: Verdict
    ) -> web.StreamResponse:
        document = make_document(reply, number=next(self._numbers), created=int(time.time()))
        send = send_half if verdict.fault is Fault.CUT_BODY else send_whole
        return await send(request, document)

    def _find_model(self, name: str) -> ModelSpec | None:
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


def _open_case(behavior: Behavior, thought: Thought, account: PictureAccount) -> Case:
    return Case(
        behavior=behavior,
        model=thought.asked.model,
        picture=thought.sight.sha256,
        times_seen=account.seen,
        faults_so_far=account.faults,
    )


def _describe(thought: Thought) -> dict[str, Any]:
    sight = thought.sight
    return {
        "model": thought.asked.model,
        "sha256": sight.sha256 or None,
        "width": sight.width,
        "height": sight.height,
        "detail": thought.detail,
    }


def _charge(reply: Reply) -> int | None:
    asked = reply.thought.asked
    return price(reply.thought.spec, reply.usage, served_tier(asked.service_tier))


async def _hang() -> NoReturn:
    """Wait until the client leaves or the server ends, which cancels the request."""
    while True:
        await anyio.sleep_forever()


async def _wait(case: Case, verdict: Verdict) -> None:
    # a real limiter answers before any work is done
    if verdict.fault is not Fault.RATE_LIMITED:
        delay = draw_latency_seconds(case.behavior, case.picture, times_seen=case.times_seen)
        await anyio.sleep(delay)
