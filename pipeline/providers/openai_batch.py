"""The slow lane's desk at OpenAI: files go up, batches are made of them, lines come back."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.config.settings import ProviderSettings
from pipeline.domain.batches import BatchLine, BatchReport, RemoteState
from pipeline.domain.errors import AskError, TransportError
from pipeline.domain.vision import VisionRequest
from pipeline.providers.batch_lines import (
    LineReader,
    UnreadableLineError,
    measure_line,
    write_line,
)
from pipeline.providers.batch_refusals import judge_refusal
from pipeline.providers.batch_reports import TOKEN_KEY, read_report
from pipeline.providers.complaint import read_request_id
from pipeline.providers.identity import identify_endpoint
from pipeline.providers.loose_json import as_mapping, as_text, parse_answer
from pipeline.providers.openai_dialect import OpenAIDialect
from pipeline.providers.payloads import FileForm
from pipeline.providers.transport import Reply, Transport, open_transport

_log = logging.getLogger(__name__)
_SUCCESS: Final = range(200, 300)
_FILES: Final = "files"
_BATCHES: Final = "batches"
_GONE_STATUSES: Final = frozenset({404, 410})
_TOO_LATE_STATUSES: Final = frozenset({400, 409})
_STILL_TO_CANCEL: Final = frozenset({RemoteState.VALIDATING, RemoteState.IN_PROGRESS})
_TIMEOUT_STATUS: Final = 408
_FIRST_SERVER_STATUS: Final = 500
# The API's own most (its description, 2026-11).
_FILES_A_PAGE: Final = 10_000
_BATCHES_A_PAGE: Final = 100
_WINDOW: Final = "24h"
# A batch is over within a day; a file that nobody came back for shall not stay for ever.
_KEEP_FILE_SECONDS: Final = 14 * 24 * 3600


class OpenAIBatchDesk:
    """Takes requests by the file, over one session. No loops, no retries, no database."""

    def __init__(
        self,
        settings: ProviderSettings,
        transport: Transport,
        *,
        account: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._dialect = OpenAIDialect(settings, host=transport.host)
        self._transport = transport
        self._account = account
        self._now = now

    @property
    def account(self) -> str:
        return self._account

    @property
    def path(self) -> str:
        # Named in full whatever the base URL is: it is the name of an API, not an address.
        return f"/v1/{self._dialect.path}"

    def measure_line(self, request: VisionRequest) -> int:
        """At most so many bytes will its line have; the picture is not encoded for it.

        Raises:
            ConfigurationError: settings and profile contradict each other.
        """
        return measure_line(request, dialect=self._dialect, path=self.path)

    def write_line(self, custom_id: str, request: VisionRequest) -> tuple[bytes, ...]:
        """One request as a line, in pieces, with its line break; it names no lane of its own.

        A big picture takes a millisecond a megabyte: call it in a thread.

        Raises:
            ConfigurationError: settings and profile contradict each other.
            ValueError: the id has more than 62 plain characters.
        """
        return write_line(custom_id, request, dialect=self._dialect, path=self.path)

    async def upload(self, file: Path, *, name: str) -> str:
        """Bring a file to the server, as a stream; it expires there after 14 days.

        Nothing is billed for it, so no error says that it may be. But after a ``TransportError``,
        an ``AttemptTimeout`` or a ``ProviderUnavailable`` the file may be there all the same:
        look with ``find_files`` before it is sent again.

        Args:
            file: what to send; it must not change meanwhile.
            name: to find it by; OpenAI wants it to end in ``.jsonl``.

        Raises:
            AskError, RunPaused: as for all calls.
            EnvironmentFault: the file cannot be read.
        """
        fields = {
            "purpose": "batch",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": str(_KEEP_FILE_SECONDS),
        }
        form = FileForm(path=file, name=name, fields=fields)
        document = self._read(await self._transport.upload(_FILES, form))
        if file_id := as_text(document.get("id")):
            return file_id
        raise TransportError("the server took the file and gave it no id")

    async def find_files(self, name: str) -> list[str]:
        """The ids of all batch files that were uploaded under exactly this name, oldest first."""
        query = {"purpose": "batch", "limit": str(_FILES_A_PAGE), "order": "asc"}
        found = [
            file_id
            async for file in self._list(_FILES, query)
            if file.get("filename") == name and (file_id := as_text(file.get("id")))
        ]
        return list(dict.fromkeys(found))

    async def delete_file(self, file_id: str) -> None:
        """Remove a file from the server; one that is gone is no error."""
        reply = await self._transport.send("DELETE", f"{_FILES}/{file_id}")
        if reply.status not in _GONE_STATUSES:
            self._check(reply)

    async def create(self, input_file: str, *, token: str) -> BatchReport:
        """Have the server work on a file. To be called once: a second call is a second bill.

        Raises:
            AskError: with ``may_be_billed`` where the server may have heard it all the same: look
                for the token with ``list_batches`` before it is asked again.
                ``RequestRejected``: it does not know the file (any more).
            BatchRefused: it has no Batch API, or refuses a batch like this.
            RunPaused: as for all calls.
        """
        order = {
            "input_file_id": input_file,
            "endpoint": self.path,
            "completion_window": _WINDOW,
            "metadata": {TOKEN_KEY: token},
        }
        reply = await self._transport.post(_BATCHES, [orjson.dumps(order)])
        try:
            return self._read_report(reply, may_be_billed=True)
        except AskError as error:
            if reply.status >= _FIRST_SERVER_STATUS or reply.status == _TIMEOUT_STATUS:
                error.may_be_billed = True
            raise

    async def read(self, remote_id: str) -> BatchReport:
        """How a batch stands.

        Raises:
            AskError, RunPaused: as for all calls; ``RequestRejected``: it does not know the batch.
        """
        return self._read_report(await self._transport.send("GET", f"{_BATCHES}/{remote_id}"))

    async def list_batches(self) -> AsyncIterator[BatchReport]:
        """All batches of the account, page by page; those of other programs, too."""
        async for document in self._list(_BATCHES, {"limit": str(_BATCHES_A_PAGE)}):
            if report := read_report(document):
                yield report

    async def cancel(self, remote_id: str) -> BatchReport:
        """Have the server end a batch; what is answered by then is delivered and billed.

        One that is over, or about to be, is no error: it is told as it stands.
        """
        reply = await self._transport.send("POST", f"{_BATCHES}/{remote_id}/cancel")
        if reply.status in _TOO_LATE_STATUSES:
            report = await self.read(remote_id)
            if report.state not in _STILL_TO_CANCEL:
                return report
        return self._read_report(reply)

    async def read_lines(self, file_id: str, *, model: str) -> AsyncIterator[BatchLine]:
        """The lines of an output or error file, as a stream, in any order.

        A line that cannot be read is logged and left out, unless none can be. Whoever stops
        before the end closes it (``contextlib.aclosing``).

        Args:
            file_id: of the output or error file.
            model: was asked; it is taken for the one that answered where a line does not say.

        Raises:
            TransientError: it broke off; the lines so far hold, and all come again with another
                call.
            RequestRejected: the server does not know the file (any more).
            RunPaused: as for all calls.
        """
        server = self._transport.server
        reader = LineReader(dialect=self._dialect, server=server, model=model, now=self._now())
        number, is_readable, is_empty = 0, False, True
        async with self._transport.download(f"{_FILES}/{file_id}/content") as download:
            if download.status not in _SUCCESS:
                self._check(await download.read())
            async for line in download.read_lines():
                number += 1
                is_empty = is_empty and not line.strip()
                if read := _read_line(reader, line, file_id=file_id, number=number):
                    is_readable = True
                    yield read
        if not (is_readable or is_empty):
            # A proxy's page, say. To take it for an empty file would be to ask, and pay, again.
            raise TransportError(f"what {server} sent as the file {file_id} holds no answers")

    async def _list(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
        """All entries of a list, page by page.

        Raises:
            TransportError: it cannot be read to its end: what is not in it may still be there.
        """
        after: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = self._read(await self._transport.send("GET", path, query={**query, **after}))
            entries = page.get("data")
            if not isinstance(entries, list):
                raise TransportError(f"the list of {path} holds no data")
            for entry in entries:
                yield as_mapping(entry)
            if page.get("has_more") is not True:
                return
            last = as_text(as_mapping(entries[-1]).get("id")) if entries else None
            if last is None or last in seen:
                raise TransportError(f"the list of {path} does not go on where a page ends")
            seen.add(last)
            after = {"after": last}

    def _read_report(self, reply: Reply, *, may_be_billed: bool = False) -> BatchReport:
        report = read_report(self._read(reply, may_be_billed=may_be_billed))
        if report is None:
            text = "the server's answer about a batch names none"
            raise TransportError(text, may_be_billed=may_be_billed)
        return report

    def _read(self, reply: Reply, *, may_be_billed: bool = False) -> Mapping[str, Any]:
        self._check(reply)
        request_id = read_request_id(reply.headers)
        document = parse_answer(reply.body, request_id=request_id, may_be_billed=may_be_billed)
        return as_mapping(document)

    def _check(self, reply: Reply) -> None:
        if reply.status not in _SUCCESS:
            raise judge_refusal(reply, now=self._now(), server=self._transport.server)


def _read_line(reader: LineReader, line: bytes, *, file_id: str, number: int) -> BatchLine | None:
    """None for an empty line, and for one that cannot be read, which is logged."""
    if not line.strip():
        return None
    try:
        return reader.read(line)
    except UnreadableLineError as error:
        facts = {"file": file_id, "line": number, "why": str(error)}
        _log.warning("batch.line_unreadable", extra=facts)
        return None


@asynccontextmanager
async def open_batch_desk(
    settings: ProviderSettings, environ: Mapping[str, str]
) -> AsyncIterator[OpenAIBatchDesk]:
    """Open the desk of the server that settings and environment name.

    Raises:
        ConfigurationError: the URL, the key or the proxy cannot be used.
    """
    account = identify_endpoint(settings, environ).account
    async with open_transport(settings, environ) as transport:
        yield OpenAIBatchDesk(settings, transport, account=account)
