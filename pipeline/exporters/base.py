"""What every exporter can do."""

from types import TracebackType
from typing import Protocol, Self

from pipeline.exporters.record import Record


class Exporter(Protocol):
    """Writes records to one destination, whole or not at all.

    Used as a context manager: leaving it without an error publishes the output,
    leaving it with one removes what was begun and keeps what stood there before.
    """

    def __enter__(self) -> Self: ...

    def write(self, record: Record) -> None:
        """Add one record; memory does not grow with their number."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
