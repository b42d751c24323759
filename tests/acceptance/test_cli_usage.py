from pathlib import Path

import pytest
from command_line import make_library, run


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["tag"], "name a folder"),
        (["tag", "nowhere"], "nowhere does not exist"),
        (["tag", "photos", "--profile", "nope"], "alt-text"),
        (["tag", "photos", "--set", "limits.max_atempts=3"], "max_attempts"),
        (["tag", "photos", "--set", "limits.max_attempts=many"], "whole number"),
        (["tag", "photos", "--max-concurrency", "0"], "at least 1"),
        (["tag", "photos", "--budget", "lots"], "must be a number"),
        (["tag", "photos", "--provider", "openai"], "--model"),
        (["tag", "photos", "--model", "gpt-5.4-mini"], "OPENAI_API_KEY"),
        (["tag", "photos", "--set", "provider.api_key=sk-1234567890"], "keys are no settings"),
        (["tag", "photos", "-c", "missing.yaml"], "missing.yaml"),
        (["tag", "photos", "--colour"], "try: tagpipe tag --help"),
        (["tga", "photos"], "try: tagpipe --help"),
        (["status"], "there is no ledger at var/ledger.db yet"),
        (["retry", "--where", "cause=tired"], "truncated"),
        (["export", "xml", "-o", "x"], "csv, json, jsonl"),
        (["export", "csv"], "--output"),
        (["export", "csv", "-o", "x", "--profile", "general", "--all-profiles"], "contradict"),
        (["simulate", "--hang", "0.7", "--refused", "0.7"], "add up to 1.4"),
    ],
)
def test_mistake_is_exit_code_2_and_says_the_way_out(
    tmp_path: Path, words: list[str], hint: str
) -> None:
    make_library(tmp_path / "photos", 1)
    done = run(tmp_path, *words)
    assert (done.code, done.out) == (2, "")
    assert hint in done.err
    assert "Traceback" not in done.err
    assert "sk-1234567890" not in done.err


@pytest.mark.parametrize("words", [["status"], ["tag", "--bogus"], ["tag", "nowhere"]])
def test_with_json_a_mistake_is_one_document(tmp_path: Path, words: list[str]) -> None:
    done = run(tmp_path, *words, "--json")
    assert done.code == 2
    error = done.document["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert error["message"] in done.err


def test_fault_of_the_machine_is_exit_code_1_in_one_line(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 1)
    (tmp_path / "file").write_text("no folder")
    done = run(tmp_path, "tag", "photos", "--ledger", "file/ledger.db")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "file" in done.err


def test_looking_makes_no_ledger(tmp_path: Path) -> None:
    for words in (["status"], ["errors"], ["retry"], ["db", "check"], ["doctor"]):
        run(tmp_path, *words)
    assert list(tmp_path.iterdir()) == []


def test_doctor_is_content_with_a_folder_and_the_offline_analyser(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 5)
    done = run(tmp_path, "doctor", "photos")
    assert done.code == 0, done.out
    assert "000.jpg, 001.jpg, 002.jpg and more" in done.out


def test_doctor_says_what_must_be_mended_and_shows_no_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run(
        tmp_path, "doctor", "nowhere", "--model", "no-such-model", "--json",
        "--set", "exports=[{format: csv, path: file/x.csv}]", OPENAI_API_KEY="sk-planted-key",
    )  # fmt: skip
    health = {one["what"]: one["health"] for one in done.document}
    assert done.code == 1
    assert (health["library"], health["export"]) == ("bad", "bad")
    assert (health["key"], health["model"]) == ("good", "warning")
    assert "planted" not in done.out + done.err


def test_doctor_warns_of_a_tier_without_a_price_and_of_thinking(tmp_path: Path) -> None:
    flex = ["--set", "provider.service_tier=flex", "--json"]
    unpriced = run(tmp_path, "doctor", "--model", "gpt-4.1-mini", *flex).document
    thinking = run(tmp_path, "doctor", "--model", "gpt-5.4-mini", *flex).document
    assert {one["what"]: one["health"] for one in unpriced}["prices"] == "warning"
    assert {one["what"]: one["health"] for one in thinking}["prices"] == "good"
    assert {one["what"]: one["health"] for one in thinking}["reasoning"] == "warning"


def test_doctor_names_the_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tagpipe.yaml").write_text("limits: {max_atempts: 3}\n")
    done = run(tmp_path, "doctor")
    assert done.code == 1
    assert "did you mean max_attempts?" in done.out
