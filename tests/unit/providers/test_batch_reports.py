"""What a server says of a batch, however little or odd it is."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Batch

from pipeline.domain.batches import BatchFault, BatchReport, RemoteState
from pipeline.providers.batch_reports import read_report

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
WHOLE: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-in",
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-out",
    "error_file_id": "file-error",
    "created_at": 1_790_000_000,
    "expires_at": 1_790_086_400,
    "request_counts": {"total": 5, "completed": 3, "failed": 2},
    "metadata": {"tagpipe": "t-1", "other": "x"},
    "errors": {
        "object": "list",
        "data": [{"code": "token_limit_exceeded", "message": "Enqueued\ntoken limit", "line": 3}],
    },
}


def test_report_that_the_sdk_knows_is_read_whole() -> None:
    Batch.model_validate(WHOLE)
    assert read_report(WHOLE) == BatchReport(
        remote_id="batch_1",
        state=RemoteState.COMPLETED,
        input_file="file-in",
        output_file="file-out",
        error_file="file-error",
        total=5,
        completed=3,
        failed=2,
        faults=(BatchFault(code="token_limit_exceeded", message="Enqueued token limit", line=3),),
        token="t-1",
        created_at_ms=1_790_000_000_000,
        ends_by_ms=1_790_086_400_000,
    )


def test_every_state_of_the_api_is_known() -> None:
    states = Batch.model_fields["status"].annotation.__args__  # type: ignore[union-attr]
    assert {RemoteState(word) for word in states} == set(RemoteState)


def test_batch_of_somebody_else_has_no_token() -> None:
    for metadata in (None, {}, {"tagpipe": 7}, "tagpipe"):
        report = read_report({**WHOLE, "metadata": metadata})
        assert report is not None
        assert report.token is None


def test_report_of_an_id_alone_is_one_in_progress() -> None:
    expected = BatchReport(remote_id="b", state=RemoteState.IN_PROGRESS, input_file="")
    assert read_report({"id": "b"}) == expected


def test_unknown_state_is_taken_for_in_progress_and_noted_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        reports = [read_report({**WHOLE, "status": "marinating"}) for _ in range(3)]
    assert [report and report.state for report in reports] == [RemoteState.IN_PROGRESS] * 3
    [record] = [record for record in caplog.records if record.msg == "batch.unknown_state"]
    assert vars(record)["state"] == "marinating"


@given(document=JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(WHOLE, JSON)))
def test_no_document_breaks_the_reading(document: Any) -> None:
    report = read_report(document)
    assert report is None or report.remote_id


@given(value=JSON)
def test_no_value_of_a_field_breaks_the_reading(value: Any) -> None:
    for name in set(WHOLE) - {"id"}:
        report = read_report({**WHOLE, name: value})
        assert report is not None
        assert report.remote_id == "batch_1"


@pytest.mark.parametrize("time", [True, -1, 0, "1790000000", 10**12, None])
def test_time_that_is_none_is_left_out(time: Any) -> None:
    report = read_report({**WHOLE, "created_at": time})
    assert report is not None
    assert report.created_at_ms is None
