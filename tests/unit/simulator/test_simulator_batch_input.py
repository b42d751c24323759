"""An input file is looked over to its end, whatever is in it, and in steps of any size."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import batch_input
from pipeline.simulator.batch_input import Survey, Surveyor, read_line
from pipeline.simulator.batches import BatchWish
from pipeline.simulator.errors import bad_request

WISH = BatchWish(input_file_id="file-1", endpoint="/v1/responses")


def make_line(custom_id: str, **changes: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": WISH.endpoint, "body": {"model": "m"}}
    return orjson.dumps(line | changes) + b"\n"


def look_over(path: Path, content: bytes, *, step: int = 64) -> Survey:
    path.write_bytes(content)
    surveyor = Surveyor(path, WISH, lambda name: name == "m", count_tokens=len)
    while not surveyor.step(step):
        pass
    return surveyor.survey


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("input") / "lines.jsonl"


@given(
    ids=st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=20),
    gaps=st.lists(st.booleans(), min_size=20, max_size=20),
    step=st.integers(1, 30),
)
def test_every_line_is_found_again_where_it_begins(
    path: Path, ids: list[str], gaps: list[bool], step: int
) -> None:
    parts = [make_line(custom_id) + b" \n" * gap for custom_id, gap in zip(ids, gaps, strict=False)]
    survey = look_over(path, b"".join(parts), step=step)
    assert survey.faults == []
    assert [read_line(path, offset).custom_id for offset in survey.offsets] == ids


def test_last_line_needs_no_end(path: Path) -> None:
    survey = look_over(path, make_line("a") + make_line("b").rstrip())
    assert (len(survey.offsets), survey.faults) == (2, [])


def test_all_wrong_lines_are_told_with_their_numbers(path: Path) -> None:
    content = make_line("a") + b"\n" + make_line("a") + b"nonsense\n" + make_line("b", method="PUT")
    faults = look_over(path, content, step=1).faults
    assert [(fault.line, fault.code) for fault in faults] == [
        (3, "duplicate_custom_id"),
        (4, "invalid_json_line"),
        (5, "invalid_method"),
    ]


def test_line_that_never_ends_is_not_read_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_input, "MAX_LINE_BYTES", 200)
    survey = look_over(path, make_line("a") + b"x" * 10_000)
    assert [fault.code for fault in survey.faults] == ["invalid_json_line"]
    assert survey.position < 400


def test_unknown_model_is_told_once(path: Path) -> None:
    lines = [make_line(name, body={"model": "gpt-0"}) for name in "abc"]
    faults = look_over(path, b"".join(lines)).faults
    assert [(fault.line, fault.code) for fault in faults] == [(1, "model_not_found")]


def test_tokens_are_counted_for_bodies_alone(path: Path) -> None:
    survey = look_over(path, make_line("a") + make_line("b" * 50))
    assert survey.tokens == 2 * len(b'{"model":"m"}')


def test_request_that_would_be_refused_has_no_tokens() -> None:
    def refuse(_: bytes) -> int:
        raise bad_request("no")

    assert batch_input.count_tokens_with(refuse)(b"{}") == 0
