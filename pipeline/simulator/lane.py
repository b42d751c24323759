"""The calls about files, uploads and batches, and the work that goes on between them."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from aiohttp import web
from anyio.abc import TaskGroup

from pipeline.simulator.asking import Desk
from pipeline.simulator.batch_work import BatchWorker
from pipeline.simulator.batches import Batch, BatchRegister, read_wish
from pipeline.simulator.behavior import Fault, strikes_call
from pipeline.simulator.calendar import Calendar
from pipeline.simulator.errors import ApiError, wrong_value
from pipeline.simulator.files import MAX_FILE_BYTES, Shelf
from pipeline.simulator.forms import make_page, read_form, read_form_lifetime, require_text
from pipeline.simulator.mind import Mind
from pipeline.simulator.refusals import make_refusal
from pipeline.simulator.uploads import MAX_PART_BYTES, Uploads, check_file, choose_lifetime
from pipeline.simulator.wire import Handler, hang_up, make_headers, send_json

_FILES_ON_A_PAGE: Final = 10_000
_BATCHES_ON_A_PAGE: Final = (20, 100)
"""Without a limit, and at most."""
_ORDERS: Final = ("asc", "desc")


class BatchLane:
    """One server's files and batches. Used on one event loop, and only while it is open."""

    def __init__(self, mind: Mind, desk: Desk) -> None:
        self._desk = desk
        self._calendar = Calendar(mind.clock)
        self.shelf = Shelf(self._calendar)
        self.register = BatchRegister(self._calendar)
        self._uploads = Uploads(self.shelf, self._calendar)
        self._worker = BatchWorker(mind, self.shelf, self.register, self._calendar)
        self._calls: Counter[str] = Counter()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep files and work on batches; leaving ends them where they stand."""
        with self.shelf:
            async with anyio.create_task_group() as self._tasks:
                yield
                self._tasks.cancel_scope.cancel()

    def make_routes(self, prefix: str) -> list[web.RouteDef]:
        routes: list[tuple[str, str, Handler]] = [
            ("POST", "/files", self._create_file),
            ("GET", "/files", self._list_files),
            ("GET", "/files/{id}", self._show_file),
            ("DELETE", "/files/{id}", self._delete_file),
            ("GET", "/files/{id}/content", self._send_file),
            ("POST", "/uploads", self._create_upload),
            ("POST", "/uploads/{id}/parts", self._add_part),
            ("POST", "/uploads/{id}/complete", self._complete_upload),
            ("POST", "/uploads/{id}/cancel", self._cancel_upload),
            ("POST", "/batches", self._create_batch),
            ("GET", "/batches", self._list_batches),
            ("GET", "/batches/{id}", self._show_batch),
            ("POST", "/batches/{id}/cancel", self._cancel_batch),
        ]
        return [
            web.route(method, prefix + path, self._guard(handler))
            for method, path, handler in routes
        ]

    def reset(self) -> None:
        """Forget all files and batches, and end the work on them."""
        self._worker.drop_all()
        self.register.clear()
        self._uploads.clear()
        self.shelf.clear()
        self._calls.clear()

    def list_batches(self) -> list[dict[str, Any]]:
        """All batches, newest first, with what their answers cost."""
        return [
            self._describe(batch) | {"bill": batch.bill.as_document()}
            for batch in self.register.list_newest_first()
        ]

    def _guard(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self._desk.check_door(request)
            refusal = make_refusal(Fault.OVERLOADED, model="", wait_ms=0)
            if refusal is not None and self._is_struck("failed_batch_calls"):
                raise refusal
            return await handler(request)

        return answer

    def _is_struck(self, what: str) -> bool:
        """Draw for one more call whether it meets the share of that name."""
        self._calls[what] += 1
        return strikes_call(self._desk.behavior, what, number=self._calls[what])

    def _send(self, request: web.Request, document: object, *, lost_as: str) -> web.Response:
        """Say what was done, unless the connection ends first."""
        return hang_up(request) if self._is_struck(lost_as) else send_json(document)

    def _describe(self, batch: Batch) -> dict[str, Any]:
        return batch.as_document(self._calendar)

    async def _create_file(self, request: web.Request) -> web.StreamResponse:
        form = await read_form(request, self.shelf, name="file", most_bytes=MAX_FILE_BYTES)
        paper = form.require_paper("file")
        try:
            purpose = require_text(form.fields, "purpose")
            check_file(form.filename, purpose)
            lifetime = choose_lifetime(purpose, read_form_lifetime(form.fields))
        except ApiError:
            paper.path.unlink(missing_ok=True)
            raise
        file = self.shelf.add(
            paper, filename=form.filename, purpose=purpose, lifetime_seconds=lifetime
        )
        return self._send(request, file.as_document(self._calendar), lost_as="lost_file_uploads")

    async def _list_files(self, request: web.Request) -> web.StreamResponse:
        order = request.query.get("order", "desc")
        if order not in _ORDERS:
            raise wrong_value("order", order, _ORDERS)
        files = self.shelf.list_newest_first(request.query.get("purpose"))
        if order == "asc":
            files.reverse()
        documents = [file.as_document(self._calendar) for file in files]
        most = _FILES_ON_A_PAGE
        return send_json(make_page(documents, request.query, limit=most, most=most))

    async def _show_file(self, request: web.Request) -> web.StreamResponse:
        return send_json(self.shelf.find(request.match_info["id"]).as_document(self._calendar))

    async def _delete_file(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["id"]
        self.shelf.remove(file_id)
        return send_json({"id": file_id, "object": "file", "deleted": True})

    async def _send_file(self, request: web.Request) -> web.StreamResponse:
        file = self.shelf.find(request.match_info["id"])
        headers = make_headers() | {"Content-Type": "application/octet-stream"}
        return web.FileResponse(file.paper.path, headers=headers)

    async def _create_upload(self, request: web.Request) -> web.StreamResponse:
        upload = self._uploads.create(await request.read())
        return send_json(upload.as_document(self._calendar))

    async def _add_part(self, request: web.Request) -> web.StreamResponse:
        upload_id = request.match_info["id"]
        # looked for at once, so that nothing is sent in vain
        self._uploads.find(upload_id)
        form = await read_form(request, self.shelf, name="data", most_bytes=MAX_PART_BYTES)
        return send_json(self._uploads.add_part(upload_id, form.require_paper("data")))

    async def _complete_upload(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        upload = await self._uploads.complete(request.match_info["id"], body)
        return self._send(request, upload.as_document(self._calendar), lost_as="lost_file_uploads")

    async def _cancel_upload(self, request: web.Request) -> web.StreamResponse:
        upload = await self._uploads.cancel(request.match_info["id"])
        return send_json(upload.as_document(self._calendar))

    async def _create_batch(self, request: web.Request) -> web.StreamResponse:
        if self._tasks is None:
            raise RuntimeError("the server is not open")
        wish, behavior = read_wish(await request.read()), self._desk.behavior
        self.register.check_rate(behavior)
        batch = self.register.create(
            wish,
            behavior,
            self._desk.plan,
            key=request.headers.get("Authorization", ""),
            source=self.shelf.borrow(wish.input_file_id),
        )
        self._worker.start(batch, self._tasks)
        return self._send(request, self._describe(batch), lost_as="lost_batch_creates")

    async def _list_batches(self, request: web.Request) -> web.StreamResponse:
        documents = [self._describe(batch) for batch in self.register.list_newest_first()]
        limit, most = _BATCHES_ON_A_PAGE
        return send_json(make_page(documents, request.query, limit=limit, most=most))

    async def _show_batch(self, request: web.Request) -> web.StreamResponse:
        return send_json(self._describe(self.register.find(request.match_info["id"])))

    async def _cancel_batch(self, request: web.Request) -> web.StreamResponse:
        return send_json(self._describe(self.register.cancel(request.match_info["id"])))
