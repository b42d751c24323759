"""The vision API as an HTTP server on the caller's event loop, and its way to run for good."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import anyio
from aiohttp import web
from pydantic import ValidationError

from pipeline.domain.errors import ConfigurationError, EnvironmentFault
from pipeline.simulator.asking import Desk
from pipeline.simulator.batches import Batch
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.books import Books
from pipeline.simulator.errors import bad_request
from pipeline.simulator.lane import BatchLane
from pipeline.simulator.mind import Mind
from pipeline.simulator.reading import Api
from pipeline.simulator.wire import send_json, speak_json

PREFIX: Final = "/v1"
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_GRACE_SECONDS: Final = 0.05
"""What a request under way gets to end by itself when the server stops."""


class Simulator:
    """The server while it is open; used as an async context manager.

    ``behavior`` may be replaced at any time; requests that have begun keep the one they met, and
    what is left of the limits is not refilled. ``clock`` gives seconds to limits, prompt cache and
    batches. Leaving it closes hung and unfinished requests, and ends batches where they stand. It
    may be opened once.
    """

    def __init__(
        self,
        behavior: Behavior | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self.port = port
        """As listened on, once the server is open; 0 lets the system choose one."""
        self._mind = Mind(clock=clock)
        self._desk = Desk(self._mind, behavior or Behavior())
        self._lane = BatchLane(self._mind, self._desk)
        self._exits = AsyncExitStack()

    @property
    def behavior(self) -> Behavior:
        return self._desk.behavior

    @behavior.setter
    def behavior(self, behavior: Behavior) -> None:
        self._desk.behavior = behavior

    @property
    def books(self) -> Books:
        return self._mind.books

    @property
    def batches(self) -> list[Batch]:
        """All batches there are, newest first."""
        return self._lane.register.list_newest_first()

    @property
    def url(self) -> str:
        """Root of the control routes (``/__books`` and so on)."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What ``OPENAI_BASE_URL`` is to be set to."""
        return self.url + PREFIX

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            EnvironmentFault: the address cannot be listened on.
        """
        try:
            await self._open()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # without the error: it is the caller's own, and no task group's
        await self._exits.aclose()

    async def _open(self) -> None:
        await self._exits.enter_async_context(self._lane.open())
        runner = web.AppRunner(
            self._make_app(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_GRACE_SECONDS,
        )
        self._exits.push_async_callback(_clean_up, runner)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=1024).start()
        except OSError as error:
            where = f"{self.host}:{self.port}"
            raise EnvironmentFault(
                f"cannot listen on {where} ({error.strerror}); choose another port"
            ) from error
        self.port = runner.addresses[0][1]

    def _make_app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[speak_json])
        app.add_routes(
            [
                web.post(f"{PREFIX}/chat/completions", self._answer_chat),
                web.post(f"{PREFIX}/responses", self._answer_responses),
                web.get(f"{PREFIX}/models", self._list_models),
                web.get(f"{PREFIX}/models/{{name}}", self._show_model),
                *self._lane.make_routes(PREFIX),
                web.get("/__books", self._show_books),
                web.get("/__requests", self._show_requests),
                web.get("/__batches", self._show_batches),
                web.post("/__behavior", self._replace_behavior),
                web.post("/__reset", self._reset),
            ]
        )
        return app

    async def _answer_chat(self, request: web.Request) -> web.StreamResponse:
        return await self._desk.answer(request, Api.CHAT)

    async def _answer_responses(self, request: web.Request) -> web.StreamResponse:
        return await self._desk.answer(request, Api.RESPONSES)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        self._desk.check_door(request)
        return send_json({"object": "list", "data": self._mind.list_models(self.behavior)})

    async def _show_model(self, request: web.Request) -> web.StreamResponse:
        self._desk.check_door(request)
        return send_json(self._mind.show_model(request.match_info["name"], self.behavior))

    async def _show_books(self, _: web.Request) -> web.StreamResponse:
        return send_json(self.books.summarize())

    async def _show_requests(self, request: web.Request) -> web.StreamResponse:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            raise bad_request("after must be the number of a request", param="after")
        return send_json({"requests": self.books.list_after(int(after))})

    async def _replace_behavior(self, request: web.Request) -> web.StreamResponse:
        try:
            self.behavior = Behavior.model_validate_json(await request.read())
        except (ValidationError, ConfigurationError) as error:
            raise bad_request(str(error), code="invalid_behavior") from error
        return send_json(self.behavior.model_dump(mode="json", exclude={"require_key"}))

    async def _show_batches(self, _: web.Request) -> web.StreamResponse:
        return send_json({"batches": self._lane.list_batches()})

    async def _reset(self, _: web.Request) -> web.StreamResponse:
        self._lane.reset()
        self.books.reset()
        return send_json(self.books.summarize())


async def _clean_up(runner: web.AppRunner) -> None:
    with anyio.CancelScope(shield=True):
        await runner.cleanup()


async def serve(
    behavior: Behavior,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[Simulator], Any],
) -> None:
    """Run until cancelled; ``on_ready`` is called once, when requests are taken.

    Raises:
        EnvironmentFault: the address cannot be listened on.
    """
    async with Simulator(behavior, host=host, port=port) as simulator:
        on_ready(simulator)
        await anyio.sleep_forever()
