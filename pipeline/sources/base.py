"""What every source of images can do."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from pipeline.domain.images import ImageRef


class Source(Protocol):
    """Lists and reads the images of one library."""

    @property
    def root(self) -> str:
        """The library's address, for people."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What listed uris start with.

        A folder's own uri with its slash, in each form it can take; or the one image's uri.
        """

    @property
    def unlistable_prefixes(self) -> Sequence[str]:
        """Uri prefixes the last scan could not look into: nothing below them is gone."""

    def scan(self) -> AsyncIterator[list[ImageRef]]:
        """List images lazily, in chunks of bounded size, in a stable order.

        Raises:
            EnvironmentFault: the root itself is gone or cannot be listed.
        """

    async def read_head(self, image: ImageRef, *, max_bytes: int) -> bytes:
        """Return the first ``max_bytes`` of the file, or all of it when it has no more.

        Raises:
            ImageError: ``MISSING``, ``UNREADABLE`` or ``EMPTY``.
        """

    async def read(self, image: ImageRef, *, max_bytes: int) -> bytes:
        """Return the whole file.

        Raises:
            ImageError: ``MISSING``, ``UNREADABLE``, ``EMPTY`` or ``TOO_LARGE``.
        """
