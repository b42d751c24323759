"""The files of the API: on disk, in a folder that goes when the server goes."""

import itertools
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

import anyio

from pipeline.simulator.calendar import Calendar
from pipeline.simulator.errors import ApiError

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
BATCH_LIFETIME_SECONDS: Final = 30 * 24 * 3600
"""Of a batch's input and output, unless asked otherwise (batch guide, 2026-09)."""
_WRITE_BYTES: Final = 1024 * 1024
"""Written at once: what comes in smaller pieces is gathered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Bytes on disk that are no file of the API yet."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the API; moments are the server's, in seconds."""

    id: str
    filename: str
    purpose: str
    paper: Paper
    created_at: float
    expires_at: float | None

    def as_document(self, calendar: Calendar) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.paper.size,
            "created_at": calendar.tell(self.created_at),
            "expires_at": calendar.tell(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Shelf:
    """All files there are. A context manager: the folder is there while it is open.

    Used on one event loop.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._files: dict[str, StoredFile] = {}
        self._numbers = itertools.count(1)
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        # a download may still hold a file open, which some systems do not let go
        self._folder = TemporaryDirectory(prefix="tagpipe-simulator-", ignore_cleanup_errors=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def make_path(self) -> Path:
        """A path in the folder that nobody else uses."""
        if self._folder is None:
            raise RuntimeError("the shelf is not open")
        return Path(self._folder.name, f"{next(self._numbers):08}")

    async def write(self, pieces: AsyncIterator[bytes], *, most_bytes: int) -> Paper:
        """Put a stream on disk; nothing of it stays if that fails.

        Raises:
            ApiError: 413, it is larger than that.
        """
        path, size, is_whole = self.make_path(), 0, False
        try:
            async with await anyio.open_file(path, "wb") as file:
                async for piece in _gather(pieces):
                    size += len(piece)
                    if size > most_bytes:
                        raise ApiError(413, f"Max file size is {most_bytes} bytes.")
                    await file.write(piece)
            is_whole = True
        finally:
            if not is_whole:
                path.unlink(missing_ok=True)
        return Paper(path=path, size=size)

    def add(
        self, paper: Paper, *, filename: str, purpose: str, lifetime_seconds: float | None
    ) -> StoredFile:
        """Make a file of the API of it, from now on."""
        now = self._calendar.now()
        file = StoredFile(
            id=f"file-{secrets.token_hex(11)}",
            filename=filename,
            purpose=purpose,
            paper=paper,
            created_at=now,
            expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
        )
        self._files[file.id] = file
        return file

    def find(self, file_id: str) -> StoredFile:
        """Return one.

        Raises:
            ApiError: 404, there is none under that id, or not any more.
        """
        self._sweep()
        if file_id not in self._files:
            raise ApiError(404, f"No such File object: {file_id}", param="id")
        return self._files[file_id]

    def list_newest_first(self, purpose: str | None) -> list[StoredFile]:
        self._sweep()
        files = reversed(self._files.values())
        return [file for file in files if purpose in (None, file.purpose)]

    def remove(self, file_id: str) -> None:
        """Delete one.

        Raises:
            ApiError: 404, as ``find``.
        """
        self.find(file_id).paper.path.unlink(missing_ok=True)
        del self._files[file_id]

    def borrow(self, file_id: str) -> Path | None:
        """A second name for a file's bytes, which outlives the file; None if there is no file."""
        try:
            paper = self.find(file_id).paper
        except ApiError:
            return None
        path = self.make_path()
        os.link(paper.path, path)
        return path

    def clear(self) -> None:
        """Delete all."""
        for file in self._files.values():
            file.paper.path.unlink(missing_ok=True)
        self._files.clear()

    def _sweep(self) -> None:
        now = self._calendar.now()
        old = [f for f in self._files.values() if f.expires_at is not None and f.expires_at <= now]
        for file in old:
            file.paper.path.unlink(missing_ok=True)
            del self._files[file.id]


async def _gather(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) >= _WRITE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
