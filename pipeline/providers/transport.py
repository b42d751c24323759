"""The one HTTP session: sends bytes, brings back bytes, and says its faults in our words."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import anyio
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from pipeline import __version__
from pipeline.config.settings import ProviderSettings
from pipeline.domain.errors import AttemptTimeout, TransientError, TransportError
from pipeline.domain.vision import ServiceTier
from pipeline.providers.credentials import (
    Secret,
    make_account_headers,
    make_key_headers,
    read_key,
)
from pipeline.providers.endpoint import choose_base_url, choose_proxy

_KEEPALIVE_SECONDS: Final = 60.0
# OpenAI's advice for the lane (guide "Flex processing", 2026-06).
_LEAST_FLEX_SECONDS: Final = 900.0
_DNS_CACHE_SECONDS: Final = 300
# Below this, copying the pieces together is cheaper than a system call for each.
_JOIN_BYTES: Final = 64 * 1024
_SLICE_BYTES: Final = 1024 * 1024
# An answer is a few kilobytes. A server that never stops sending must not fill our memory.
_MOST_ANSWER_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, with the key blotted out of it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


class _JsonBody(aiohttp.Payload):
    """JSON in pieces of known length: never sent chunked (some servers refuse that) nor at once.

    The slices give the loop a turn in between: over TLS, encrypting 20 MB in one go would hold it.
    """

    _autoclose = True

    def __init__(self, value: Sequence[bytes]) -> None:
        super().__init__(value, content_type="application/json")
        self._size: int = sum(map(len, value))
        self._handed_over = 0

    @property
    def is_out(self) -> bool:
        """Whether all of it was handed to the wire: before that, no server can have answered."""
        return self._handed_over >= self._size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        whole = self._size <= _JOIN_BYTES
        for piece in (b"".join(self._value),) if whole else self._value:
            view = memoryview(piece)
            for start in range(0, len(view), _SLICE_BYTES):
                part = view[start : start + _SLICE_BYTES]
                # Counted first: a write that is broken off may have sent it all the same.
                self._handed_over += len(part)
                await writer.write(part)


class _NoFirstByte(TimeoutError):
    """The answer did not begin in time."""


class Transport:
    """Posts JSON to one server."""

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
        payload = _JsonBody(body)
        try:
            return await self._exchange(url, payload)
        except (aiohttp.ClientError, OSError) as error:
            fault = translate_fault(error, server=url.authority, is_out=payload.is_out)
            origin = find_safe_origin(error)
        # Outside the handler, so that nothing of aiohttp's hangs on as the context either.
        raise fault from origin

    def _make_url(self, path: str) -> URL:
        return (self._base_url / path).with_query(self._base_url.query)

    async def _exchange(self, url: URL, payload: _JsonBody) -> Reply:
        async with await self._begin(url, payload) as response:
            answer = await _read_bounded(response.content)
            return self._blot(response.status, response.headers, answer)

    async def _begin(self, url: URL, payload: _JsonBody) -> aiohttp.ClientResponse:
        """Send all, and wait for the answer's headers."""
        begun = self._session.post(url, data=payload, allow_redirects=False)
        if self._first_byte_seconds is None:
            return await begun
        with anyio.move_on_after(self._first_byte_seconds):
            return await begun
        raise _NoFirstByte

    def _blot(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        hide = self._key.hide_in if self._key else bytes
        shown = {
            name.lower(): hide(value.encode("utf-8", "replace")).decode()
            for name, value in headers.items()
        }
        return Reply(status=status, headers=shown, body=hide(body))


async def _read_bounded(stream: aiohttp.StreamReader) -> bytes:
    pieces: list[bytes] = []
    room = _MOST_ANSWER_BYTES
    async for piece in stream.iter_any():
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise aiohttp.ClientPayloadError("too long")
    return b"".join(pieces)


def translate_fault(error: Exception, *, server: str, is_out: bool = True) -> TransientError:
    """Our words for a fault of the wire: facts and the host, never what was sent.

    Args:
        error: what aiohttp or the system raised.
        server: host and port.
        is_out: whether all of the request was sent: else nothing can have been billed.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            return AttemptTimeout(f"no connection to {server} within provider.connect_timeout_s")
        case _NoFirstByte():
            text = f"no answer from {server} began within provider.first_byte_timeout_s"
            return AttemptTimeout(text, may_be_billed=is_out)
        case TimeoutError():
            text = f"no whole answer from {server} within provider.timeout_s"
            return AttemptTimeout(text, may_be_billed=is_out)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return TransportError(_explain_no_connection(error, server=server))
        case aiohttp.ClientPayloadError():
            text = f"the answer of {server} came cut or without end; it may have been billed"
            return TransportError(text, may_be_billed=True)
        case aiohttp.ClientResponseError():
            text = f"{server} does not speak proper HTTP"
        case _:
            doubt = "; it may be billed" if is_out else " before all was sent"
            text = f"the connection to {server} broke ({type(error).__name__}){doubt}"
    return TransportError(text, may_be_billed=is_out)


def _explain_no_connection(error: aiohttp.ClientError, *, server: str) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=why):
            reason = getattr(why, "verify_message", "") or "it is not trusted"
            return f"the TLS certificate of {server} does not hold: {reason}"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name of {server} cannot be resolved (DNS); check provider.base_url"
        case aiohttp.ClientSSLError():
            return f"no TLS with {server}: check http or https and the port in provider.base_url"
        case aiohttp.ClientProxyConnectionError(os_error=why):
            return f"the proxy on the way to {server} cannot be reached: {why.strerror or why}"
        case aiohttp.ClientConnectorError(os_error=why):
            return f"no connection to {server}: {why.strerror or type(why).__name__}"
    return f"the proxy refused the way to {server} (HTTP {getattr(error, 'status', '?')})"


def find_safe_origin(error: Exception) -> BaseException | None:
    """What may be chained: aiohttp's own errors can carry our headers and proxy passwords."""
    match error:
        case aiohttp.ClientConnectorError(os_error=origin):
            return origin
        case aiohttp.ClientResponseError():
            return None
    return error


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
