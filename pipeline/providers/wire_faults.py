"""Faults of the wire in our words: facts and the host, never what was sent."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from pipeline.domain.errors import AttemptTimeout, TransientError, TransportError

_Result = TypeVar("_Result")


class NoFirstByte(TimeoutError):
    """The answer did not begin in time."""


async def say_faults(
    work: Awaitable[_Result], *, server: str, is_out: Callable[[], bool] | None = None
) -> _Result:
    """Do ``work`` on the wire; what fails of it fails as one of our errors.

    Args:
        work: what may raise aiohttp's or the system's errors.
        server: host and port.
        is_out: tells whether all of a request that may be billed was sent; None: no such request.

    Raises:
        AttemptTimeout: no connection, or no answer in time.
        TransportError: no connection, or it broke.
    """
    try:
        return await work
    except (aiohttp.ClientError, OSError) as error:
        fault = translate_fault(error, server=server, is_out=is_out() if is_out else None)
        origin = find_safe_origin(error)
    # Outside the handler, so that nothing of aiohttp's hangs on as the context either.
    raise fault from origin


def translate_fault(error: Exception, *, server: str, is_out: bool | None = True) -> TransientError:
    """Our words for a fault of the wire.

    Args:
        error: what aiohttp or the system raised.
        server: host and port.
        is_out: whether all of the request was sent: else nothing can have been billed. None for
            a request that is never billed.
    """
    may_be_billed = bool(is_out)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return AttemptTimeout(f"no connection to {server} within provider.connect_timeout_s")
        case NoFirstByte():
            text = f"no answer from {server} began within provider.first_byte_timeout_s"
            return AttemptTimeout(text, may_be_billed=may_be_billed)
        case aiohttp.SocketTimeoutError():
            text = f"nothing moved between us and {server} for provider.timeout_s"
            return AttemptTimeout(text, may_be_billed=may_be_billed)
        case TimeoutError():
            text = f"no whole answer from {server} within provider.timeout_s"
            return AttemptTimeout(text, may_be_billed=may_be_billed)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return TransportError(_explain_no_connection(error, server=server))
        case aiohttp.ClientPayloadError():
            may_be_billed = is_out is not None
            doubt = "; it may have been billed" if may_be_billed else ""
            text = f"the answer of {server} came cut or without end{doubt}"
        case aiohttp.ClientResponseError():
            text = f"{server} does not speak proper HTTP"
        case _:
            doubts = {True: "; it may be billed", False: " before all was sent", None: ""}
            text = f"the connection to {server} broke ({type(error).__name__}){doubts[is_out]}"
    return TransportError(text, may_be_billed=may_be_billed)


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
