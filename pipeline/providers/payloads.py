"""What goes out as the body of a request: of known length, in slices, never all at once.

No body is sent chunked: some servers refuse that.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import anyio
from aiohttp.abc import AbstractStreamWriter
from anyio import to_thread

from pipeline.domain.errors import EnvironmentFault, TransientError

# Below this, copying the pieces together is cheaper than a system call for each.
_JOIN_BYTES: Final = 64 * 1024
_SLICE_BYTES: Final = 1024 * 1024
# Small enough that a slow line (2 KB/s) takes one within the time it may stand still.
_FILE_SLICE_BYTES: Final = 256 * 1024
# What stays as it is in a quoted name: browsers, too, write the rest of these as ``%22``.
_UNQUOTED: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\')


class JsonBody(aiohttp.Payload):
    """JSON in pieces.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForm:
    """A file that goes up under a name, with words beside it."""

    path: Path
    name: str
    fields: Mapping[str, str]


class FormBody(aiohttp.Payload):
    """A form as ``multipart/form-data`` (RFC 7578), its file read from disk as it goes out."""

    _autoclose = True

    def __init__(
        self, file: BinaryIO, *, size: int, form: FileForm, stall_seconds: float | None
    ) -> None:
        boundary = uuid4().hex
        super().__init__(file, content_type=f"multipart/form-data; boundary={boundary}")
        self._head = _write_head(form, boundary)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file_size = size
        self._size: int = len(self._head) + size + len(self._tail)
        self._stall_seconds = stall_seconds
        self.fault: OSError | None = None
        """Why the file could not be read: no fault of the wire."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  aiohttp's
        return f"a form with a file of {self._file_size} bytes"  # only debuggers ask

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self._send(writer, self._head)
        left = self._file_size
        while left:
            part = await to_thread.run_sync(self._read, min(left, _FILE_SLICE_BYTES))
            left -= len(part)
            await self._send(writer, part)
        await self._send(writer, self._tail)

    def _read(self, most: int) -> bytes:
        try:
            part: bytes = self._value.read(most)
            if not part:
                raise OSError(None, "it became shorter meanwhile")
        except OSError as error:
            self.fault = error
            raise
        return part

    async def _send(self, writer: AbstractStreamWriter, part: bytes) -> None:
        """Hand a slice over; a server that takes nothing any more would hold us for ever."""
        with anyio.move_on_after(self._stall_seconds):
            await writer.write(part)
            return
        raise aiohttp.SocketTimeoutError


def _write_head(form: FileForm, boundary: str) -> bytes:
    opening = f"--{boundary}\r\nContent-Disposition: form-data; name="
    words = [f'{opening}"{name}"\r\n\r\n{value}\r\n' for name, value in form.fields.items()]
    name = quote(form.name, safe=_UNQUOTED)
    file = f'{opening}"file"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return "".join((*words, file)).encode()


@asynccontextmanager
async def open_form(form: FileForm, *, stall_seconds: float | None) -> AsyncIterator[FormBody]:
    """The body that sends ``form``, while its file is open.

    Args:
        form: what to send.
        stall_seconds: how long the wire may take nothing at all.

    Raises:
        EnvironmentFault: the file cannot be opened, or not read to its end.
    """
    try:
        size = (await to_thread.run_sync(form.path.stat)).st_size
        file = await to_thread.run_sync(form.path.open, "rb")
    except OSError as error:
        raise _explain_unreadable(form.path, error) from error
    with file:
        body = FormBody(file, size=size, form=form, stall_seconds=stall_seconds)
        try:
            yield body
        except TransientError as error:
            # The wire only broke because there was nothing more to send.
            if body.fault is None:
                raise
            raise _explain_unreadable(form.path, body.fault) from error


def _explain_unreadable(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"cannot read {path}: {error.strerror or type(error).__name__}")
