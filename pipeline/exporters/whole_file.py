"""A file that is published whole or not at all: written beside, synced, renamed."""

import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pipeline.domain.errors import EnvironmentFault
from pipeline.file_lock import try_lock

_BUFFER_BYTES = 1_048_576


class WholeFile:
    """Bytes for one destination; what stood there stays until all of them are on the disk.

    They go to ``.{name}.{pid}.partial`` in the same folder, under a lock that ends with the
    process, so that the next writer can tell and remove what a killed one left behind.
    The destination's permissions and owner are kept; a link is followed to its target.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._target = Path(os.path.realpath(path))
        self._partial = self._target.with_name(f".{self._target.name}.{os.getpid()}.partial")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            EnvironmentFault: the destination cannot be written; names it.
        """
        try:
            self._open()
        except OSError as error:
            self._discard()
            raise self._fault(error) from error
        return self

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            EnvironmentFault: the disk is full or fails; what was begun is removed.
        """
        if self._file is None:
            raise ValueError("the file is not open")
        try:
            self._file.write(data)
        except OSError as error:
            self._discard()
            raise self._fault(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the file, or remove it after an error.

        Raises:
            EnvironmentFault: it could not be written out; the old file still stands.
        """
        try:
            if kind is None and self._file is not None:
                self._publish(self._file)
        except OSError as fault:
            raise self._fault(fault) from fault
        finally:
            self._discard()

    def _open(self) -> None:
        replaced = self._check_target()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        # private until it has the permissions of the file it replaces
        mode = 0o666 if replaced is None else 0o600
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(self._partial, flags, mode)
        self._file = os.fdopen(handle, "wb", buffering=_BUFFER_BYTES)
        try_lock(handle)
        if replaced is not None:
            _copy_access(handle, replaced)

    def _check_target(self) -> os.stat_result | None:
        try:
            facts = self._target.stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(facts.st_mode):
            what = "a folder" if stat.S_ISDIR(facts.st_mode) else "no regular file"
            raise EnvironmentFault(f"cannot write {self._path}: it is {what}; name a file")
        if not os.access(self._target, os.W_OK):
            raise EnvironmentFault(
                f"cannot write {self._path}: it is write-protected; "
                "change its permissions or choose another path"
            )
        return facts

    def _remove_abandoned(self) -> None:
        leftover = re.compile(rf"\.{re.escape(self._target.name)}\.\d+\.partial")
        with os.scandir(self._target.parent) as entries:
            found = [Path(entry.path) for entry in entries if leftover.fullmatch(entry.name)]
        for partial in found:
            with suppress(OSError):
                if _is_abandoned(partial):
                    partial.unlink()

    def _publish(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        if not self._has_name(file):
            raise EnvironmentFault(f"cannot write {self._path}: another process is writing it")
        if sys.platform == "win32":
            file.close()
        self._partial.replace(self._target)
        file.close()
        self._file = None
        _sync_folder(self._target.parent)

    def _discard(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            if self._has_name(self._file):
                self._partial.unlink()
        with suppress(OSError):
            self._file.close()
        self._file = None

    def _has_name(self, file: BinaryIO) -> bool:
        """False when another host took our name, where locks do not reach (network disks)."""
        return os.path.samestat(os.fstat(file.fileno()), self._partial.stat())

    def _fault(self, error: OSError) -> EnvironmentFault:
        kept = "; the file that stood there is untouched" if self._target.is_file() else ""
        return EnvironmentFault(
            f"cannot write {self._path}: {error.strerror}{kept}: "
            "check the path, its permissions and free space, then export again"
        )


def _is_abandoned(partial: Path) -> bool:
    with partial.open("rb") as file:
        return try_lock(file.fileno())


def _copy_access(handle: int, facts: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    with suppress(PermissionError):  # only root may give a file away
        os.fchown(handle, facts.st_uid, facts.st_gid)
    with suppress(PermissionError):  # a disk without permissions (FAT) refuses to set any
        os.fchmod(handle, stat.S_IMODE(facts.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make the new name last; some systems cannot sync a folder, and the bytes are safe."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
