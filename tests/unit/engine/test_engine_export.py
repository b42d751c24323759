"""What a row of the ledger becomes in a record."""

from types import SimpleNamespace

import pytest

from pipeline.domain.jobs import JobState
from pipeline.engine.export import make_record

ROW = {
    "image_id": 1, "uri": "/photos/a.jpg", "sha256": None, "width": None, "height": None,
    "format": None, "profile": "general", "profile_version": 1, "model": None, "tags": None,
    "answer": None, "confidence": None, "review": "none", "input_tokens": 0, "cached_tokens": 0,
    "output_tokens": 0, "cost_nanos": 0, "is_unpriced": False, "settled_at": None,
    "cause": "timeout", "message": "slow",
}  # fmt: skip


@pytest.mark.parametrize("state", JobState)
def test_only_an_image_that_ended_without_an_answer_has_a_cause(state: JobState) -> None:
    record = make_record(SimpleNamespace(**ROW, state=state))
    has_failed = state in {JobState.FAILED, JobState.SKIPPED}
    assert (record.cause, record.message) == (("timeout", "slow") if has_failed else (None, None))
