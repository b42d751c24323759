"""The batch desk and the simulator understand each other, from the first file to the last line."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import orjson
import pytest
from pictures import jpeg
from scripted_api import make_image, make_question, make_settings, make_vision_request

from pipeline.domain.batches import Answered, BatchLine, BatchReport, RemoteState, Unanswered
from pipeline.domain.errors import (
    AskError,
    LineExpired,
    ProviderUnavailable,
    RequestRejected,
    TransientError,
)
from pipeline.domain.vision import VisionRequest
from pipeline.providers.openai import open_openai
from pipeline.providers.openai_batch import OpenAIBatchDesk, open_batch_desk
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio
ENVIRON = {"OPENAI_API_KEY": "sk-of-the-tests"}
QUESTION = make_question(model="gpt-5.6-luna")
AT_ONCE: dict[str, Any] = {
    "batch_validating_s": 0,
    "batch_seconds": 0,
    "batch_finalizing_s": 0,
    "batch_cancelling_s": 0,
}
APIS = ("chat", "responses")


def make_request(number: int) -> VisionRequest:
    image = make_image(jpeg(64, 48, seed=number))
    return make_vision_request(question=QUESTION, image=image, note=f"number {number}")


def write_file(folder: Path, desk: OpenAIBatchDesk, count: int) -> Path:
    path = folder / uuid4().hex
    lines = (desk.write_line(f"a-{number}", make_request(number)) for number in range(count))
    path.write_bytes(b"".join(piece for line in lines for piece in line))
    return path


@asynccontextmanager
async def open_desk(
    *, api: str = "chat", **behavior: Any
) -> AsyncIterator[tuple[OpenAIBatchDesk, str]]:
    """A desk at a simulator of its own, and where that is."""
    async with Simulator(Behavior(**AT_ONCE | behavior)) as simulator:
        settings = make_settings(base_url=simulator.base_url, api=api)
        async with open_batch_desk(settings, ENVIRON) as desk:
            yield desk, simulator.base_url


async def start(desk: OpenAIBatchDesk, folder: Path, count: int) -> BatchReport:
    file_id = await desk.upload(write_file(folder, desk, count), name="lines.jsonl")
    return await desk.create(file_id, token="t-1")


async def wait_until(
    desk: OpenAIBatchDesk, report: BatchReport, is_reached: Callable[[BatchReport], bool]
) -> BatchReport:
    with anyio.fail_after(30):
        while not is_reached(report):
            await anyio.sleep(0.01)
            report = await desk.read(report.remote_id)
    return report


async def wait_for_end(desk: OpenAIBatchDesk, report: BatchReport) -> BatchReport:
    return await wait_until(desk, report, lambda one: one.state.is_over)


async def collect(desk: OpenAIBatchDesk, file_id: str | None) -> dict[str, BatchLine]:
    if file_id is None:
        return {}
    return {line.custom_id: line async for line in desk.read_lines(file_id, model=QUESTION.model)}


@pytest.mark.parametrize("api", APIS)
async def test_batch_answers_what_single_requests_would(api: str, tmp_path: Path) -> None:
    async with open_desk(api=api) as (desk, url):
        begun = await start(desk, tmp_path, 8)
        report = await wait_for_end(desk, begun)
        lines = await collect(desk, report.output_file)
        async with open_openai(make_settings(base_url=url, api=api), ENVIRON) as provider:
            single = [await provider.ask(make_request(number)) for number in range(8)]
    assert (report.state, report.token) == (RemoteState.COMPLETED, "t-1")
    assert (report.total, report.completed, report.failed) == (8, 8, 0)
    assert report.error_file is None
    assert report.created_at_ms is not None
    assert report.ends_by_ms == report.created_at_ms + 86_400_000
    assert sorted(lines) == [f"a-{number}" for number in range(8)]
    for number, answer in enumerate(single):
        line = lines[f"a-{number}"]
        assert isinstance(line, Answered)
        assert line.response.service_tier == "batch"
        assert orjson.loads(line.response.text or "") == orjson.loads(answer.text or "")
        same = {"request_id": None, "rates": None, "service_tier": None, "text": None}
        # what the prompt cache had by then is no matter of the desk
        usages = [
            dataclasses.replace(one.usage, cached=0, cache_write=0)
            for one in (line.response, answer)
        ]
        assert usages[0] == usages[1]
        assert dataclasses.replace(line.response, usage=usages[0], **same) == dataclasses.replace(
            answer, usage=usages[0], **same
        )


async def test_failed_lines_are_in_the_error_file(tmp_path: Path) -> None:
    async with open_desk(batch_line_errors=1) as (desk, _):
        report = await wait_for_end(desk, await start(desk, tmp_path, 3))
        lines = await collect(desk, report.error_file)
    assert report.failed == 3
    kinds = {type(line.error) for line in lines.values() if isinstance(line, Unanswered)}
    assert (len(lines), kinds) == (3, {ProviderUnavailable})


async def test_cancelled_batch_delivers_what_it_has_and_the_rest_expires(tmp_path: Path) -> None:
    async with open_desk(stalled_batches=1, stalled_at=0.5) as (desk, _):
        begun = await start(desk, tmp_path, 6)
        half = await wait_until(desk, begun, lambda one: one.completed == 3)
        asked = await desk.cancel(half.remote_id)
        report = await wait_for_end(desk, asked)
        answers = await collect(desk, report.output_file)
        others = await collect(desk, report.error_file)
        again = await desk.cancel(report.remote_id)
    assert asked.state in {RemoteState.CANCELLING, RemoteState.CANCELLED}
    assert report.state is again.state is RemoteState.CANCELLED
    assert (len(answers), len(others)) == (3, 3)
    assert all(
        isinstance(line, Unanswered) and isinstance(line.error, LineExpired)
        for line in others.values()
    )


async def test_quota_that_is_used_up_fails_the_whole(tmp_path: Path) -> None:
    async with open_desk(batch_enqueued_tokens=1) as (desk, _):
        report = await wait_for_end(desk, await start(desk, tmp_path, 2))
    assert report.state is RemoteState.FAILED
    assert [fault.code for fault in report.faults] == ["token_limit_exceeded"]
    assert report.output_file is None


async def test_upload_whose_answer_was_lost_is_found_by_its_name(tmp_path: Path) -> None:
    async with open_desk(lost_file_uploads=1) as (desk, _):
        path = write_file(tmp_path, desk, 1)
        with pytest.raises(TransientError):
            await desk.upload(path, name="mine.jsonl")
        [found] = await desk.find_files("mine.jsonl")
        assert await desk.find_files("other.jsonl") == []
        await desk.delete_file(found)
        await desk.delete_file(found)
        assert await desk.find_files("mine.jsonl") == []


async def test_batch_whose_answer_was_lost_is_found_by_its_token(tmp_path: Path) -> None:
    async with open_desk(lost_batch_creates=1) as (desk, _):
        file_id = await desk.upload(write_file(tmp_path, desk, 1), name="lines.jsonl")
        with pytest.raises(AskError) as caught:
            await desk.create(file_id, token="t-9")
        reports = [report async for report in desk.list_batches()]
    assert caught.value.may_be_billed
    assert [(report.token, report.input_file) for report in reports] == [("t-9", file_id)]


async def test_lists_are_read_to_their_end(tmp_path: Path) -> None:
    async with open_desk(stalled_batches=120) as (desk, _):
        file_id = await desk.upload(write_file(tmp_path, desk, 1), name="lines.jsonl")
        for number in range(120):
            await desk.create(file_id, token=f"t-{number}")
        tokens = {report.token async for report in desk.list_batches()}
    assert tokens == {f"t-{number}" for number in range(120)}


async def test_what_the_server_does_not_know_concerns_nothing_else() -> None:
    async with open_desk() as (desk, _):
        for call in (
            desk.read("batch_none"),
            desk.cancel("batch_none"),
            collect(desk, "file-none"),
        ):
            with pytest.raises(RequestRejected):
                await call
