"""The one HTTP session: sends bytes, brings back bytes, and says its faults in our words."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import anyio
from anyio.lowlevel import checkpoint
from yarl import URL

from pipeline import __version__
from pipeline.config.settings import ProviderSettings
from pipeline.domain.errors import TransportError
from pipeline.domain.vision import ServiceTier
from pipeline.providers.credentials import (
    Secret,
    make_account_headers,
    make_key_headers,
    read_key,
)
from pipeline.providers.endpoint import choose_base_url, choose_proxy
from pipeline.providers.line_splitter import LineSplitter
from pipeline.providers.payloads import FileForm, JsonBody, open_form
from pipeline.providers.wire_faults import NoFirstByte, say_faults

_KEEPALIVE_SECONDS: Final = 60.0
# OpenAI's advice for the lane (guide "Flex processing", 2026-06).
_LEAST_FLEX_SECONDS: Final = 900.0
_DNS_CACHE_SECONDS: Final = 300
# An answer is a few kilobytes. A server that never stops sending must not fill our memory.
_MOST_ANSWER_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, with the key blotted out of it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


class Download:
    """An answer that is read while it comes."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        server: str,
        blot: Callable[[int, Mapping[str, str], bytes], Reply],
        hide: Callable[[bytes], bytes],
    ) -> None:
        self._response = response
        self._server = server
        self._blot = blot
        self._hide = hide

    @property
    def status(self) -> int:
        return self._response.status

    async def read(self) -> Reply:
        """All of it, for an answer that is no file.

        Raises:
            AttemptTimeout, TransportError: it stopped coming, broke off or has no end.
        """
        body = await say_faults(_read_bounded(self._response.content), server=self._server)
        return self._blot(self.status, self._response.headers, body)

    async def read_lines(self) -> AsyncIterator[bytes]:
        """The lines in it, without their line breaks and the key.

        Raises:
            AttemptTimeout: nothing came for long.
            TransportError: it broke off, or a line is too long to be kept.
        """
        splitter = LineSplitter()
        while chunk := await say_faults(self._response.content.readany(), server=self._server):
            for line in splitter.feed(chunk):
                yield self._hide(line)
            await checkpoint()  # whoever sends faster than we read would never let others go on
        if rest := splitter.take_rest():
            if not self._tells_its_end:
                raise TransportError(f"the answer of {self._server} broke off in mid-line")
            yield self._hide(rest)

    @property
    def _tells_its_end(self) -> bool:
        """Whether a connection that is cut can be told from the end (RFC 9112, section 8)."""
        headers = self._response.headers
        return "Content-Length" in headers or "Transfer-Encoding" in headers


