"""The promises about money and mix-ups, with the real program against the simulator."""

import json
import signal
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from command_line import MODEL, finish, read_books, run, simulator, start
from pictures import jpeg, rotated

from pipeline.bootstrap.plan import make_plan
from pipeline.config.loading import load_settings
from pipeline.preprocess.prepare import prepare_image
from pipeline.simulator.answers import expected_answer

SEED = 7
PICTURES = 60
DAY = date(2026, 11, 21)


def fill_library(folder: Path) -> None:
    """Sixty pictures, eight of them turned by EXIF, ten exact copies, three broken files."""
    folder.mkdir()
    for number in range(PICTURES - 8):
        (folder / f"{number:03}.jpg").write_bytes(jpeg(320, 240, seed=number))
    for orientation in range(1, 9):
        (folder / f"turned{orientation}.jpg").write_bytes(rotated(orientation))
    for number in range(10):
        copy = (folder / f"{number:03}.jpg").read_bytes()
        (folder / f"copy{number}.jpg").write_bytes(copy)
    for number in range(3):
        (folder / f"broken{number}.jpg").write_bytes(b"\xff\xd8 no picture" * number)


def read_records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "var/exports/tags.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def tag_words(base_url: str, api: str) -> list[str]:
    return [
        "tag", "photos", "--model", MODEL, "--base-url", base_url, "--api", api,
        "--max-concurrency", "64", "--json", "-q",
    ]  # fmt: skip


def count_distinct(folder: Path) -> int:
    """Pictures that differ once they are prepared: the fewest requests that will do."""
    settings = load_settings(flags={"provider.model": MODEL}, environ={})
    options = make_plan(settings, today=DAY).options
    good = [p for p in (folder / "photos").iterdir() if not p.name.startswith("broken")]
    return len({prepare_image(path.read_bytes(), options).fingerprint for path in good})


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_every_answer_belongs_to_its_pixels_and_is_paid_once(tmp_path: Path, api: str) -> None:
    fill_library(tmp_path / "photos")
    with simulator(tmp_path, "--seed", SEED, "--latency-ms", 30) as base_url:
        done = run(tmp_path, *tag_words(base_url, api))
        books = read_books(base_url)
    assert done.code == 3, done.err
    assert books["requests"] == books["pictures"] == count_distinct(tmp_path)
    assert books["max_inflight"] > 16
    plan = make_plan(load_settings(flags={"provider.model": MODEL}, environ={}), today=DAY)
    tagged = [record for record in read_records(tmp_path) if record["status"] == "done"]
    assert len(tagged) == PICTURES + 10
    for record in tagged:
        prepared = prepare_image(Path(record["uri"]).read_bytes(), plan.options)
        answer = expected_answer(plan.question.schema, prepared.data, SEED)
        assert record["caption"] == answer["caption"], record["uri"]


def test_kill_9_loses_nothing_and_repeats_only_what_was_in_flight(tmp_path: Path) -> None:
    fill_library(tmp_path / "photos")
    in_flight_at_kills = 0
    with simulator(tmp_path, "--seed", SEED, "--latency-ms", 60) as base_url:
        words = [*tag_words(base_url, "chat"), "--max-concurrency", "6"]
        for goal in (5, 20, 40):
            process = start(tmp_path, *words)
            while read_books(base_url)["answered"] < goal and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            finish(process)
            in_flight_at_kills += 6
        done = run(tmp_path, *words)
        books = read_books(base_url)
    assert (done.code, done.document["images"]["done"]) == (3, PICTURES + 10), done.err
    assert books["requests"] <= count_distinct(tmp_path) + in_flight_at_kills
    assert len({record["uri"] for record in read_records(tmp_path)}) == PICTURES + 13
    assert run(tmp_path, "db", "check").code == 0


def test_the_key_is_written_nowhere(tmp_path: Path) -> None:
    fill_library(tmp_path / "photos")
    key = "sk-planted-0123456789abcdef"
    with simulator(tmp_path, "--require-key", key, "--server-error", "0.2") as base_url:
        words = [word for word in tag_words(base_url, "chat") if word not in {"--json", "-q"}]
        done = run(tmp_path, *words, "-vv", OPENAI_API_KEY=key)
    assert done.code == 3, done.err
    assert key not in done.out + done.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    assert [path for path in written if key.encode() in path.read_bytes()] == []
