"""A ledger on a real Postgres, through the doors that people use."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import MODEL, ROOT, finish, make_library, read_books, run, simulator, start
from databases import make_url

from pipeline.domain.errors import MissingExtraError
from pipeline.ledger.database import parse_ledger_url

PASSWORD = "hunter2"


@pytest.fixture
def ledger(tmp_path: Path) -> list[str]:
    """The words that name an empty ledger."""
    url = make_url("postgres", tmp_path)
    assert "postgres:@" in url
    return ["--ledger", url.replace("postgres:@", f"postgres:{PASSWORD}@")]


def test_library_is_tagged_once_and_every_door_leads_to_it(
    tmp_path: Path, ledger: list[str]
) -> None:
    library = make_library(tmp_path / "photos", 5)
    (library / "empty.jpg").write_bytes(b"")
    first = run(tmp_path, "tag", "photos", "--json", *ledger)
    second = run(tmp_path, "tag", "photos", "--json", *ledger)
    assert (first.code, second.code) == (3, 3), first.err + second.err
    assert (first.document["images"]["tagged"], second.document["images"]["tagged"]) == (5, 0)
    assert second.document["scan"]["unchanged"] == 6
    assert run(tmp_path, "status", "--json", *ledger).document["images"]["done"] == 5
    (group,) = run(tmp_path, "errors", "--json", *ledger).document
    assert (group["cause"], group["count"]) == ("empty", 1)
    assert run(tmp_path, "retry", *ledger).out.startswith("1 image put back")
    export = run(tmp_path, "export", "csv", "-o", "x.csv", *ledger)
    assert export.out == "5 records written to x.csv\n", export.err


def test_ledger_is_looked_after(tmp_path: Path, ledger: list[str]) -> None:
    made = run(tmp_path, "db", "upgrade", "--json", *ledger)
    assert made.document["from"] is None, made.err
    assert "up to date" in run(tmp_path, "db", "upgrade", *ledger).out
    assert run(tmp_path, "db", "check", *ledger).out == "every rule holds\n"
    sizes = run(tmp_path, "db", "stats", "--json", *ledger).document
    assert (sizes["rows"]["jobs"], sizes["bytes_per_image"]) == (0, None)
    assert sizes["bytes_of_tables"]["jobs"] > 0
    assert sizes["bytes"] > 1_000_000  # an empty database of Postgres has 7 MB
    freed = run(tmp_path, "db", "vacuum", "--json", *ledger)
    assert freed.document["bytes_after"] > 1_000_000, freed.err
    for done in (made, freed, run(tmp_path, "db", "stats", *ledger)):
        assert PASSWORD not in done.out + done.err


@pytest.mark.parametrize("words", [["status"], ["errors"], ["retry"], ["db", "check"]])
def test_looking_at_an_empty_database_makes_no_ledger(
    tmp_path: Path, ledger: list[str], words: list[str]
) -> None:
    done = run(tmp_path, *words, *ledger)
    assert (done.code, done.out) == (2, "")
    assert "there is no ledger at postgresql://postgres:***@" in done.err
    found = run(tmp_path, "db", "upgrade", "--json", *ledger)
    assert found.document["from"] is None


def test_doctor_says_how_the_ledger_stands(tmp_path: Path, ledger: list[str]) -> None:
    before = run(tmp_path, "doctor", "--json", *ledger)
    run(tmp_path, "db", "upgrade", *ledger)
    after = run(tmp_path, "doctor", "--json", *ledger)
    for done, said in ((before, "will be made by the first run"), (after, "opens, revision 0")):
        findings = {one["what"]: one for one in done.document}
        assert findings["ledger"]["health"] == "good"
        assert said in findings["ledger"]["text"]
        assert "disk" not in findings
        assert PASSWORD not in done.out + done.err


def test_doctor_says_what_to_do_about_a_server_that_is_away(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--ledger", f"postgresql://me:{PASSWORD}@127.0.0.1:1/tags")
    assert done.code == 1
    assert "✗" in done.out
    assert "127.0.0.1" in done.out
    assert "→ mend that, or name another with --ledger" in done.out
    assert PASSWORD not in done.out + done.err


@pytest.mark.parametrize(
    ("address", "code", "hint"),
    [
        ("127.0.0.1:1/tags", 1, "me:***@127.0.0.1:1/tags failed: "),
        ("127.0.0.1:1/tags?sslmode=require", 1, "failed: "),
        ("127.0.0.1:1/tags?sslmod=require", 2, "sslmode"),
        ("127.0.0.1:port/tags", 2, "postgresql://user:password@host/database"),
        ("127.0.0.1", 2, "name a database"),
    ],
)
def test_address_that_leads_nowhere_is_told_in_one_line_without_its_password(
    tmp_path: Path, address: str, code: int, hint: str
) -> None:
    make_library(tmp_path / "photos", 1)
    words = ["tag", "photos", "--ledger", f"postgresql://me:{PASSWORD}@{address}"]
    done = run(tmp_path, *words)
    assert (done.code, done.out) == (code, "")
    assert hint in done.err
    assert done.err.count("\n") == 1
    told_more = run(tmp_path, *words, "-vv", "--json")
    assert PASSWORD not in done.err + told_more.out + told_more.err


def test_server_that_accepts_and_is_silent_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/tags"
        done = run(tmp_path, "status", "--ledger", url)
    assert done.code == 1
    assert "no answer within 5 s" in done.err
    assert done.err.count("\n") == 1


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tagpipe\[postgres\]'"):
        parse_ledger_url("postgresql://me@host/tags")


def test_ledger_in_a_file_does_not_wait_for_postgres() -> None:
    code = (
        "import sys; from pipeline.ledger.database import Database, parse_ledger_url; "
        "Database(parse_ledger_url('x.db')); "
        "print([name for name in sys.modules if 'asyncpg' in name or 'postgresql' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_two_runs_at_once_share_the_work_and_pay_once(tmp_path: Path, ledger: list[str]) -> None:
    make_library(tmp_path / "photos", 80)
    with simulator(tmp_path, "--latency-ms", 100) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url, "--max-concurrency", 4,
                 "--no-export", "--json", *ledger]  # fmt: skip
        both = [start(tmp_path, *words) for _ in range(2)]
        done = [finish(process) for process in both]
        books = read_books(base_url)
    assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
    sent = [one.document["requests"]["sent"] for one in done]
    assert books["requests"] == books["pictures"] == sum(sent) == 80
    assert min(sent) > 0
    assert run(tmp_path, "status", "--json", *ledger).document["images"]["done"] == 80
    assert run(tmp_path, "db", "check", *ledger).code == 0
