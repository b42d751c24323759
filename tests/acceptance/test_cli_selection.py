"""Asking about some of the images only: ``tag --only``, ``--where``, and what is said of them."""

from pathlib import Path
from typing import Any

import pytest
from command_line import Finished, make_library, read_books, run, simulator
from databases import KINDS, make_url


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return make_url(request.param, tmp_path)


def tag(folder: Path, ledger: str, *words: object) -> Finished:
    return run(folder, "tag", "photos", "--ledger", ledger, "--no-export", "--json", "-q", *words)


def waiting(folder: Path, ledger: str) -> dict[str, int]:
    """What ``status`` says of the images that wait, reasons without any left out."""
    reasons: dict[str, int] = status(folder, ledger)["pending_by_reason"]
    return {reason: count for reason, count in reasons.items() if count}


def status(folder: Path, ledger: str) -> Any:
    return run(folder, "status", "--ledger", ledger, "--json").document


def test_only_the_images_that_are_asked_for_are_asked_about(tmp_path: Path, ledger: str) -> None:
    library = make_library(tmp_path / "photos", 4)
    (library / "cut.jpg").write_bytes((library / "000.jpg").read_bytes()[:200])
    assert tag(tmp_path, ledger).code == 3
    (library / "001.jpg").write_bytes((library / "002.jpg").read_bytes() + b"\0")
    make_library(tmp_path / "more", 5)
    (tmp_path / "more/004.jpg").rename(library / "new.jpg")

    none = tag(tmp_path, ledger, "--only", "stale").document
    assert (none["images"]["tagged"], none["images"]["reused"]) == (0, 0)
    assert (none["scan"]["new"], none["scan"]["changed"]) == (1, 1)
    assert waiting(tmp_path, ledger) == {"new": 1, "changed": 1}

    for reason in ("new", "changed"):
        one = tag(tmp_path, ledger, "--only", reason).document
        assert one["images"]["tagged"] + one["images"]["reused"] == 1
    assert waiting(tmp_path, ledger) == {}

    # a profile of the same name that asks otherwise makes answers stale, failures not
    own = "name: general\ninstructions: Look.\nfields: {keywords: {type: keywords}}\n"
    (tmp_path / "own.yaml").write_text(own)
    assert tag(tmp_path, ledger, "--profile", "own.yaml", "--only", "new").code == 0
    assert waiting(tmp_path, ledger) == {"stale": 5, "failed": 1}
    (library / "cut.jpg").write_bytes((tmp_path / "more/003.jpg").read_bytes())
    asked = tag(tmp_path, ledger, "--profile", "own.yaml", "--only", "stale,failed").document
    assert asked["images"]["done"] == 6


def test_a_mended_image_is_asked_about_again_in_one_command(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 2)
    (library / "cut.jpg").write_bytes((library / "000.jpg").read_bytes()[:200])
    (library / "empty.jpg").write_bytes(b"")
    ledger = str(tmp_path / "ledger.db")
    tag(tmp_path, ledger)
    words = ("--only", "failed", "--where", "cause=truncated")
    dry = tag(tmp_path, ledger, *words, "--dry-run").document
    assert (dry["would_ask"], dry["dry_run"]) == (1, True)
    assert status(tmp_path, ledger)["images"]["failed"] == 2
    (library / "cut.jpg").write_bytes((library / "001.jpg").read_bytes())
    done = tag(tmp_path, ledger, *words)
    # twice when it is claimed before the listing comes to it: the second time costs nothing
    assert done.document["images"]["reused"] >= 1
    assert done.document["images"]["failed"] == 1


def test_a_dry_run_counts_what_the_same_command_would_ask_about(tmp_path: Path) -> None:
    make_library(tmp_path / "photos/shoes", 3)
    make_library(tmp_path / "photos/hats", 2)
    ledger = str(tmp_path / "ledger.db")
    words = ("--where", "path=*/shoes/*", "--only", "new,changed")
    assert tag(tmp_path, ledger, *words, "--dry-run").document["would_ask"] == 3
    assert tag(tmp_path, ledger, *words, "--only", "stale", "--dry-run").document["would_ask"] == 3
    told = run(tmp_path, "tag", "photos", "--ledger", ledger, *words, "--dry-run", "-q").out
    assert told.startswith("5 images listed; 3 would be asked about")
    assert tag(tmp_path, ledger, *words).document["images"]["tagged"] == 3
    assert waiting(tmp_path, ledger) == {"new": 2}


def test_what_is_not_chosen_costs_no_request(tmp_path: Path) -> None:
    make_library(tmp_path / "photos/shoes", 3)
    make_library(tmp_path / "photos/hats", 2)
    ledger = str(tmp_path / "ledger.db")
    with simulator(tmp_path) as base_url:
        done = run(
            tmp_path, "tag", "photos", "--ledger", ledger, "--where", "path=*/hats/*",
            "--model", "gpt-5.4-mini", "--base-url", base_url, "--json", "-q",
            OPENAI_API_KEY="sk-x",
        )  # fmt: skip
        assert read_books(base_url)["requests"] == 2
    assert (done.document["images"]["tagged"], done.document["images"]["pending"]) == (2, 3)


def test_images_of_an_age_are_put_back(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 1)
    (library / "empty.jpg").write_bytes(b"")
    run(tmp_path, "tag", "photos", "-q")
    for words in (["age=1h"], ["profile=product"], ["age=-1h", "profile=product"]):
        conditions = [word for one in words for word in ("--where", one)]
        assert run(tmp_path, "retry", *conditions, "--json").document == {"put_back": 0}
    again = run(tmp_path, "retry", "--where", "age=-1h", "--where", "profile=general", "--json")
    assert again.document == {"put_back": 1}
    assert "1 put back" in run(tmp_path, "status").out


def test_moved_and_gone_images_are_told(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 3)
    run(tmp_path, "tag", "photos", "-q")
    (library / "000.jpg").rename(library / "renamed.jpg")
    (library / "001.jpg").unlink()
    scanned = run(tmp_path, "scan", "photos", "-q")
    told = dict(line.split()[:2] for line in scanned.out.splitlines())
    assert {"new": "1", "moved": "1", "gone": "2", "stale": "0"}.items() <= told.items()
    images = run(tmp_path, "status", "--json").document["images"]
    assert (images["gone"], images["moved"], images["done"], images["pending"]) == (2, 1, 1, 1)
    done = run(tmp_path, "tag", "photos", "--json", "-q").document
    assert (done["images"]["reused"], done["requests"]["sent"]) == (1, 0)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["tag", "photos", "--only", "old"], "new, changed, stale, failed"),
        (["tag", "photos", "--where", "state=failed"], "path, cause, profile, age"),
        (["tag", "photos", "--where", "profile=product"], "--profile product"),
        (["retry", "--where", "age=old"], "age=30d"),
    ],
)
def test_a_choice_that_cannot_be_made_is_exit_code_2(
    tmp_path: Path, words: list[str], hint: str
) -> None:
    make_library(tmp_path / "photos", 1)
    done = run(tmp_path, *words)
    assert (done.code, done.out) == (2, "")
    assert hint in done.err
    assert not (tmp_path / "var/ledger.db").exists()
