"""The file of one batch, while its lines are written."""

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import anyio

from pipeline.domain.errors import EnvironmentFault
from pipeline.ledger.batches import Batch, Sealed


class Pack:
    """An open batch: room is taken on the loop, lines are written in threads."""

    def __init__(self, batch: Batch, file: BinaryIO) -> None:
        self.batch = batch
        self.planned_lines = 0
        self.planned_bytes = 0
        self.planned_tokens = 0
        self._file = file
        self._lines = 0
        self._bytes = 0
        self._tokens = 0
        self._hash = hashlib.sha256()
        self._writing = threading.Lock()
        self._writers = 0
        self._quiet = anyio.Event()
        self._is_broken = False

    @classmethod
    def create(cls, batch: Batch) -> "Pack":
        """Make the file.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        try:
            batch.file.parent.mkdir(parents=True, exist_ok=True)
            return cls(batch, batch.file.open("xb"))
        except OSError as error:
            raise _explain(batch.file, error) from error

    @property
    def is_empty(self) -> bool:
        return not self._lines

    def enter(self, size: int, tokens: int) -> None:
        """Take room for a line that will be written, or not."""
        self._writers += 1
        self.planned_lines += 1
        self.planned_bytes += size
        self.planned_tokens += tokens

    def leave(self, size: int, tokens: int, *, is_written: bool) -> None:
        """The line is written; or it will not be, and its room is free again."""
        self._writers -= 1
        if not is_written:
            self.planned_lines -= 1
            self.planned_bytes -= size
            self.planned_tokens -= tokens
        if not self._writers:
            self._quiet.set()

    def write(self, pieces: Sequence[bytes], tokens: int) -> None:
        """Write a line; from any thread.

        Raises:
            EnvironmentFault: the disk does not take it: the file is of no use any more.
        """
        with self._writing:
            try:
                for piece in pieces:
                    self._file.write(piece)
            except OSError as error:
                self._is_broken = True
                raise _explain(self.batch.file, error) from error
            for piece in pieces:
                self._hash.update(piece)
                self._bytes += len(piece)
            self._lines += 1
            self._tokens += tokens

    async def wait_until_quiet(self) -> None:
        """Return when all who took room have left."""
        while self._writers:
            self._quiet = anyio.Event()
            await self._quiet.wait()

    def seal(self) -> Sealed:
        """Bring the file to the disk, whole; say what is in it.

        Raises:
            EnvironmentFault: the disk does not take it.
        """
        try:
            if self._is_broken:
                raise OSError(0, "a line of it is not whole")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _explain(self.batch.file, error) from error
        return Sealed(
            sha256=self._hash.digest(), lines=self._lines, bytes=self._bytes, tokens=self._tokens
        )

    def throw_away(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # a full disk does not take what is still to be written
            self._file.close()
        self.batch.file.unlink(missing_ok=True)


def is_whole(batch: Batch) -> bool:
    """Whether a batch's file is here as it was sealed; reads all of it."""
    try:
        with batch.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == batch.sha256
    except OSError:
        return False


def _explain(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot write {path}, where a batch lies until the server has it: {error.strerror}; "
        "free some room, or name another folder with batch.folder"
    )
