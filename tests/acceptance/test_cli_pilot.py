"""``tag --sample``: a pilot, its page, and the run that goes on."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import MODEL, make_library, read_books, run, simulator
from pictures import jpeg

HOSTILE = '<img src=x onerror=alert(1)> "quoted" \u202egpj.jpg'


def make_shop(folder: Path) -> None:
    """Several departments, pictures of several sizes."""
    for place, department in enumerate(("shoes", "hats", "shirts")):
        (folder / department).mkdir(parents=True)
        for number in range(30):
            side = (96, 200, 420, 640)[(number + place) % 4]
            data = jpeg(side, side * 3 // 4, seed=100 * place + number)
            (folder / department / f"{number:02}.jpg").write_bytes(data)


def test_a_pilot_projects_the_rest_and_the_next_run_asks_only_that(tmp_path: Path) -> None:
    make_shop(tmp_path / "photos")
    with simulator(tmp_path) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url]
        first = run(tmp_path, *words, "--sample", 24, "--json", OPENAI_API_KEY="sk-planted")
        assert first.code == 0, first.err
        assert read_books(base_url)["requests"] == 24
        pilot = first.document["pilot"]
        assert (pilot["sampled"], pilot["waiting"], pilot["rest"]) == (24, 90, 66)
        assert sum(one["sampled"] for one in pilot["strata"]) == 24
        assert {name.split(",")[0] for one in pilot["strata"] for name in [one["name"]]} == {
            "shoes", "hats", "shirts",
        }  # fmt: skip
        assert first.document["exports"] == []
        assert not (tmp_path / "var/exports").exists()
        goes_on = shlex.split(pilot["command"])
        assert goes_on[2:] == [*words, "--json"]
        rest = run(tmp_path, *goes_on[2:], OPENAI_API_KEY="sk-planted").document
        assert read_books(base_url)["requests"] == 90
    assert (rest["images"]["tagged"], rest["images"]["done"]) == (66, 90)
    projected = {name: float(usd) for name, usd in pilot["projected_usd"].items()}
    assert projected["low"] <= float(rest["cost_usd"]) <= projected["high"]
    assert set(pilot["lanes_usd"]) == {"standard", "flex", "batch"}
    page = (tmp_path / "var/pilot.html").read_text()
    assert page.count("<article") == page.count('src="data:image/jpeg;base64,') == 24
    assert shlex.join(goes_on) in page
    assert "planted" not in page


def test_a_pilot_tells_people_what_comes(tmp_path: Path) -> None:
    make_shop(tmp_path / "photos")
    with simulator(tmp_path, "--refused", 0.3) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url, "--sample", 12]
        done = run(tmp_path, *words, "--sample-page", "out/look.html", OPENAI_API_KEY="sk-x")
    assert done.code == 3, done.err
    assert "pilot of 12 images; 78 still wait" in done.out
    for words_told in ("standard", "flex", "batch", "open out/look.html", "go on: python "):
        assert words_told in done.out
    assert "a pilot writes no exports" in done.err
    assert "the model declined to answer" in (tmp_path / "out/look.html").read_text()


def test_names_of_strangers_are_text_in_the_page(tmp_path: Path) -> None:
    library = make_library(tmp_path / "photos", 2)
    (library / HOSTILE).write_bytes(jpeg(120, 80, seed=9))
    (library / "صورة.jpg").write_bytes(jpeg(120, 80, seed=10))
    (library / "empty.jpg").write_bytes(b"")
    done = run(tmp_path, "tag", "photos", "--sample", 9, "--sample-export", "--json", "-q")
    assert (done.code, done.document["pilot"]["sampled"]) == (3, 5)
    assert done.document["exports"] != []
    page = (tmp_path / "var/pilot.html").read_text()
    assert "<bdi>صورة.jpg</bdi>" in page
    assert "onerror=alert(1)&gt;" in page
    assert len(re.findall("<img ", page)) == 4
    assert "\u202e" not in page
    assert "the file has no bytes" in page


def test_a_dry_run_says_how_many_the_pilot_would_take(tmp_path: Path) -> None:
    make_shop(tmp_path / "photos")
    words = ["tag", "photos", "--where", "path=*/hats/*", "--sample", 10, "--dry-run"]
    told = run(tmp_path, *words, "-q").out
    assert re.match(r"90 images listed; of 30 that would .* takes 10 from \d+ strata", told)
    pilot = run(tmp_path, *words, "--json").document["pilot"]
    assert (pilot["would_sample"], pilot["waiting"]) == (10, 30)
    assert not (tmp_path / "var/pilot.html").exists()
    asked = run(tmp_path, *words[:-1], "--json").document
    assert (asked["images"]["tagged"], asked["pilot"]["waiting"]) == (10, 30)
    assert all(one["name"].startswith("hats") for one in asked["pilot"]["strata"])


def test_a_pilot_where_nothing_waits_writes_no_page(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    run(tmp_path, "tag", "photos", "-q")
    done = run(tmp_path, "tag", "photos", "--sample", 5)
    assert "nothing waits that a pilot could ask about" in done.out
    assert not (tmp_path / "var/pilot.html").exists()
    assert run(tmp_path, "tag", "photos", "--sample", 5, "--json").document["pilot"] is None


def test_a_budget_pauses_a_pilot_and_the_page_says_so(tmp_path: Path) -> None:
    make_shop(tmp_path / "photos")
    with simulator(tmp_path) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url, "--sample", 40]
        done = run(tmp_path, *words, "--budget", "0.03", "--json", OPENAI_API_KEY="sk-x")
    assert done.code == 4
    pilot = done.document["pilot"]
    assert 0 < pilot["sampled"] < pilot["drawn"] == 40
    assert "have no answer yet" in (tmp_path / "var/pilot.html").read_text()


def test_a_pilot_without_an_answer_projects_nothing(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    with simulator(tmp_path) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url, "--sample", 2]
        words += ["--budget", "0.00001"]
        told = run(tmp_path, *words, OPENAI_API_KEY="sk-x").out
        pilot = run(tmp_path, *words, "--json", OPENAI_API_KEY="sk-x").document["pilot"]
    assert "no image of the pilot has its answer" in told
    assert "$0.00  unknown" not in told
    assert (pilot["sampled"], pilot["rest"]) == (0, 3)
    assert pilot["projected_usd"] is pilot["projected_tokens"] is pilot["shares"] is None
    assert "no image has its answer" in (tmp_path / "var/pilot.html").read_text()


def test_a_page_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    words = ["tag", "photos", "--sample", 2, "--sample-page", "/dev/full", "--json"]
    done = run(tmp_path, *words)
    assert (done.code, done.document["exit_code"]) == (1, 1)
    assert "cannot write /dev/full" in done.err
    assert (done.document["pilot"]["page"], done.document["pilot"]["sampled"]) == (None, 2)
    assert done.document["images"]["done"] == 2


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["--limit", "3"], 2, "--sample and --limit contradict"),
        (["--sample-page", "photos"], 1, "it is a folder"),
    ],
)
def test_a_pilot_that_cannot_be_is_told_before_anything_is_asked(
    tmp_path: Path, words: list[str], code: int, hint: str
) -> None:
    make_library(tmp_path / "photos", 1)
    done = run(tmp_path, "tag", "photos", "--sample", 5, *words)
    assert (done.code, done.out) == (code, "")
    assert hint in done.err
    assert not (tmp_path / "var/ledger.db").exists()


def test_a_pilot_of_a_batch_run_is_answered_at_once(tmp_path: Path) -> None:
    make_shop(tmp_path / "photos")
    with simulator(tmp_path) as base_url:
        words = ["tag", "photos", "--model", MODEL, "--base-url", base_url]
        lane = ["--mode", "batch", "--finish-by", "06:00"]
        done = run(tmp_path, *words, *lane, "--sample", 6, "--json", OPENAI_API_KEY="sk-x")
        lanes = {bill["tier"] for bill in read_books(base_url)["by_lane"]}
    assert (done.code, lanes) == (0, {"default"})
    assert shlex.split(done.document["pilot"]["command"])[2:] == [*words, *lane, "--json"]
