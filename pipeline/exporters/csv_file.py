"""Records as CSV that spreadsheets open as data, never as formulas.

UTF-8 without a byte order mark, lines end with a line feed, the first one names the columns.
The values of one cell join with ``; `` (a value that contains ``; `` stays as it is), nested
ones are compact JSON. None is an empty cell, booleans are ``true`` and ``false``.
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pipeline.exporters.record import Record, column_names, mend_surrogates, row_values
from pipeline.exporters.whole_file import WholeFile

_FORMULA = re.compile(r"[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*[\t\r=+\-@＝＋－＠]")  # noqa: RUF001 - full-width signs run too
"""What makes a cell a formula (OWASP, CSV Injection), after anything that does not show."""

_CLOSED_COLUMNS = frozenset({
    "image_id", "sha256", "width", "height", "format", "profile_version", "status", "confidence",
    "review", "input_tokens", "cached_tokens", "output_tokens", "cost_usd", "tagged_at", "cause",
})  # fmt: skip
"""Columns that hold only numbers, times and words of this program; the rest is looked at."""


class CsvFile:
    """One line a record, with the columns of ``record.column_names``."""

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self._file = WholeFile(path)
        self._fields = fields
        names = column_names(fields)
        self._checked_places = [
            place for place, name in enumerate(names) if name not in _CLOSED_COLUMNS
        ]
        # the writer quotes a lone carriage return only when its own line end has one
        self._writer = csv.writer(_Lines(self._file), lineterminator="\r\n")

    def __enter__(self) -> Self:
        self._file.__enter__()
        self._writer.writerow(map(_defuse, column_names(self._fields)))
        return self

    def write(self, record: Record) -> None:
        row = row_values(record, self._fields)
        for place in self._checked_places:
            if make := _CELLS.get(type(row[place])):
                row[place] = make(row[place])
        self._writer.writerow(row)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)


class _Lines:
    """What the csv module writes to: text lines in, bytes that end with a line feed out."""

    def __init__(self, file: WholeFile) -> None:
        self._file = file

    def write(self, line: str) -> None:
        try:
            data = line.encode()
        except UnicodeEncodeError:
            data = mend_surrogates(line).encode()
        self._file.write(data[:-2] + b"\n")


def _defuse(text: str) -> str:
    # most cells start with a letter or digit: that test is cheaper than the expression
    if text[:1].isalnum() or not _FORMULA.match(text):
        return text
    return f"'{text}"


def _join(values: list[Any] | tuple[Any, ...]) -> str:
    try:
        joined = "; ".join(values)
    except TypeError:  # not all of them are text
        joined = "; ".join(map(_name_value, values))
    return _defuse(joined)


def _name_value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_CELLS: Final[dict[type, Callable[[Any], str]]] = {
    str: _defuse,
    bool: {False: "false", True: "true"}.__getitem__,
    list: _join,
    tuple: _join,
    dict: _dump,
}
