"""Strict YAML with line numbers."""

from pathlib import Path

import pytest

from pipeline.config.documents import read_document
from pipeline.domain.errors import ConfigurationError


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "d.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["a"], 2),
        (["list", 0], 4),
        (["list", 1, "deep"], 6),
        (["list", 9], 4),
        (["list", 1, "absent"], 5),
        (["absent"], 1),
        ([], 1),
    ],
)
def test_line_of_a_value_or_of_what_encloses_it(
    tmp_path: Path, keys: list[str | int], line: int
) -> None:
    text = "x: 0\na: 1\nlist:\n  - no\n  - other: 2\n    deep: 3\n"
    assert read_document(write(tmp_path, text)).line_of(keys) == line


def test_written_form_of_a_misread_scalar_is_known(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "list: [no]\n"))
    assert document.data == {"list": [False]}
    assert document.written(["list", 0]) == "no"
    assert document.written(["list"]) is None


def test_anchors_and_merges_work_as_usual(tmp_path: Path) -> None:
    text = "base: &b {x: 1}\nother: {<<: *b, y: 2}\n"
    assert read_document(write(tmp_path, text)).data["other"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1\nb: 2\n", ", line 2: not valid YAML"),
        ("a: 1\na: 2\n", ", line 2: not valid YAML: the key a is given twice"),
        ("x:\n  12: a\n", ", line 2: not valid YAML: the key 12 is not text"),
        ("a: \x00", ": not valid YAML: unacceptable character"),
        ("a: 2024-13-45", ": not valid YAML: month must be in 1..12"),
        ("a: !!python/object:os.system x", ", line 1: not valid YAML: could not determine"),
        (b"a: \xff", ": is not UTF-8 text"),
        ("[" * 5_000, ": nested too deeply"),
    ],
)
def test_unusable_file_is_told_with_its_line(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ConfigurationError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}{said}")


def test_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_document(tmp_path)
