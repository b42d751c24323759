"""A stream of bytes, cut into lines."""

from collections.abc import Iterator
from typing import Final

from pipeline.domain.errors import TransportError

MOST_LINE_BYTES: Final = 16 * 1024 * 1024
"""An answer is a few kilobytes; what is so much longer is none, and must not fill our memory."""


class LineSplitter:
    """Cuts at line feeds, whatever slices the bytes come in; keeps no more than one line."""

    def __init__(self, *, most_bytes: int = MOST_LINE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in ``chunk``, without their line breaks.

        Raises:
            TransportError: a line is longer than can be kept.
        """
        first, *others = chunk.split(b"\n")
        self._keep(first)
        for piece in others:
            yield self.take_rest()
            self._keep(piece)

    def take_rest(self) -> bytes:
        """What came since the last line break."""
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most_bytes:
            raise TransportError(
                f"a line of the answers has more than {self._most_bytes} bytes: "
                "neither it nor what follows can be read"
            )
        self._pieces.append(piece)
