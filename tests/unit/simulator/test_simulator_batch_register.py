"""What may be asked of batches, how many there may be, and in what order they are worked on."""

from array import array
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.batches import RemoteState
from pipeline.simulator.batch_input import Survey
from pipeline.simulator.batch_work import shuffle_lines
from pipeline.simulator.batches import Batch, BatchRegister, BatchWish, read_wish
from pipeline.simulator.behavior import Behavior, strikes_call, strikes_line
from pipeline.simulator.calendar import Calendar
from pipeline.simulator.decisions import Case, Verdict, fail_line
from pipeline.simulator.errors import ApiError
from pipeline.simulator.plan import FaultPlan

WISH = BatchWish(input_file_id="file-1", endpoint="/v1/responses")
DOCUMENT = {
    "input_file_id": "file-1",
    "endpoint": "/v1/responses",
    "completion_window": "24h",
}


def open_register() -> BatchRegister:
    return BatchRegister(Calendar(lambda: 0.0))


def create(
    register: BatchRegister, behavior: Behavior, *, tokens: int = 0, model: str = "m"
) -> Batch:
    batch = register.create(WISH, behavior, FaultPlan(), key="k", source=None)
    batch.model, batch.enqueued_tokens = model, tokens
    return batch


def test_metadata_at_its_limits_is_taken() -> None:
    metadata = {f"{number:064}": "v" * 512 for number in range(16)}
    assert read_wish(orjson.dumps(DOCUMENT | {"metadata": metadata})).metadata == metadata


@pytest.mark.parametrize("name", DOCUMENT)
def test_what_must_be_said_is_named_when_it_is_missing(name: str) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != name}
    with pytest.raises(ApiError) as caught:
        read_wish(orjson.dumps(document))
    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", orjson.dumps(DOCUMENT | {"metadata": {"k": 1}})]
)
def test_odd_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_wish(body)
    assert caught.value.status == 400


@given(tokens=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_tokens_in_batches_never_exceed_the_quota(tokens: list[int]) -> None:
    register, behavior = open_register(), Behavior(batch_enqueued_tokens=100)
    held = 0
    for amount in tokens:
        batch = create(register, behavior, tokens=amount)
        fault = register.find_quota_fault(batch)
        assert (fault is None) == (held + amount <= 100)
        batch.enter(RemoteState.FAILED if fault else RemoteState.IN_PROGRESS, 0.0)
        held += 0 if fault else amount


def test_quota_is_of_a_model_and_free_again_after_the_end() -> None:
    register, behavior = open_register(), Behavior(batch_enqueued_tokens=100)
    first = create(register, behavior, tokens=80)
    first.enter(RemoteState.IN_PROGRESS, 0.0)
    assert register.find_quota_fault(create(register, behavior, tokens=80, model="other")) is None
    assert register.find_quota_fault(create(register, behavior, tokens=80))
    first.enter(RemoteState.COMPLETED, 0.0)
    assert register.find_quota_fault(create(register, behavior, tokens=80)) is None


@given(count=st.integers(1, 60), number=st.integers(1, 9), seed=st.integers(0, 9))
def test_lines_are_all_worked_on_and_never_in_the_order_of_the_file(
    count: int, number: int, seed: int
) -> None:
    survey = Survey(offsets=array("Q", range(count)))
    batch = create(open_register(), Behavior(seed=seed))
    batch.number = number
    order = list(shuffle_lines(survey, batch))
    assert sorted(order) == list(range(count))
    assert count == 1 or order != list(range(count))
    assert order == list(shuffle_lines(survey, batch))


def make_case(**more: Any) -> Case:
    behavior = Behavior(batch_line_errors=1, max_faults_per_picture=1)
    return Case(behavior=behavior, model="m", picture="aa", times_seen=0, **more)


def test_line_fails_until_its_picture_had_its_share() -> None:
    failed = fail_line(make_case(faults_so_far=0))
    assert isinstance(failed, Verdict)
    assert failed.error
    assert failed.error.status == 500
    assert fail_line(make_case(faults_so_far=1)) is None


def test_lines_and_calls_are_struck_in_their_shares() -> None:
    behavior = Behavior(batch_line_errors=0.2, lost_batch_creates=0.3)
    lines = [strikes_line(behavior, f"{n:064x}", times_seen=0) for n in range(4000)]
    calls = [strikes_call(behavior, "lost_batch_creates", number=n) for n in range(4000)]
    assert lines.count(True) / 4000 == pytest.approx(0.2, abs=0.02)
    assert calls.count(True) / 4000 == pytest.approx(0.3, abs=0.02)
    assert not any(strikes_call(behavior, "failed_batch_calls", number=n) for n in range(100))