class Transport:
    """Talks to one server."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: URL,
        key: Secret | None,
        first_byte_seconds: float | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._key = key
        self._first_byte_seconds = first_byte_seconds
        self._urls: dict[str, URL] = {}

    @property
    def host(self) -> str:
        return self._base_url.host or ""

    @property
    def server(self) -> str:
        """The base URL as users may see it: a query can hold a token, so it is left out."""
        return str(self._base_url.with_query(None))

    async def post(self, path: str, body: Sequence[bytes]) -> Reply:
        """Send ``body`` (JSON in pieces) once and return whatever the server says, of any status.

        Raises:
            AttemptTimeout: no connection, no beginning of an answer, or no whole one, in time.
            TransportError: no connection, or it broke before the answer was whole.
        """
        url = self._urls.get(path) or self._urls.setdefault(path, self._make_url(path))
        payload = JsonBody(body)
        work = self._exchange(self._begin("POST", url, payload))
        return await say_faults(work, server=url.authority, is_out=lambda: payload.is_out)

    async def send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request without a body that nobody bills for; return whatever the server says.

        Raises:
            AttemptTimeout, TransportError: as for ``post``, and never billed.
        """
        url = self._make_url(path).update_query(query or {})
        work = self._exchange(self._begin(method, url))
        return await say_faults(work, server=url.authority)

    async def upload(self, path: str, form: FileForm) -> Reply:
        """Post a file as a stream; return whatever the server says.

        It may take for ever as long as something moves.

        Raises:
            EnvironmentFault: the file cannot be read.
            AttemptTimeout: no connection, or nothing moved for long: neither file nor answer.
            TransportError: no connection, or it broke before the answer was whole.
        """
        url = self._make_url(path)
        patience = self._make_patience()
        async with open_form(form, stall_seconds=patience.sock_read) as body:
            begun = self._session.post(url, data=body, allow_redirects=False, timeout=patience)
            return await say_faults(self._exchange(begun), server=url.authority)

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[Download]:
        """Begin to fetch a file, of any length and for as long as something of it comes.

        Raises:
            AttemptTimeout, TransportError: the answer did not begin.
        """
        url = self._make_url(path)
        headers = {"Accept": "*/*"}
        begun = self._session.get(
            url, headers=headers, allow_redirects=False, timeout=self._make_patience()
        )
        async with await say_faults(begun, server=url.authority) as response:
            yield Download(response, server=url.authority, blot=self._blot, hide=self._hide)

    def _make_patience(self) -> aiohttp.ClientTimeout:
        """For what takes as long as it takes: only standing still ends it."""
        usual = self._session.timeout
        return aiohttp.ClientTimeout(total=None, connect=usual.connect, sock_read=usual.total)

    def _make_url(self, path: str) -> URL:
        return (self._base_url / path).with_query(self._base_url.query)

    async def _exchange(self, begun: Awaitable[aiohttp.ClientResponse]) -> Reply:
        async with await begun as response:
            answer = await _read_bounded(response.content)
            return self._blot(response.status, response.headers, answer)

    async def _begin(
        self, method: str, url: URL, payload: JsonBody | None = None
    ) -> aiohttp.ClientResponse:
        """Send all, and wait for the answer's headers."""
        begun = self._session.request(method, url, data=payload, allow_redirects=False)
        if self._first_byte_seconds is None:
            return await begun
        with anyio.move_on_after(self._first_byte_seconds):
            return await begun
        raise NoFirstByte

    def _hide(self, data: bytes) -> bytes:
        return self._key.hide_in(data) if self._key else data

    def _blot(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        shown = {
            name.lower(): self._hide(value.encode("utf-8", "replace")).decode()
            for name, value in headers.items()
        }
        return Reply(status=status, headers=shown, body=self._hide(body))


async def _read_bounded(stream: aiohttp.StreamReader) -> bytes:
    pieces: list[bytes] = []
    room = _MOST_ANSWER_BYTES
    async for piece in stream.iter_any():
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise aiohttp.ClientPayloadError("too long")
    return b"".join(pieces)


def choose_timeout_seconds(settings: ProviderSettings) -> float:
    """How long one whole attempt may take: the flex lane is slow by design."""
    return _stretch(settings.timeout_s, settings)


def _choose_first_byte_seconds(settings: ProviderSettings) -> float | None:
    wanted = settings.first_byte_timeout_s
    # An answer that is not streamed begins when it is ready: in flex, as late as it ends.
    return None if wanted is None else _stretch(wanted, settings)


def _stretch(seconds: float, settings: ProviderSettings) -> float:
    is_flex = settings.service_tier is ServiceTier.FLEX
    return max(seconds, _LEAST_FLEX_SECONDS) if is_flex else seconds


def _make_session(
    settings: ProviderSettings, headers: Mapping[str, str], *, proxy: URL | None
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # requests in flight are bounded by whoever asks
        keepalive_timeout=_KEEPALIVE_SECONDS,
        ttl_dns_cache=_DNS_CACHE_SECONDS,
    )
    timeout = aiohttp.ClientTimeout(
        total=choose_timeout_seconds(settings), connect=settings.connect_timeout_s
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
        timeout=timeout,
    )


@asynccontextmanager
async def open_transport(
    settings: ProviderSettings, environ: Mapping[str, str]
) -> AsyncIterator[Transport]:
    """Open the session to the server that settings and environment name; close it on the way out.

    Raises:
        ConfigurationError: the URL, the key or the proxy cannot be used.
    """
    base_url = choose_base_url(settings, environ)
    host = base_url.host or ""
    key = read_key(settings, environ, host=host)
    headers = {
        "User-Agent": f"tagpipe/{__version__}",
        "Accept": "application/json",
        **make_account_headers(settings, environ),
        **make_key_headers(key, host=host),
    }
    async with _make_session(settings, headers, proxy=choose_proxy(base_url, environ)) as session:
        yield Transport(
            session,
            base_url=base_url,
            key=key,
            first_byte_seconds=_choose_first_byte_seconds(settings),
        )
