"""Every file format by the name that settings and the command line use."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline.domain.errors import ConfigurationError
from pipeline.exporters.base import Exporter
from pipeline.exporters.csv_file import CsvFile
from pipeline.exporters.json_file import JsonFile
from pipeline.exporters.jsonl_file import JsonlFile

FORMATS: Final[dict[str, Callable[[Path, tuple[str, ...]], Exporter]]] = {
    "csv": CsvFile,
    "json": JsonFile,
    "jsonl": JsonlFile,
}


def open_exporter(format_name: str, path: Path, fields: tuple[str, ...]) -> Exporter:
    """An exporter to be used with ``with``; nothing is touched before that.

    Args:
        format_name: one of ``FORMATS``.
        path: the file to write or replace.
        fields: the profile's field names, in order: columns between the fixed ones.

    Raises:
        ConfigurationError: there is no such format.
    """
    if format_name not in FORMATS:
        raise ConfigurationError(
            f"exports.format: {format_name!r} is no format; allowed are {', '.join(FORMATS)}"
        )
    return FORMATS[format_name](path, fields)
