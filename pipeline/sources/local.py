"""Images on a local or mounted disk: one folder with all below it, or a single file."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from pipeline.config.settings import LibrarySettings
from pipeline.domain.errors import EnvironmentFault, ImageError
from pipeline.domain.images import ImageRef
from pipeline.domain.outcomes import Cause
from pipeline.sources.addresses import to_path, to_uri, uri_prefixes
from pipeline.sources.walk import Walk, unlistable_root

# a FIFO put where a picture was must not block the thread that opens it
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_OPEN_NO_LINK = _OPEN | getattr(os, "O_NOFOLLOW", 0)

_PART_BYTES = 1_048_576

_NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE})


class LocalSource:
    """Lists and reads the images of one folder or file.

    Uris are absolute paths; a path that is not UTF-8 becomes ``file://`` and percent-encoded.
    A file is listed by the extension of its name or for want of one; ``include`` globs, when
    given, decide in its stead. Hidden names and thumbnail caches are left out first.

    Raises:
        ConfigurationError: a glob is malformed.
    """

    def __init__(self, root: Path, settings: LibrarySettings) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100 - without "..", links unresolved
        self._settings = settings
        self._walk = Walk(self._root, settings)

    @property
    def root(self) -> str:
        return to_uri(self._root)

    @property
    def prefixes(self) -> tuple[str, ...]:
        is_file = os.path.isfile(self._root)  # noqa: PTH113 - the root is text here
        return (self.root,) if is_file else uri_prefixes(self._root)

    @property
    def unlistable(self) -> int:
        """How many folders the last scan could not list, or only in part."""
        return len(self._walk.unlistable)

    @property
    def unlistable_prefixes(self) -> tuple[str, ...]:
        """What the uris below those folders start with: nothing is known of them."""
        return tuple(prefix for path in self._walk.unlistable for prefix in uri_prefixes(path))

    async def scan(self) -> AsyncIterator[list[ImageRef]]:
        """List the images, at most 1,000 at a time, each folder's files before its subfolders.

        A folder that cannot be listed is logged as ``scan.unlistable`` and passed over.

        Raises:
            EnvironmentFault: the root is gone, or cannot be listed.
        """
        self._walk = walk = Walk(self._root, self._settings)
        single = await to_thread.run_sync(self._check_root)
        if single is not None:
            yield [single]
            return
        while not walk.is_done:
            chunk = await to_thread.run_sync(walk.advance)
            if chunk:
                yield chunk

    def _check_root(self) -> ImageRef | None:
        """The root as the one image when it is a file; None when it is a folder."""
        try:
            facts = os.stat(self._root)  # noqa: PTH116 - the root is text here
        except OSError as error:
            raise unlistable_root(self._root, error) from error
        if stat.S_ISREG(facts.st_mode):
            return ImageRef(uri=self.root, size=facts.st_size, version=str(facts.st_mtime_ns))
        if not stat.S_ISDIR(facts.st_mode):
            raise EnvironmentFault(f"{self.root} is neither a folder nor a file: name one of them")
        if not os.access(self._root, os.R_OK | os.X_OK):
            raise unlistable_root(self._root, PermissionError(errno.EACCES, "Permission denied"))
        return None

    async def read_head(self, image: ImageRef, *, max_bytes: int) -> bytes:
        """Return the first bytes of the file, or all of it when it has no more.

        Raises:
            ImageError: ``MISSING``, ``UNREADABLE`` or ``EMPTY``.
            EnvironmentFault: the whole library is gone, or no file can be opened any more.
        """
        read = partial(self._read_by, read_head, image, max_bytes)
        return await to_thread.run_sync(read)

    async def read(self, image: ImageRef, *, max_bytes: int) -> bytes:
        """Return the whole file; see ``read_now``."""
        return await to_thread.run_sync(partial(self.read_now, image, max_bytes=max_bytes))

    def read_now(self, image: ImageRef, *, max_bytes: int) -> bytes:
        """Return the whole file, blocking: for a caller that has a thread of its own.

        Raises:
            ImageError: ``MISSING``, ``UNREADABLE``, ``EMPTY`` or ``TOO_LARGE``.
            EnvironmentFault: the whole library is gone, or no file can be opened any more.
        """
        return self._read_by(read_file, image, max_bytes)

    def _read_by(self, read: "_Read", image: ImageRef, max_bytes: int) -> bytes:
        path = to_path(image.uri)
        is_root = path == self._root
        follows = self._settings.follow_symlinks or is_root
        try:
            return read(path, max_bytes, follow_symlinks=follows)
        except ImageError as error:
            is_gone = error.cause is Cause.MISSING and not is_root
            if is_gone and not os.path.isdir(self._root):  # noqa: PTH112 - the root is text here
                raise EnvironmentFault(
                    f"the library {self.root} is gone; mount it again, then run the same command"
                ) from error
            raise


def read_file(path: str, max_bytes: int, *, follow_symlinks: bool = True) -> bytes:
    """Return all bytes of a regular file, blocking; ``path`` may be a uri of ours.

    Raises:
        ImageError: ``MISSING``, ``UNREADABLE``, ``EMPTY`` or ``TOO_LARGE`` (nothing is read).
        EnvironmentFault: this process or machine has no file handle left.
    """
    path = to_path(path)
    with _open(path, follow_symlinks=follow_symlinks) as (handle, size):
        if size > max_bytes:
            raise _too_large(path, size, max_bytes)
        return _read_all(path, handle, size, max_bytes)


def read_head(path: str, max_bytes: int, *, follow_symlinks: bool = True) -> bytes:
    """Return the first bytes of a regular file, blocking; ``path`` may be a uri of ours.

    Raises:
        ImageError: ``MISSING``, ``UNREADABLE`` or ``EMPTY``.
        EnvironmentFault: this process or machine has no file handle left.
    """
    path = to_path(path)
    with _open(path, follow_symlinks=follow_symlinks) as (handle, size):
        wanted = min(size, max_bytes)
        data = os.read(handle, wanted)
        while len(data) < wanted and (more := os.read(handle, wanted - len(data))):
            data += more
        return data


class _Read(Protocol):
    def __call__(self, path: str, max_bytes: int, /, *, follow_symlinks: bool) -> bytes: ...


@contextmanager
def _open(path: str, *, follow_symlinks: bool) -> Iterator[tuple[int, int]]:
    """A handle of a regular file that has bytes, and how many; our errors."""
    try:
        handle = os.open(path, _OPEN if follow_symlinks else _OPEN_NO_LINK)
        try:
            yield handle, _check_facts(path, os.fstat(handle))
        finally:
            os.close(handle)
    except OSError as error:
        raise _translate(path, error) from error


def _check_facts(path: str, facts: os.stat_result) -> int:
    if not stat.S_ISREG(facts.st_mode):
        raise ImageError(Cause.UNREADABLE, f"{to_uri(path)} is not a regular file")
    if facts.st_size == 0:
        raise ImageError(Cause.EMPTY, f"{to_uri(path)} has no bytes")
    return facts.st_size


def _read_all(path: str, handle: int, size: int, max_bytes: int) -> bytes:
    # one byte more than there should be: a full read that stops short of it is the whole file
    data = os.read(handle, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    total = len(data)
    while data and total <= max_bytes:
        data = os.read(handle, min(max_bytes + 1 - total, _PART_BYTES))
        parts.append(data)
        total += len(data)
    if total > max_bytes:
        raise _too_large(path, total, max_bytes)
    return b"".join(parts)


def _too_large(path: str, size: int, max_bytes: int) -> ImageError:
    return ImageError(
        Cause.TOO_LARGE,
        f"{to_uri(path)} has {size} bytes or more; preprocess.max_bytes allows {max_bytes}",
    )


def _translate(path: str, error: OSError) -> ImageError | EnvironmentFault:
    if error.errno in _NO_HANDLES:
        return EnvironmentFault(
            f"no more files can be opened ({error.strerror}): raise the limit (ulimit -n) "
            "or lower limits.max_concurrency"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ImageError(Cause.MISSING, f"{to_uri(path)} is no longer there")
    if error.errno == errno.ELOOP:
        return ImageError(
            Cause.UNREADABLE, f"{to_uri(path)} is a link; library.follow_symlinks is off"
        )
    return ImageError(Cause.UNREADABLE, f"cannot read {to_uri(path)}: {error.strerror}")
