"""What every exporter promises: all of it or nothing, whatever is in the records."""

import csv
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from exporter_records import make_record

from pipeline.domain.errors import ConfigurationError, EnvironmentFault
from pipeline.exporters.catalog import FORMATS, open_exporter
from pipeline.exporters.record import Record, column_names

FIELDS = ("title", "colors", "extra")

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture(params=sorted(FORMATS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def export(kind: str, path: Path, records: Iterable[Record]) -> None:
    with open_exporter(kind, path, FIELDS) as exporter:
        for record in records:
            exporter.write(record)


def read_back(kind: str, path: Path) -> list[dict[str, Any]]:
    if kind == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if kind == "json":
        return list(orjson.loads(path.read_bytes()))
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def titled(*titles: Any) -> list[Record]:
    return [make_record(fields={"title": title}) for title in titles]


def test_no_records_make_a_readable_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    export(kind, path, [])
    assert read_back(kind, path) == []
    assert path.exists()


def test_every_format_has_the_same_keys_in_order(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    export(kind, path, titled("shoe"))
    [row] = read_back(kind, path)
    assert tuple(row) == column_names(FIELDS)
    assert (row["title"], row["status"], str(row["width"])) == ("shoe", "done", "4000")
    assert row["tagged_at"] == "2025-05-01T12:00:00Z"


def test_records_keep_their_order(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    export(kind, path, titled(*map(str, range(1_000))))
    assert [row["title"] for row in read_back(kind, path)] == [str(n) for n in range(1_000)]


@pytest.mark.parametrize(
    "title",
    [
        "Grüße, žluťoučký, 日本語",
        "שלום \u202eabc\u202c",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        'say "hi", then \\ go; now',
        "one\ntwo\r\nthree\rfour",
        "\u2028 and \u0085 and \x0c",
        "nul \x00 inside",
        "null",
        " padded ",
        "x" * 3_000_000,
    ],
    ids=[
        "letters",
        "rtl",
        "emoji",
        "quotes",
        "newlines",
        "separators",
        "nul",
        "null",
        "pad",
        "huge",
    ],
)
def test_text_comes_back_as_it_was(kind: str, tmp_path: Path, title: str) -> None:
    path = tmp_path / "out"
    limit = csv.field_size_limit(10_000_000)
    export(kind, path, titled(title, "next"))
    assert [row["title"] for row in read_back(kind, path)] == [title, "next"]
    csv.field_size_limit(limit)


def test_lone_surrogates_do_not_stop_an_export(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    export(kind, path, titled("cut \ud83d", "next"))
    assert [row["title"] for row in read_back(kind, path)] == ["cut \ufffd", "next"]


def test_only_csv_changes_what_looks_like_a_formula(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    export(kind, path, titled("=1+1"))
    assert read_back(kind, path)[0]["title"] == ("'=1+1" if kind == "csv" else "=1+1")


@pytest.mark.parametrize("value", [None, [], {}, ["a", ["b"]], {"box": [1, {"x": None}]}])
def test_nothing_and_nested_values_are_written(kind: str, tmp_path: Path, value: Any) -> None:
    path = tmp_path / "out"
    export(kind, path, titled(value))
    [row] = read_back(kind, path)
    assert kind == "csv" or row["title"] == value


def test_images_without_an_answer_are_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    nothing = dict.fromkeys(
        ("sha256", "width", "height", "format", "model", "confidence", "cost_usd", "tagged_at")
    )
    export(kind, path, [make_record(**nothing, status="failed", tags=(), cause="empty")])
    [row] = read_back(kind, path)
    assert row["cause"] == "empty"
    assert row["sha256"] == ("" if kind == "csv" else None)


def test_memory_does_not_grow_with_the_records(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    peaks = [peak_bytes(kind, path, count) for count in (5_000, 50_000)]
    assert path.stat().st_size > 9_000_000
    assert peaks[1] < peaks[0] + 500_000


def peak_bytes(kind: str, path: Path, count: int) -> int:
    tracemalloc.start()
    export(kind, path, (make_record(image_id=n) for n in range(count)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def failing_records() -> Iterator[Record]:
    for number in range(20_000):
        yield make_record(image_id=number)
    raise RuntimeError("the ledger went away")


def test_error_in_mid_write_keeps_the_old_file_and_leaves_no_litter(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(RuntimeError, match="ledger"):
        export(kind, tmp_path / "out", failing_records())
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


def test_error_in_a_first_export_leaves_nothing(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        export(kind, tmp_path / "out", failing_records())
    assert list(tmp_path.iterdir()) == []


def test_record_that_cannot_be_written_leaves_nothing(kind: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        export(kind, tmp_path / "out", titled("good", [object()]))
    assert list(tmp_path.iterdir()) == []


def test_old_file_stands_until_the_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with open_exporter(kind, path, FIELDS) as exporter:
        for record in titled(*["x" * 10_000] * 300):
            exporter.write(record)
        assert path.read_text() == "old"
    assert len(read_back(kind, path)) == 300


START = """
import sys
from itertools import count
from pathlib import Path
from exporter_records import make_record
from pipeline.exporters.catalog import open_exporter
kind, path, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with open_exporter(kind, path, ()) as exporter:
    for number in count():
        exporter.write(make_record(image_id=number))
        if number == 20_000:
            print("under way", flush=True)
            if not limit:
                sys.stdin.readline()
"""


def start(kind: str, path: Path, *, limit_bytes: int = 0) -> subprocess.Popen[str]:
    tests = Path(__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", START, kind, str(path), str(limit_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"},
    )


def test_kill_in_mid_write_keeps_the_old_file_and_the_next_run_cleans_up(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.x"
    path.write_text("old")
    with start(kind, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        partial = tmp_path / f".out.x.{process.pid}.partial"
        assert partial.stat().st_size > 0
        export(kind, tmp_path / "other", [])
        export(kind, path, titled("meanwhile"))
        assert partial.exists(), "a living process keeps its file"
        process.send_signal(signal.SIGKILL)
    assert partial.exists()
    assert read_back(kind, path)[0]["title"] == "meanwhile"
    export(kind, path, titled("next"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "out.x"]


def test_leftover_under_our_own_process_id_is_no_obstacle(kind: str, tmp_path: Path) -> None:
    (tmp_path / f".out.{os.getpid()}.partial").write_text("left by the container before")
    export(kind, tmp_path / "out", titled("new"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_cleaning_spares_files_that_are_not_ours(kind: str, tmp_path: Path) -> None:
    names = [".other.1.partial", ".out.partial", ".out.x.partial", "out.1.partial"]
    for name in names:
        (tmp_path / name).touch()
    export(kind, tmp_path / "out", [])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*names, "out"])


def test_two_exports_to_one_file_at_once_never_mix(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with open_exporter(kind, path, FIELDS) as first:
        first.write(titled("first")[0])
        with pytest.raises(EnvironmentFault, match=str(path)):
            export(kind, path, titled("second"))
    assert [row["title"] for row in read_back(kind, path)] == ["first"]


def test_full_file_system_is_a_fault_and_keeps_the_old_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with start(kind, path, limit_bytes=3_000_000) as process:
        _, errors = process.communicate()
    assert f"EnvironmentFault: cannot write {path}" in errors
    assert "the file that stood there is untouched" in errors
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a tiny disk; the file size limit stands in for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("count", [600, 20_000], ids=["at the end", "under way"])
def test_full_disk_is_a_fault_and_keeps_the_old_file(
    kind: str, tiny_disk: Path, count: int
) -> None:
    path = tiny_disk / "out"
    path.write_text("old")
    with pytest.raises(EnvironmentFault, match=f"{path}: No space left"):
        export(kind, path, (make_record(message="x" * 400) for _ in range(count)))
    assert path.read_text() == "old"
    assert [entry.name for entry in tiny_disk.iterdir()] == ["out"]


def test_missing_folders_are_made(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "var/exports/out"
    export(kind, path, titled("x"))
    assert len(read_back(kind, path)) == 1


def spoil(path: Path, how: str) -> Path:
    if how == "a folder":
        path.mkdir()
    elif how == "no regular file":
        os.mkfifo(path)
    elif how == "Not a directory":
        path.touch()
        return path / "below"
    else:
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    "how", ["a folder", "no regular file", "Not a directory", "Too many levels"]
)
def test_impossible_destination_is_a_fault_that_names_it(
    kind: str, tmp_path: Path, how: str
) -> None:
    path = spoil(tmp_path / "out", how)
    with pytest.raises(EnvironmentFault, match=f"cannot write {path}.*{how}"):
        export(kind, path, titled("x"))
    assert len(list(tmp_path.iterdir())) == 1


def test_write_protected_file_is_kept(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o444)
    # root may write anything, so the answer for others is given here
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EnvironmentFault, match="write-protected"):
        export(kind, path, titled("x"))
    assert path.read_text() == "old"


def test_permissions_of_a_replaced_file_are_kept(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o640)
    with open_exporter(kind, path, FIELDS):
        [partial] = tmp_path.glob(".out.*")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_file_has_the_usual_permissions(kind: str, tmp_path: Path) -> None:
    export(kind, tmp_path / "out", [])
    (tmp_path / "plain").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_link_stays_and_its_target_is_replaced(kind: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/real").write_text("old")
    (tmp_path / "out").symlink_to("data/real")
    export(kind, tmp_path / "out", titled("x"))
    assert (tmp_path / "out").is_symlink()
    assert len(read_back(kind, tmp_path / "data/real")) == 1


def test_nothing_is_touched_before_the_exporter_is_entered(kind: str, tmp_path: Path) -> None:
    open_exporter(kind, tmp_path / "deep/out", FIELDS)
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'xml'.*csv, json, jsonl"):
        open_exporter("xml", tmp_path / "out", FIELDS)
