"""Records as one JSON array, written as they come."""

from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.exporters.record import Record, encode_record
from pipeline.exporters.whole_file import WholeFile


class JsonFile:
    """One array, one record a line, with the keys of ``record.column_names``."""

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self._file = WholeFile(path)
        self._fields = fields
        self._opening = b"[\n"

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def write(self, record: Record) -> None:
        self._file.write(self._opening + encode_record(record, self._fields))
        self._opening = b",\n"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.write(b"\n]\n" if self._opening == b",\n" else b"[]\n")
        self._file.__exit__(kind, error, trace)
