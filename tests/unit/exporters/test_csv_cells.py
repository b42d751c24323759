"""CSV cells: what a spreadsheet would run is defused, everything else is left alone."""

import csv
from pathlib import Path
from typing import Any

import pytest
from exporter_records import make_record

from pipeline.exporters.csv_file import CsvFile


def write_cell(folder: Path, value: Any) -> str:
    path = folder / "out.csv"
    with CsvFile(path, ("cell",)) as exporter:
        exporter.write(make_record(fields={"cell": value}))
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))["cell"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r"])  # noqa: RUF001 - full-width on purpose
@pytest.mark.parametrize("before", ["", " ", "\n", "\u00a0", "\ufeff", "\u200b", "\x00"])
def test_formula_is_defused(tmp_path: Path, sign: str, before: str) -> None:
    text = f"{before}{sign}HYPERLINK(1)"
    assert write_cell(tmp_path, text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "a=b", "1-2", "a@b.c", "#tag", "'quoted'", "(=1)", "  plain", "שלום", "😀", "/a"]
)
def test_ordinary_text_is_left_alone(tmp_path: Path, text: str) -> None:
    assert write_cell(tmp_path, text) == text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-5, "-5"),
        (-0.25, "-0.25"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ([], ""),
        ((), ""),
        (["red", "blue"], "red; blue"),
        (["a; b", "c"], "a; b; c"),
        ([1, None, True, "x"], "1; ; true; x"),
        (["=1+1", "b"], "'=1+1; b"),
        ([-1, 2], "'-1; 2"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        ([{"box": [0, 1]}, {"box": None}], '{"box":[0,1]}; {"box":null}'),
    ],
)
def test_values_become_cells(tmp_path: Path, value: Any, cell: str) -> None:
    assert write_cell(tmp_path, value) == cell


def test_fixed_text_columns_are_defused_too(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    record = make_record(uri="=u", profile="+p", model="@m", message="-e", tags=("=t",))
    with CsvFile(path, ("=f",)) as exporter:
        exporter.write(record)
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert [row[name] for name in ("uri", "profile", "model", "message", "tags")] == [
        "'=u", "'+p", "'@m", "'-e", "'=t",
    ]  # fmt: skip
    assert "'=f" in row


def test_lines_end_with_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with CsvFile(path, ()) as exporter:
        exporter.write(make_record())
    data = path.read_bytes()
    assert data.count(b"\n") == 2
    assert b"\r" not in data
    assert data.startswith(b"image_id,uri,")
