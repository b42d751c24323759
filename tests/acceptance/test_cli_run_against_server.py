import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import MODEL, finish, make_library, read_books, run, simulator, start


def await_in_flight(base_url: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until requests are under way at the server."""
    while process.poll() is None:
        books = read_books(base_url)
        if books["inflight"]:
            return books
        time.sleep(0.02)
    raise AssertionError(finish(process).err)


def tag_words(base_url: str) -> list[str]:
    return ["tag", "photos", "--model", MODEL, "--base-url", base_url, "--max-concurrency", "4"]


def test_first_ctrl_c_lets_requests_settle_and_the_next_run_goes_on(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 12)
    with simulator(tmp_path, "--latency-ms", 700) as base_url:
        process = start(tmp_path, *tag_words(base_url), "--json")
        await_in_flight(base_url, process)
        process.send_signal(signal.SIGINT)
        done = finish(process)
        books = read_books(base_url)
        assert done.code == 130, done.err
        assert "settle first; Ctrl-C again to cancel" in done.err
        assert done.document["state"] == "interrupted"
        assert books["answered"] == books["requests"] == done.document["images"]["done"] < 12
        rest = run(tmp_path, *tag_words(base_url), "--json")
        assert (rest.code, rest.document["images"]["done"]) == (0, 12), rest.err
        assert read_books(base_url)["requests"] == 12


def test_second_ctrl_c_cancels_requests_that_never_end(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 12)
    with simulator(tmp_path, "--hang", 1) as base_url:
        process = start(tmp_path, *tag_words(base_url), "--json")
        await_in_flight(base_url, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("stopping: ")
        process.send_signal(signal.SIGINT)
        done = finish(process)
    assert done.code == 130, done.err
    images = done.document["images"]
    assert (images["pending"], images["failed"], images["leased"]) == (12, 0, 0)
    assert run(tmp_path, "db", "check").code == 0


def test_wrong_key_pauses_the_run_fails_nothing_and_stays_secret(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 12)
    with simulator(tmp_path, "--require-key", "sk-the-right-one") as base_url:
        done = run(tmp_path, *tag_words(base_url), "--json", "-vv", OPENAI_API_KEY="sk-planted-key")
        requests = read_books(base_url)["requests"]
    assert done.code == 4, done.err
    assert "paused: " in done.err
    assert done.document["pause"] in done.err
    assert (done.document["state"], done.document["images"]["failed"]) == ("paused", 0)
    assert requests <= 4
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"planted" in data for data in written)
    assert "planted" not in done.out + done.err


def test_budget_pauses_the_run_and_more_money_goes_on(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 12)
    with simulator(tmp_path) as base_url:
        words = tag_words(base_url)
        poor = run(tmp_path, *words, "--budget", "0.012", "--json")
        assert (poor.code, poor.document["state"]) == (4, "paused"), poor.err
        assert 0 < float(poor.document["cost_usd"]) <= 0.012
        rich = run(tmp_path, *words, "--budget", "1")
        assert rich.code == 0, rich.err
        assert read_books(base_url)["requests"] == 12


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("way", ["json_object", "none"])
def test_servers_that_force_no_schema_answer_what_fits_it(
    tmp_path: Path, api: str, way: str
) -> None:
    make_library(tmp_path / "photos", 6)
    with simulator(tmp_path) as base_url:
        words = [*tag_words(base_url), "--api", api, "--json"]
        done = run(tmp_path, *words, "--set", f"provider.structured_output={way}")
        assert read_books(base_url)["requests"] == 6
    assert done.code == 0, done.err
    assert (done.document["images"]["done"], done.document["requests"]["retried"]) == (6, 0)


def test_simulator_says_where_it_is_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    process = start(tmp_path, "simulate", "--port", 0)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready: http://127.0.0.1:")
    advice = process.stdout.readline()
    assert "--base-url http://127.0.0.1:" in advice
    assert "--ledger var/trial.db" in advice
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 0
