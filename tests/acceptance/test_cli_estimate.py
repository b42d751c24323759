"""``estimate`` as people and programs see it."""

from decimal import Decimal
from pathlib import Path

import pytest
from command_line import MODEL, make_library, run, simulator

KEY = {"OPENAI_API_KEY": "sk-x"}


def test_a_quote_is_made_without_key_ledger_or_server(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 4)
    (library / "copy.jpg").write_bytes((library / "000.jpg").read_bytes())
    (library / "words.jpg").write_text("no picture")
    done = run(tmp_path, "estimate", "photos", "--model", MODEL, "--json", "-q")
    told = done.document
    assert (done.code, done.err) == (0, "")
    assert (told["model"], told["images"], told["copies"]) == (MODEL, 4, 1)
    assert told["refused"] == {"not_an_image": 1}
    assert told["cost_usd"].keys() == {"standard", "flex", "batch"}
    assert Decimal(told["cost_usd"]["batch"]) * 2 == Decimal(told["cost_usd"]["standard"]) > 0
    assert told["input_tokens"] > told["picture_tokens"] > 0
    assert (told["hours"], type(told["basis"])) == (None, str)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_people_see_a_table_and_are_warned_on_stderr(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 4)
    done = run(tmp_path, "estimate", "photos", "--model", "gpt-5-mini", "--rpm", 2)
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.strip())
    assert done.code == 0
    assert {"listed", "to", "tokens", "standard", "flex", "batch", "batches"} <= lines.keys()
    assert lines["time"].split() == ["2", "min"]
    assert "between $" in lines["standard"]
    assert "gpt-5-mini retires on 2026-12-11" in done.err or "was retired" in done.err
    assert "4 of 4 headers read" in done.err


def test_models_details_and_sizes_are_compared(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    words = ("estimate", "photos", "--model", MODEL, "--compare", "gpt-4o,gpt-5.6-luna")
    done = run(tmp_path, *words, "--details", "low,high,original", "--sizes", "auto,64")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert sum(row[:1] == ["gpt-4o"] for row in rows) == 6
    assert sum("cheapest" in row for row in rows) >= 1
    assert "no such level" in done.out
    only = run(tmp_path, *words[:4], "--sizes", "64", "--json", "-q").document["compare"]
    assert [(row["model"], row["size"]) for row in only] == [(MODEL, "64")]


def test_the_offline_analyser_is_free(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    done = run(tmp_path, "estimate", "photos", "-q")
    assert done.out.splitlines()[0].endswith("free of charge, nothing is sent")
    told = run(tmp_path, "estimate", "photos", "-q", "--json").document
    assert (told["images"], told["input_tokens"]) == (3, 0)
    assert told["cost_usd"] == {"standard": "0", "flex": None, "batch": None}


def test_a_quote_after_a_run_knows_what_is_paid_and_leaves_the_ledger_alone(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    with simulator(tmp_path) as base_url:
        server = ("--model", MODEL, "--base-url", base_url)
        run(tmp_path, "tag", "photos", *server, "--limit", 2, "-q", "--no-export", **KEY)
        before = (tmp_path / "var/ledger.db").read_bytes()
        told = run(tmp_path, "estimate", "photos", *server, "--json", "-q").document
        assert (tmp_path / "var/ledger.db").read_bytes() == before
        done = run(tmp_path, "tag", "photos", *server, "--json", "-q", "--no-export", **KEY)
    assert (told["paid"], told["images"]) == (2, 1)
    assert told["input_tokens"] == done.document["tokens"]["input"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["photos", "--details", "close"], "low, high, original, auto"),
        (["photos", "--sizes", "big"], "auto, original or a number"),
        (["photos", "--sample-size", "0"], "100"),
        (["photos", "--only", "old"], "new, changed, stale, failed"),
    ],
)
def test_a_mistake_is_exit_code_2(tmp_path: Path, words: list[str], hint: str) -> None:
    make_library(tmp_path / "photos", 1)
    done = run(tmp_path, "estimate", *words, "--model", MODEL)
    assert (done.code, done.out) == (2, "")
    assert hint in done.err
