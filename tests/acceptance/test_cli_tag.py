import json
import os
import sys
from pathlib import Path

import pytest
from command_line import ROOT, make_library, run, start


def test_folder_is_tagged_once_and_exported(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 5)
    first = run(tmp_path, "tag", "photos", "--json")
    second = run(tmp_path, "tag", "photos", "--json")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.document["images"]["tagged"] == first.document["requests"]["sent"] == 5
    assert second.document["images"]["tagged"] == second.document["requests"]["sent"] == 0
    assert second.document["scan"]["unchanged"] == 5
    rows = (tmp_path / "var/exports/tags.jsonl").read_text().splitlines()
    assert len({json.loads(row)["uri"] for row in rows}) == 5


def test_document_of_tag_has_what_programs_rely_on(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    document = run(tmp_path, "tag", "photos", "--json").document
    assert {
        "run_id", "state", "images", "requests", "tokens", "cost_usd", "estimate_usd",
        "elapsed_s", "images_per_s", "pause", "exports", "export_errors", "exit_code",
    } <= set(document)  # fmt: skip
    assert {"seen", "done", "failed", "skipped", "reused", "pending", "leased"} <= set(
        document["images"]
    )
    assert {"sent", "retried", "rate_limited"} <= set(document["requests"])
    assert set(document["tokens"]) == {"input", "cached", "output", "reasoning"}
    assert document["cost_usd"] == "0"


def test_failed_image_is_exit_code_3_until_it_is_mended_and_put_back(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 2)
    (library / "cut.jpg").write_bytes((library / "000.jpg").read_bytes()[:200])
    first = run(tmp_path, "tag", "photos")
    assert first.code == 3
    assert "see tagpipe errors" in first.out
    assert run(tmp_path, "tag", "photos", "-q").code == 3
    (group,) = run(tmp_path, "errors", "--json").document
    assert (group["cause"], group["count"]) == ("truncated", 1)
    assert group["examples"][0]["uri"].endswith("photos/cut.jpg")
    put_back = run(tmp_path, "retry", "--where", "cause=truncated", "--where", "path=*cut*")
    assert put_back.out == "1 image put back; tagpipe tag asks about them again\n"
    (library / "cut.jpg").write_bytes((library / "001.jpg").read_bytes())
    assert run(tmp_path, "tag", "photos", "-q").code == 0
    assert run(tmp_path, "errors").out == "no image has failed or was skipped\n"


def test_dry_run_says_what_would_be_asked_and_does_nothing(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 4)
    done = run(tmp_path, "tag", "photos", "--dry-run", "--json")
    assert (done.code, done.document["images"]["pending"]) == (0, 4)
    assert done.document["requests"]["sent"] == 0
    assert not (tmp_path / "var/exports").exists()


def test_limit_leaves_the_rest_for_the_next_run(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 5)
    first = run(tmp_path, "tag", "photos", "--limit", 2, "--no-export", "--json").document
    assert (first["images"]["done"], first["images"]["pending"]) == (2, 3)
    assert first["exports"] == []
    assert not (tmp_path / "var/exports").exists()
    rest = run(tmp_path, "tag", "photos", "--json").document
    assert (rest["images"]["tagged"], rest["images"]["pending"]) == (3, 0)


def test_without_a_path_the_configured_library_is_tagged(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 1)
    (tmp_path / "mine.yaml").write_text("library: {url: photos}\nprofile: product\n")
    done = run(tmp_path, "tag", "-c", "mine.yaml", "--json")
    assert (done.code, done.document["images"]["done"]) == (0, 1), done.err


def test_export_that_cannot_be_written_is_told_and_is_exit_code_1(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 1)
    (tmp_path / "file").write_text("no folder")
    exports = "exports=[{format: csv, path: file/x.csv}, {format: jsonl, path: ok.jsonl}]"
    done = run(tmp_path, "tag", "photos", "--set", exports, "--json", "-q")
    assert done.code == done.document["exit_code"] == 1
    assert "file/x.csv" in done.err
    assert [one["path"] for one in done.document["exports"]] == ["ok.jsonl"]


def test_quiet_run_leaves_stderr_empty_and_a_piped_one_gets_a_line(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    loud = run(tmp_path, "tag", "photos")
    assert loud.err.startswith("3 of 3 images, ")
    assert run(tmp_path, "tag", "photos", "-q").err == ""


def test_scan_lists_without_tagging(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    first = run(tmp_path, "scan", "photos", "--json").document
    assert (first["scan"]["new"], first["images"]["pending"]) == (3, 3)
    (tmp_path / "photos/001.jpg").unlink()
    second = run(tmp_path, "scan", "photos", "--json").document
    assert (second["scan"]["unchanged"], second["scan"]["gone"]) == (2, 1)
    assert "pending  2" in " ".join(run(tmp_path, "scan", "photos").out.split(" " * 3))


def test_status_tells_of_the_ledger(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    run(tmp_path, "tag", "photos")
    document = run(tmp_path, "status", "--json").document
    assert (document["images"]["done"], document["state"]) == (3, "finished")
    assert document["models"] == {"local-1": 3}
    assert "finished" in run(tmp_path, "status").out


def test_export_writes_the_states_and_profile_that_are_wanted(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 2)
    (library / "empty.jpg").write_bytes(b"")
    run(tmp_path, "tag", "photos", "--no-export")
    done = run(tmp_path, "export", "jsonl", "-o", "out.jsonl", "--status", "failed")
    assert (done.code, done.out) == (0, "1 records written to out.jsonl\n")
    assert json.loads((tmp_path / "out.jsonl").read_text())["cause"] == "empty"
    other = run(tmp_path, "export", "csv", "-o", "x.csv", "--profile", "product", "--json")
    assert other.document["records"] == 0
    assert "general (3)" in other.err
    both = run(tmp_path, "export", "csv", "-o", "x.csv", "--all-profiles", "--json")
    assert both.document["records"] == 3


def test_profile_that_only_the_ledger_knows_can_be_exported(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    own = "name: mine\ninstructions: Look.\nfields: {keywords: {type: keywords}}\n"
    (tmp_path / "own.yaml").write_text(own)
    assert run(tmp_path, "tag", "photos", "--profile", "own.yaml", "--no-export").code == 0
    by_file = run(tmp_path, "export", "csv", "-o", "x.csv", "--profile", "own.yaml", "--json")
    (tmp_path / "own.yaml").unlink()
    by_name = run(tmp_path, "export", "csv", "-o", "x.csv", "--profile", "mine", "--json")
    assert by_file.document["records"] == by_name.document["records"] == 2
    unknown = run(tmp_path, "export", "csv", "-o", "x.csv", "--profile", "nope")
    assert unknown.code == 2
    assert "Profiles in the ledger: mine" in unknown.err


def test_ledger_is_looked_after(tmp_path: Path) -> None:
    made = run(tmp_path, "db", "upgrade", "--json").document
    assert made["from"] is None
    assert run(tmp_path, "db", "check").out == "every rule holds\n"
    assert run(tmp_path, "db", "stats", "--json").document["rows"]["jobs"] == 0
    assert run(tmp_path, "db", "vacuum").code == 0
    assert "up to date" in run(tmp_path, "db", "upgrade").out


def test_reader_who_leaves_early_is_no_fault(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    with start(tmp_path, "tag", "photos", "-q") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("door", [["run.py"], ["-m", "pipeline"]])
def test_all_doors_lead_to_the_same_program(door: list[str]) -> None:
    import subprocess

    shown = subprocess.run(
        [sys.executable, *door, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    from pipeline import __version__

    assert shown.stdout == f"tagpipe {__version__}\n"


def test_file_name_that_is_no_text_is_shown_and_exported(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 1)
    os.rename(os.fsencode(library / "000.jpg"), os.fsencode(library) + b"/caf\xe9.jpg")  # noqa: PTH104 - bytes
    (library / "\x1b[31mred.jpg").write_bytes(b"")
    done = run(tmp_path, "tag", "photos", "-q")
    assert done.code == 3, done.err
    told = run(tmp_path, "errors")
    assert told.code == 0
    assert "\x1b" not in told.out
