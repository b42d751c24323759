"""Heads of files: what will be sent of a picture, and which files look like copies."""

import hashlib
from array import array
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import anyio
import anyio.to_thread

from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageFormat, ImageRef
from pipeline.domain.outcomes import Cause
from pipeline.preprocess.foresight import Foresight, foresee
from pipeline.preprocess.prepare import PrepareOptions
from pipeline.sources.base import Source

_HEADS: Final = (65_536, 1_048_576)
"""Bytes that are read first, and when they do not suffice; then all of the file."""
_MOST_SIZES: Final = 4_096
_KEY_BYTES: Final = 8
_UNTELLING: Final = frozenset({ImageFormat.BMP, ImageFormat.TIFF})
"""Scans in these begin with the same white margin, and have as many bytes as one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One picture, as far as the head of its file tells."""

    foresight: Foresight
    key: int | None
    """The same for files with as many bytes that begin alike; None where that says too little."""


class HeadReader:
    """Looks at pictures without reading all of their files."""

    def __init__(self, options: PrepareOptions) -> None:
        self._options = replace(options, fit=lru_cache(maxsize=_MOST_SIZES)(options.fit))

    async def look(self, source: Source, image: ImageRef) -> Look:
        """Look at one picture.

        Raises:
            ImageError: it will not be asked about, with the cause.
            EnvironmentFault: the library is gone.
        """
        self._check_bytes(image)
        key: int | None = None
        for most in _HEADS:
            head = await source.read_head(image, max_bytes=most)
            is_whole = len(head) < most
            key = _make_key(image, head[: _HEADS[0]]) if key is None else key
            try:
                found = self._foresee(head, image, is_whole=is_whole)
            except ImageError as error:
                if is_whole or error.cause is not Cause.TRUNCATED:
                    raise
            else:
                is_telling = is_whole or found.info.format not in _UNTELLING
                return Look(foresight=found, key=key if is_telling else None)
        data = await source.read(image, max_bytes=self._options.max_bytes)
        work = partial(self._foresee, data, image, is_whole=True)
        found = await anyio.to_thread.run_sync(work)
        return Look(foresight=found, key=None if found.info.format in _UNTELLING else key)

    def _check_bytes(self, image: ImageRef) -> None:
        """What the listing alone tells: such a file is not even opened."""
        if not image.size:
            raise ImageError(Cause.EMPTY, f"{image.uri} has no bytes")
        if image.size > self._options.max_bytes:
            raise ImageError(Cause.TOO_LARGE, f"{image.uri} has {image.size} bytes")

    def _foresee(self, head: bytes, image: ImageRef, *, is_whole: bool) -> Foresight:
        size = len(head) if is_whole else image.size
        return foresee(head, self._options, file_bytes=size, is_whole=is_whole)


def _make_key(image: ImageRef, head: bytes) -> int:
    digest = hashlib.blake2b(head, digest_size=_KEY_BYTES, key=b"%d" % image.size)
    return int.from_bytes(digest.digest(), "little") or 1


class SeenKeys:
    """Which keys came by before: 16 bytes each, and no more of them than it has room for.

    A table with open addressing; Python's own sets take seven times as much.

    Args:
        most: keys that are remembered; those that come later are only compared.
    """

    def __init__(self, most: int = 1 << 24) -> None:
        self._most = most
        self._count = 0
        self._slots = _make_slots(1 << 10)

    @property
    def is_empty(self) -> bool:
        return not self._count

    @property
    def is_full(self) -> bool:
        return self._count >= self._most

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and self._slots[self._find(key)] != 0

    def add(self, key: int) -> bool:
        """Remember a key, above 0; whether it is a new one."""
        place = self._find(key)
        if self._slots[place]:
            return False
        if not self.is_full:
            self._slots[place] = key
            self._count += 1
            if 2 * self._count > len(self._slots):
                self._grow()
        return True

    def _find(self, key: int) -> int:
        slots = self._slots
        mask = len(slots) - 1
        place = key & mask
        while slots[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        old, self._slots = self._slots, _make_slots(2 * len(self._slots))
        for key in old:
            if key:
                self._slots[self._find(key)] = key


class PaidMarks:
    """Size and time of images that have their answer: one of the same that is new was moved.

    It is the same hint by which the catalogue pairs what is gone and what is new: where two have
    the same mark nobody knows, and each mark stands for one image.
    """

    def __init__(self) -> None:
        self._marks, self._rivals, self._taken = SeenKeys(), SeenKeys(), SeenKeys()

    @property
    def is_empty(self) -> bool:
        return self._marks.is_empty

    def add(self, size: int, version: str) -> None:
        mark = _make_mark(size, version)
        if not self._marks.add(mark):
            self._rivals.add(mark)

    def settle(self, image: ImageRef) -> None:
        """Note that an image that is paid for is where it was: no new one is what it became."""
        self._taken.add(_make_mark(image.size, image.version))

    def take(self, image: ImageRef) -> bool:
        """Whether a new image is one that is paid for, elsewhere or under another name."""
        mark = _make_mark(image.size, image.version)
        return mark in self._marks and mark not in self._rivals and self._taken.add(mark)


def _make_mark(size: int, version: str) -> int:
    digest = hashlib.blake2b(f"{size} {version}".encode(), digest_size=_KEY_BYTES)
    return int.from_bytes(digest.digest(), "little") or 1


def _make_slots(count: int) -> "array[int]":
    return array("Q", bytes(8 * count))
