"""The walk through one folder tree: lazy, sorted, a bounded step at a time."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from pipeline.config.settings import LibrarySettings
from pipeline.domain.errors import EnvironmentFault
from pipeline.domain.images import IMAGE_EXTENSIONS, ImageRef
from pipeline.sources.addresses import to_uri
from pipeline.sources.globs import compile_globs

_log = logging.getLogger(__name__)

JUNK_NAMES = frozenset(
    {
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "Thumbs.db",
        "__MACOSX",
        "lost+found",
    }
)
"""Thumbnail caches and waste bins without a leading dot."""

STEP_ENTRIES = 1_000

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_by_name = attrgetter("name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder to be listed."""

    path: str
    relative: str
    """Below the root, with ``/`` at the end; empty for the root."""
    trail: frozenset[tuple[int, int]]
    """Device and inode of the folders above it; kept only where links are followed."""


class Walk:
    """Lists one tree. In each folder the files come first, then the subfolders, by name.

    Memory is bounded by the entries of one folder and the subfolders still to be visited.
    """

    def __init__(self, root: str, settings: LibrarySettings) -> None:
        self.is_done = False
        self.unlistable: list[str] = []
        """Paths of the folders that could not be listed, or only in part."""
        self._follows = settings.follow_symlinks
        self._lists_hidden = settings.hidden
        self._include = compile_globs(settings.include, setting="library.include")
        self._exclude = compile_globs(settings.exclude, setting="library.exclude")
        self._folder = Folder(path=root, relative="", trail=frozenset())
        self._folders = [self._folder]
        self._files: Iterator[os.DirEntry[str]] = iter(())

    def advance(self) -> list[ImageRef]:
        """Look at about a thousand more entries; return the images among them, maybe none.

        Raises:
            EnvironmentFault: the root cannot be listed.
        """
        found: list[ImageRef] = []
        room = STEP_ENTRIES
        while room > 0 and not self.is_done:
            files = list(islice(self._files, room))
            room -= len(files)
            if files:
                self._refer(files, found)
            elif self._folders:
                room -= self._enter(self._folders.pop())
            else:
                self.is_done = True
        return found

    def _refer(self, files: list[os.DirEntry[str]], found: list[ImageRef]) -> None:
        follows = self._follows
        for entry in files:
            try:
                facts = entry.stat(follow_symlinks=follows)
            except OSError as error:
                self._note(error)
                continue
            found.append(
                ImageRef(uri=to_uri(entry.path), size=facts.st_size, version=str(facts.st_mtime_ns))
            )

    def _enter(self, folder: Folder) -> int:
        """List a folder; return how many of its entries need no further look."""
        self._folder = folder
        try:
            trail = self._extend_trail(folder)
            if trail is None:
                return 1
            with os.scandir(folder.path) as entries:
                return self._sort_out(entries, trail)
        except OSError as error:
            if not folder.relative:
                raise unlistable_root(folder.path, error) from error
            self._report(error)
            return 1

    def _extend_trail(self, folder: Folder) -> frozenset[tuple[int, int]] | None:
        """The trail below a folder; None when a link led back to a folder above itself."""
        if not self._follows:
            return folder.trail
        facts = os.stat(folder.path)  # noqa: PTH116 - Path would be made for each folder
        identity = (facts.st_dev, facts.st_ino)
        return None if identity in folder.trail else folder.trail | {identity}

    def _sort_out(
        self, entries: Iterable[os.DirEntry[str]], trail: frozenset[tuple[int, int]]
    ) -> int:
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        seen = 0
        for seen, entry in enumerate(entries, 1):  # noqa: B007 - the count is used below
            name = entry.name
            if not self._lists_hidden and (name[0] == "." or name in JUNK_NAMES):
                continue
            try:
                self._choose(entry, files, folders)
            except OSError as error:
                self._note(error)
        files.sort(key=_by_name)
        folders.sort(key=_by_name, reverse=True)
        self._files = iter(files)
        above = self._folder.relative
        self._folders += [
            Folder(path=entry.path, relative=f"{above}{entry.name}/", trail=trail)
            for entry in folders
        ]
        return 1 + seen - len(files)

    def _choose(
        self,
        entry: os.DirEntry[str],
        files: list[os.DirEntry[str]],
        folders: list[os.DirEntry[str]],
    ) -> None:
        if entry.is_dir(follow_symlinks=self._follows):
            if not self._is_excluded(f"{entry.name}/"):
                folders.append(entry)
        elif entry.is_file(follow_symlinks=self._follows) and self._is_wanted(entry.name):
            files.append(entry)

    def _is_wanted(self, name: str) -> bool:
        if self._include is None:
            _, dot, extension = name.rpartition(".")
            wanted = not dot or extension.lower() in IMAGE_EXTENSIONS
        else:
            wanted = self._include.fullmatch(self._folder.relative + name) is not None
        return wanted and not self._is_excluded(name)

    def _is_excluded(self, name: str) -> bool:
        exclude = self._exclude
        return exclude is not None and bool(exclude.fullmatch(self._folder.relative + name))

    def _note(self, error: OSError) -> None:
        """Pass over an entry that is gone; report its folder when more than that is wrong."""
        is_gone = error.errno in _NOT_THERE and os.path.isdir(self._folder.path)  # noqa: PTH112 - text
        if not is_gone:
            self._report(error)

    def _report(self, error: OSError) -> None:
        path = self._folder.path
        if path in self.unlistable[-1:]:
            return
        self.unlistable.append(path)
        _log.warning("scan.unlistable", extra={"path": to_uri(path), "error": error.strerror})


def unlistable_root(path: str, error: OSError) -> EnvironmentFault:
    """The fault of a library that is not there or may not be listed."""
    return EnvironmentFault(
        f"cannot list {to_uri(path)}: {error.strerror}; "
        "check the path (library.url), its permissions and that its disk is mounted"
    )
