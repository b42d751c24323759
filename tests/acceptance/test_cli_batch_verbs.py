"""Batches as people handle them: looked at, ended, forgotten, and collected by the next run."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import MODEL, Finished, finish, make_library, run, simulator, start

HALF_WAY = ("--stalled-batches", 1, "--batch-seconds", 0.5, "--batch-cancelling-s", 0.3)


def tag_words(base_url: str, *words: object) -> list[object]:
    flags = ("--model", MODEL, "--base-url", base_url, "--mode", "batch")
    return ["tag", "photos", *flags, "--set", "batch.poll_s=0.2", "--json", *words]


def tend(folder: Path, base_url: str, verb: str, *words: object) -> Finished:
    return run(folder, "batch", verb, *words, "--base-url", base_url)


def await_list(folder: Path, base_url: str, is_there: Callable[[Any], bool]) -> Any:
    """The list of batches, once it is as wanted."""
    for _ in range(100):
        listed = tend(folder, base_url, "list", "--refresh", "--json")
        if listed.code == 0 and is_there(listed.document):  # else there is no ledger yet
            return listed.document
        time.sleep(0.1)
    raise AssertionError(listed.out + listed.err)


def submit(folder: Path, base_url: str, count: int = 6) -> None:
    make_library(folder / "photos", count)
    sent = run(folder, *tag_words(base_url, "--no-wait"))
    assert (sent.code, sent.document["batches"]) == (4, {"open": 1, "over": 0}), sent.err


def test_a_cancelled_batch_is_collected_and_the_rest_asked_for(tmp_path: Path) -> None:
    with simulator(tmp_path, *HALF_WAY) as base_url:
        submit(tmp_path, base_url)
        listed = await_list(tmp_path, base_url, lambda found: found["answered"] == 3)
        assert (listed["open"], listed["lines"], listed["by_state"]) == (1, 6, {"submitted": 1})
        status = run(tmp_path, "status", "--json").document
        assert (status["batches"]["lines"], status["images"]["leased"]) == (6, 6)
        assert "6 of them in batches" in run(tmp_path, "status").out
        done = tend(tmp_path, base_url, "cancel", "--all", "--json")
        assert done.code == 0, done.err
        [cancelled] = done.document["batches"]
        assert (cancelled["fate"], cancelled["answered"]) == ("ended", 3)
        assert cancelled["remote_state"] == "cancelled"
        assert "to be collected, 3 of 6 answered" in tend(tmp_path, base_url, "list").out
        rest = run(tmp_path, *tag_words(base_url))
        assert (rest.code, rest.document["images"]["done"]) == (0, 6), rest.err
        assert rest.document["requests"]["sent"] == 3
        assert rest.document["batches"] == {"open": 0, "over": 2}
        over = tend(tmp_path, base_url, "list", "--all", "--json").document
    assert [one["state"] for one in over["batches"]] == ["harvested", "harvested"]
    assert (over["open"], over["batches"][0]["answered"]) == (0, 3)
    assert run(tmp_path, "db", "check").code == 0


def test_who_does_not_wait_is_told_that_it_goes_on(tmp_path: Path) -> None:
    with simulator(tmp_path, *HALF_WAY, "--batch-cancelling-s", 30) as base_url:
        submit(tmp_path, base_url)
        done = tend(tmp_path, base_url, "cancel", 1, "--no-wait")
        assert done.code == 0, done.err
        assert "the server was told to end it" in done.out
        assert "tagpipe tag collects what is answered and asks about the rest" in done.out
        again = tend(tmp_path, base_url, "list", "--refresh").out
    assert "batch 1: being ended" in again
    assert "waits for the server, then tagpipe tag" in again


def test_batches_of_a_living_run_are_left_alone(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 6)
    with simulator(tmp_path, *HALF_WAY) as base_url:
        process = start(tmp_path, *tag_words(base_url))
        await_list(tmp_path, base_url, lambda found: found["answered"] == 3)
        refused = tend(tmp_path, base_url, "cancel", "--all")
        forgotten = tend(tmp_path, base_url, "forget", 1, "--force")
        process.send_signal(signal.SIGINT)
        stopped = finish(process)
        assert tend(tmp_path, base_url, "cancel", "--all").code == 0
        rest = run(tmp_path, *tag_words(base_url))
    assert (refused.code, forgotten.code, stopped.code) == (2, 2, 130)
    assert "looks after batch 1: end that run first (Ctrl-C" in refused.err
    assert "1 batch goes on at the server, the same command collects" in stopped.err
    assert (rest.code, rest.document["images"]["done"]) == (0, 6), rest.err


def test_only_what_the_server_has_lost_is_forgotten(tmp_path: Path) -> None:
    with simulator(tmp_path, *HALF_WAY) as base_url:
        submit(tmp_path, base_url)
        known = tend(tmp_path, base_url, "forget", 1)
    assert known.code == 2
    assert "the server still knows batch 1" in known.err
    port = base_url.rsplit(":", 1)[1].removesuffix("/v1")
    with simulator(tmp_path, "--port", port) as base_url:
        assert (
            "not known to the server any more" in tend(tmp_path, base_url, "list", "--refresh").out
        )
        in_vain = tend(tmp_path, base_url, "cancel", 1)
        assert (in_vain.code, "tagpipe batch forget 1" in in_vain.err) == (1, True)
        assert run(tmp_path, *tag_words(base_url)).code == 4
        gone = tend(tmp_path, base_url, "forget", 1, "--json")
        assert gone.code == 0, gone.err
        [lost] = gone.document["batches"]
        assert (lost["fate"], lost["waiting_again"]) == ("forgotten", 6)
        status = run(tmp_path, "status", "--json").document
        assert (status["images"]["pending"], status["requests"]["lost"]) == (6, 6)
        assert float(status["maybe_billed_usd"]) > 0
        rest = run(tmp_path, *tag_words(base_url))
    assert (rest.code, rest.document["images"]["done"]) == (0, 6), rest.err
    assert run(tmp_path, "db", "check").code == 0


def test_by_force_a_batch_is_forgotten_without_a_server(tmp_path: Path) -> None:
    with simulator(tmp_path, *HALF_WAY) as base_url:
        submit(tmp_path, base_url)
    done = run(tmp_path, "batch", "forget", 1, "--force")
    assert (done.code, "6 pictures wait again" in done.out) == (0, True), done.err
    assert "no batch is under way" in run(tmp_path, "batch", "list").out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["cancel"], "name the batches to cancel, or say --all"),
        (["cancel", "1", "--all"], "name the batches to cancel, or say --all"),
        (["cancel", "9"], "there is no batch 9"),
        (["forget", "9", "--force"], "there is no batch 9"),
        (["cancel", "1"], "another address or key"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, words: list[str], why: str) -> None:
    with simulator(tmp_path, *HALF_WAY) as base_url:
        submit(tmp_path, base_url, 2)
    done = tend(tmp_path, "http://127.0.0.1:1/v1", *words)
    assert (done.code, why in done.err) == (2, True), done.err


def test_doctor_looks_at_what_batches_need(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 1)
    words = ["doctor", "photos", "--model", MODEL, "--base-url", "http://127.0.0.1:1/v1", "--json"]
    found = run(tmp_path, *words, "--mode", "batch", "--finish-by", "soon")
    told = {one["text"]: one["health"] for one in found.document if one["what"] == "batches"}
    assert sorted(told.values()) == ["bad", "good", "warning"]
    assert any(f"{MODEL} is priced in service tier batch" in one["text"] for one in found.document)
    assert found.code == 1
    plain = run(tmp_path, *words)
    assert not any(one["what"] == "batches" for one in plain.document)
