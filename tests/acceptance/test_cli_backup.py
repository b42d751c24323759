"""``db backup`` and restoring, as people do it."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import MODEL, ROOT, Finished, finish, make_library, run, simulator, start

IMAGES = 60
_LIMITED = """\
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def count_done(folder: Path) -> int:
    status = run(folder, "status", "--json")
    return 0 if status.code else int(status.document["images"]["done"])


def back_up_on_a_full_disk(folder: Path, *words: str) -> Finished:
    """No file may grow beyond 64 kB, which is less than any ledger has."""
    command = [sys.executable, "-c", _LIMITED, ROOT / "run.py", "db", "backup", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Finished(code=done.returncode, out=done.stdout, err=done.stderr)


def test_a_backup_made_beside_a_run_is_restored_and_the_work_goes_on(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", IMAGES)
    with simulator(tmp_path, "--latency-ms", 400) as url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", url, "--no-export"]
        tagging = start(tmp_path, *words, "--max-concurrency", 2, OPENAI_API_KEY="sk-1")
        deadline = time.monotonic() + 30
        while count_done(tmp_path) < 3:
            assert time.monotonic() < deadline
        backup = run(tmp_path, "db", "backup", "-o", "copy.db", "--json")
        assert tagging.poll() is None
        tagging.send_signal(signal.SIGINT)
        assert finish(tagging).code == 130
        assert backup.code == 0, backup.err
        copy = tmp_path / "copy.db"
        assert backup.document["path"] == "copy.db"
        assert backup.document["bytes"] == copy.stat().st_size
        assert run(tmp_path, "db", "check", "--ledger", "copy.db").out == "every rule holds\n"

        ledger = tmp_path / "var" / "ledger.db"
        shutil.copy(copy, ledger)
        for ending in ("-wal", "-shm"):
            ledger.with_name(ledger.name + ending).unlink(missing_ok=True)
        assert run(tmp_path, "db", "check").out == "every rule holds\n"
        assert 3 <= count_done(tmp_path) < IMAGES
        assert run(tmp_path, *words, OPENAI_API_KEY="sk-1").code == 0
        assert count_done(tmp_path) == IMAGES


def test_a_full_disk_leaves_the_old_backup_and_nothing_else(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    run(tmp_path, "tag", "photos", "--no-export")
    assert run(tmp_path, "db", "backup", "-o", "copy.db").code == 0
    before = (tmp_path / "copy.db").read_bytes()
    for words in (["-o", "copy.db", "--force"], ["-o", "other.db"]):
        failed = back_up_on_a_full_disk(tmp_path, *words)
        assert failed.code == 1
        assert failed.err.startswith(f"error: cannot write the backup {words[1]}: ")
        assert "free space" in failed.err
    assert (tmp_path / "copy.db").read_bytes() == before
    assert {path.name for path in tmp_path.glob("*.db*")} == {"copy.db"}


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    run(tmp_path, "db", "upgrade")
    (tmp_path / "copy.db").write_text("something else")
    refused = run(tmp_path, "db", "backup", "-o", "copy.db")
    assert (refused.code, (tmp_path / "copy.db").read_text()) == (2, "something else")
    assert "--force" in refused.err
    assert run(tmp_path, "db", "backup", "-o", "copy.db", "--force").code == 0
    assert run(tmp_path, "status", "--ledger", "copy.db").code == 0


def test_without_a_ledger_there_is_no_backup(tmp_path: Path) -> None:
    assert run(tmp_path, "db", "backup", "-o", "copy.db").code == 2
    assert list(tmp_path.iterdir()) == []


def test_on_postgres_the_command_for_it_is_told_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    url = "postgresql://me:hunter2@nowhere.invalid:5432/tags"
    refused = run(tmp_path, "db", "backup", "-o", "copy.dump", "--ledger", url)
    assert refused.code == 2
    command = "pg_dump --format=custom --file=copy.dump postgresql://me@nowhere.invalid:5432/tags"
    assert command in refused.err
    assert "hunter2" not in refused.err


def test_a_broken_rule_is_shown_with_its_rows_and_what_to_do(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 5)
    run(tmp_path, "tag", "photos", "--no-export")
    with sqlite3.connect(tmp_path / "var" / "ledger.db") as ledger:
        ledger.execute("UPDATE jobs SET result_id = NULL WHERE id < 5")
    ledger.close()
    shown = run(tmp_path, "db", "check")
    assert shown.code == 1
    assert "broken: every job done has an answer (4, in jobs: 1, 2, 3, …)" in shown.out
    assert "restore a backup" in shown.out
    (broken,) = run(tmp_path, "db", "check", "--json").document
    assert (broken["count"], broken["table"], broken["examples"]) == (4, "jobs", [1, 2, 3])
