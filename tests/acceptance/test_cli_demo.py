import csv
import json
from pathlib import Path

import pytest
from command_line import Finished, run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(place: Path) -> Finished:
    return run(place, "demo")


def test_demo_succeeds_although_its_broken_files_fail(first: Finished) -> None:
    assert first.code == 0, first.err
    assert "3 files failed, because they are broken on purpose" in first.out


def test_demo_shows_pictures_with_their_tags_and_failures_with_their_reason(
    first: Finished,
) -> None:
    lines = {line.split()[0]: line for line in first.out.splitlines() if line.strip()}
    assert "red" in lines["products/mug-red.jpg"]
    assert "not_an_image" in lines["broken/not-a-picture.jpg"]
    assert "document" in lines["documents/letter.png"]


@pytest.mark.usefixtures("first")
def test_demo_leaves_its_ledger_and_whole_exports(place: Path) -> None:
    exports = place / "var/demo/exports"
    with (exports / "tags.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (exports / "tags.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) >= 28
    assert [row["uri"] for row in rows] == [line["uri"] for line in lines]
    assert (place / "var/demo/ledger.db").is_file()


@pytest.mark.usefixtures("first")
def test_second_demo_reads_nothing_again(place: Path) -> None:
    again = run(place, "demo", "--json", "-q")
    document = again.document
    assert (again.code, again.err) == (0, "")
    assert document["requests"]["sent"] == document["images"]["tagged"] == 0
    assert document["scan"]["unchanged"] == document["images"]["seen"]


def test_demo_listens_to_no_file_and_no_variable(tmp_path: Path) -> None:
    (tmp_path / "tagpipe.yaml").write_text("profile: nonsense\n")
    done = run(tmp_path, "demo", "--folder", "here", "--json", TAGPIPE_LIMITS__MAX_ATTEMPTS="x")
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "tagpipe.yaml"]


def test_demo_that_cannot_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run(tmp_path, "demo", "--folder", "file")
    assert done.code == 1
    assert "choose another --folder" in done.err
