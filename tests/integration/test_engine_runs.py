"""Whole runs of the engine: real pictures, a real ledger, a scripted provider."""

import os
import shutil
import sqlite3
from pathlib import Path

import anyio
import pytest
from engines import ANSWER, Bench, ScriptedProvider, make_response
from pictures import jpeg, truncated
from sqlalchemy import update

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.errors import (
    AnswerCut,
    AskError,
    AttemptTimeout,
    ContentRefused,
    CredentialsRefused,
    EnvironmentFault,
    InvalidAnswer,
    LedgerStaysAway,
    ProviderUnavailable,
    RateLimited,
    TransportError,
)
from pipeline.domain.vision import VisionRequest, VisionResponse
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.runs import RunBook, RunState
from pipeline.ledger.tables import runs
from pipeline.ledger.upkeep import check_ledger

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def put_pictures(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.put(f"{number:03}.jpg", jpeg(64, 48, seed=number))


async def test_every_picture_is_asked_about_once_and_exported(bench: Bench) -> None:
    put_pictures(bench, 30)
    provider = ScriptedProvider()
    result = await bench.run(provider)
    assert (result.state, result.document["images"]["done"]) == (RunState.FINISHED, 30)
    assert len(provider.asked) == len(set(provider.asked)) == 30
    records = bench.records()
    assert [record["title"] for record in records] == ["a picture"] * 30
    assert records[0]["tags"] == ["one", "two"]


async def test_a_second_run_reads_nothing_and_asks_nothing(bench: Bench) -> None:
    put_pictures(bench, 5)
    await bench.run(ScriptedProvider())
    for picture in bench.library.iterdir():
        facts = picture.stat()
        picture.write_bytes(b"?" * facts.st_size)  # reading it now would fail
        os.utime(picture, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    again = ScriptedProvider()
    result = await bench.run(again)
    assert again.asked == []
    assert result.document["images"]["done"] == 5


async def test_copies_cost_one_request_even_when_they_arrive_together(bench: Bench) -> None:
    data = jpeg(64, 48, seed=1)
    for number in range(20):
        bench.put(f"{number}.jpg", data)
    provider = ScriptedProvider()
    result = await bench.run(provider)
    assert len(provider.asked) == 1
    images = result.document["images"]
    assert (images["done"], images["tagged"], images["reused"]) == (20, 1, 19)
    assert sum(float(record["cost_usd"]) > 0 for record in bench.records()) == 1


async def test_a_metadata_edit_or_a_rename_costs_nothing(bench: Bench) -> None:
    bench.put("a.jpg", jpeg(64, 48, seed=1))
    await bench.run(ScriptedProvider())
    bench.put("edited.jpg", jpeg(64, 48, seed=1, comment=b"edited"))
    shutil.move(bench.library / "a.jpg", bench.library / "renamed.jpg")
    again = ScriptedProvider()
    result = await bench.run(again)
    assert again.asked == []
    assert result.document["scan"]["moved"] == 1
    assert {record["uri"].rsplit("/")[-1] for record in bench.records()} == {
        "edited.jpg",
        "renamed.jpg",
    }


async def test_bad_files_become_rows_and_cost_nothing(bench: Bench) -> None:
    put_pictures(bench, 3)
    bench.put("empty.jpg", b"")
    bench.put("text.jpg", b"this is a text, whatever its name says\n" * 10)
    bench.put("cut.jpg", truncated(jpeg(640, 480)))
    provider = ScriptedProvider()
    result = await bench.run(provider)
    assert len(provider.asked) == 3
    assert result.document["causes"] == {"empty": 1, "not_an_image": 1, "truncated": 1}
    failed = {r["uri"].rsplit("/")[-1]: r["cause"] for r in bench.records() if r["cause"]}
    assert failed == {"empty.jpg": "empty", "text.jpg": "not_an_image", "cut.jpg": "truncated"}


async def test_a_stray_file_without_a_pictures_name_is_skipped(bench: Bench) -> None:
    bench.put("a.jpg", jpeg(64, 48))
    bench.put("LICENSE", b"Permission is hereby granted, free of charge, to any person")
    result = await bench.run(ScriptedProvider())
    assert result.document["images"]["skipped"] == 1
    assert result.document["images"]["failed"] == 0


async def test_names_that_are_no_utf8_are_tagged_like_others(bench: Bench) -> None:
    bench.put(os.fsdecode(b"caf\xe9.jpg"), jpeg(64, 48))
    first = await bench.run(ScriptedProvider())
    again = await bench.run(ScriptedProvider())
    assert first.document["images"]["done"] == again.document["images"]["done"] == 1
    assert str(bench.records()[0]["uri"]).endswith("caf%E9.jpg")


async def test_an_empty_mount_point_takes_nothing_away(bench: Bench) -> None:
    put_pictures(bench, 2)
    await bench.run(ScriptedProvider())
    for path in bench.library.iterdir():
        path.unlink()
    result = await bench.run(ScriptedProvider())
    assert result.document["scan"]["gone"] == 0
    assert "is it mounted?" in result.document["warnings"][0]
    assert len(bench.records()) == 2


async def test_transient_faults_are_tried_again_until_they_pass(bench: Bench) -> None:
    put_pictures(bench, 10)

    async def fail_twice(request: VisionRequest, _number: int) -> VisionResponse:
        seen = provider.asked.count(request.image.fingerprint)
        if seen == 1:
            raise RateLimited("slow down", status=429, retry_after_seconds=0.001)
        if seen == 2:
            raise ProviderUnavailable("try later", status=500)
        return make_response()

    provider = ScriptedProvider(fail_twice)
    result = await bench.run(provider)
    assert result.document["images"]["done"] == 10
    assert result.document["requests"] == {"sent": 30, "retried": 20, "rate_limited": 10}


async def test_patience_has_an_end_and_the_cause_is_kept(bench: Bench) -> None:
    put_pictures(bench, 1)
    bench.flags["limits.max_attempts"] = 3

    async def hang(_request: VisionRequest, _number: int) -> VisionResponse:
        raise AttemptTimeout("no answer within 120 s")

    provider = ScriptedProvider(hang)
    result = await bench.run(provider)
    assert len(provider.asked) == 3
    assert result.document["causes"] == {"timeout": 1}


async def test_an_invalid_answer_is_billed_and_asked_for_once_more(bench: Bench) -> None:
    put_pictures(bench, 1)

    async def break_schema(_request: VisionRequest, _number: int) -> VisionResponse:
        return make_response({"title": 7})

    provider = ScriptedProvider(break_schema)
    result = await bench.run(provider)
    assert len(provider.asked) == 2
    assert result.document["causes"] == {"invalid_answer": 1}
    assert result.document["tokens"]["input"] == 2_000


async def test_a_refusal_is_billed_and_final(bench: Bench) -> None:
    put_pictures(bench, 1)

    async def refuse(_request: VisionRequest, _number: int) -> VisionResponse:
        raise ContentRefused("I cannot help with that", response=make_response())

    provider = ScriptedProvider(refuse)
    result = await bench.run(provider)
    assert len(provider.asked) == 1
    assert float(result.document["cost_usd"]) > 0
    assert result.document["causes"] == {"refused": 1}


async def test_a_copy_of_a_refused_picture_is_not_paid_for_again(bench: Bench) -> None:
    data = jpeg(64, 48)
    for name in "abc":
        bench.put(f"{name}.jpg", data)

    async def refuse(_request: VisionRequest, _number: int) -> VisionResponse:
        await anyio.sleep(0.2)
        raise ContentRefused("no", response=make_response())

    provider = ScriptedProvider(refuse)
    result = await bench.run(provider)
    assert len(provider.asked) == 1
    assert result.document["causes"] == {"refused": 3}


async def test_a_wrong_key_pauses_within_a_handful_and_fails_nobody(bench: Bench) -> None:
    put_pictures(bench, 40)

    async def refuse_key(_request: VisionRequest, _number: int) -> VisionResponse:
        await anyio.sleep(0.05)
        raise CredentialsRefused("the key was refused: check OPENAI_API_KEY")

    provider = ScriptedProvider(refuse_key)
    result = await bench.run(provider)
    assert result.state is RunState.PAUSED
    assert "check OPENAI_API_KEY" in str(result.pause)
    assert len(provider.asked) <= 4
    assert result.document["images"]["pending"] == 40
    good = ScriptedProvider()
    assert (await bench.run(good)).document["images"]["done"] == 40
    assert len(good.asked) == 40


async def test_the_budget_pauses_the_run_and_a_larger_one_resumes_it(bench: Bench) -> None:
    put_pictures(bench, 20)
    bench.flags["limits.budget_usd"] = "0.004"
    first = await bench.run(ScriptedProvider())
    assert first.state is RunState.PAUSED
    assert float(first.document["cost_usd"]) <= 0.004
    assert 0 < first.document["images"]["done"] < 20
    bench.flags["limits.budget_usd"] = "1"
    second = ScriptedProvider()
    assert (await bench.run(second)).document["images"]["done"] == 20
    assert len(second.asked) == 20 - first.document["images"]["done"]


async def test_concurrency_is_bounded_and_used(bench: Bench) -> None:
    put_pictures(bench, 60)
    bench.flags["limits.max_concurrency"] = 7

    async def take_time(_request: VisionRequest, _number: int) -> VisionResponse:
        await anyio.sleep(0.02)
        return make_response()

    provider = ScriptedProvider(take_time)
    await bench.run(provider)
    assert provider.most_in_flight == 7


async def test_a_tiny_memory_budget_slows_but_never_sticks(bench: Bench) -> None:
    for number in range(6):
        bench.put(f"{number}.jpg", jpeg(2_000, 1_500, seed=number))
    bench.flags["limits.memory_mb"] = 16
    result = await bench.run(ScriptedProvider())
    assert result.document["images"]["done"] == 6


async def test_stopping_lets_requests_settle_and_sends_no_more(bench: Bench) -> None:
    put_pictures(bench, 40)
    bench.flags["limits.max_concurrency"] = 4
    started, release = anyio.Event(), anyio.Event()

    async def wait(_request: VisionRequest, number: int) -> VisionResponse:
        if number == 4:
            started.set()
        await release.wait()
        return make_response()

    provider = ScriptedProvider(wait)
    async with bench.open(provider) as (tagging, ledger), anyio.create_task_group() as group:

        async def stop_once() -> None:
            await started.wait()
            tagging.pool.stop()
            release.set()

        group.start_soon(stop_once)
        result = await tagging.run()
        assert await check_ledger(ledger.database) == []
    assert result.state is RunState.INTERRUPTED
    assert len(provider.asked) == result.document["images"]["done"] == 4
    assert result.document["images"]["pending"] == 36


async def test_cancelling_leaves_attempts_on_record_as_lost(bench: Bench) -> None:
    put_pictures(bench, 10)

    async def never_answer(_request: VisionRequest, number: int) -> VisionResponse:
        if number == 4:
            started.set()
        await anyio.sleep_forever()
        raise AssertionError

    started = anyio.Event()
    provider = ScriptedProvider(never_answer)
    async with bench.open(provider) as (tagging, ledger), anyio.create_task_group() as group:

        async def cancel_once() -> None:
            await started.wait()
            tagging.pool.cancel()

        group.start_soon(cancel_once)
        with anyio.fail_after(20):
            result = await tagging.run()
        assert await check_ledger(ledger.database) == []
        spending = await ledger.reader.sum_spending()
    assert result.document["images"]["pending"] == 10
    assert (spending.requests, spending.answered, spending.lost) == (4, 0, 4)


async def test_a_limit_ends_the_run_early_and_the_next_goes_on(bench: Bench) -> None:
    put_pictures(bench, 12)
    provider = ScriptedProvider()
    first = await bench.run(provider, limit=5)
    assert (first.document["images"]["done"], len(provider.asked)) == (5, 5)
    second = await bench.run(provider)
    assert (second.document["images"]["done"], len(provider.asked)) == (12, 12)


async def test_a_changed_profile_asks_again_and_only_then(bench: Bench) -> None:
    put_pictures(bench, 4)
    await bench.run(ScriptedProvider())
    bench.flags["provider.model"] = "gpt-4o"
    provider = ScriptedProvider()
    result = await bench.run(provider)
    assert (result.document["scan"]["stale"], len(provider.asked)) == (4, 4)
    again = ScriptedProvider()
    await bench.run(again)
    assert again.asked == []


async def test_a_retry_does_not_read_the_file_again(bench: Bench) -> None:
    path = bench.put("a.jpg", jpeg(64, 48))

    async def fail_once(_request: VisionRequest, number: int) -> VisionResponse:
        path.unlink(missing_ok=True)
        if number == 1:
            raise RateLimited("slow", retry_after_seconds=0.01)
        return make_response()

    result = await bench.run(ScriptedProvider(fail_once))
    assert result.document["images"]["tagged"] == 1


async def test_usage_that_the_server_left_out_is_estimated_and_marked(bench: Bench) -> None:
    put_pictures(bench, 1)

    async def leave_out(_request: VisionRequest, _number: int) -> VisionResponse:
        return make_response(usage_is_estimated=True)

    result = await bench.run(ScriptedProvider(leave_out))
    assert result.document["tokens"]["input"] > 1_000
    assert ANSWER["title"] == bench.records()[0]["title"]


async def test_a_failing_export_fails_alone(bench: Bench) -> None:
    put_pictures(bench, 1)
    good, bad = str(bench.folder / "good.csv"), str(bench.library / "000.jpg" / "x.csv")
    bench.flags["exports"] = [{"format": "csv", "path": bad}, {"format": "csv", "path": good}]
    result = await bench.run(ScriptedProvider())
    assert [report.path for report in result.exports] == [good]
    assert len(result.export_errors) == 1


async def test_a_library_that_is_not_there_is_said_plainly(bench: Bench) -> None:
    async with bench.open(ScriptedProvider()) as (tagging, _):
        bench.library.rmdir()
        with pytest.raises(EnvironmentFault, match="library"):
            await tagging.run()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (AnswerCut("cut at 300 tokens", response=make_response()), "max_output_tokens"),
        (InvalidAnswer("lacks title", response=make_response()), "structured_output"),
    ],
)
async def test_answers_that_are_all_unusable_pause_and_fail_nobody(
    bench: Bench, error: AskError, advice: str
) -> None:
    put_pictures(bench, 40)

    async def disappoint(_request: VisionRequest, _number: int) -> VisionResponse:
        raise error

    provider = ScriptedProvider(disappoint)
    result = await bench.run(provider)
    assert result.state is RunState.PAUSED
    assert advice in str(result.pause)
    assert len(provider.asked) <= 9
    assert (await bench.run(ScriptedProvider())).document["images"]["done"] == 40


async def test_a_server_that_is_down_pauses_and_fails_nobody(bench: Bench) -> None:
    put_pictures(bench, 30)

    async def refuse(_request: VisionRequest, _number: int) -> VisionResponse:
        raise TransportError("nobody listens at 127.0.0.1:1")

    provider = ScriptedProvider(refuse)
    result = await bench.run(provider)
    assert result.state is RunState.PAUSED
    assert "nobody listens" in str(result.pause)
    assert len(provider.asked) <= 16
    assert (await bench.run(ScriptedProvider())).document["images"]["done"] == 30


async def test_a_pause_for_money_puts_no_refused_picture_back(bench: Bench) -> None:
    put_pictures(bench, 12)
    bench.flags["limits.budget_usd"] = "0.004"

    async def refuse(_request: VisionRequest, _number: int) -> VisionResponse:
        raise ContentRefused("I cannot help with that", response=make_response())

    first = await bench.run(ScriptedProvider(refuse))
    assert first.state is RunState.PAUSED
    refused = first.document["causes"]["refused"]
    assert refused > 0
    bench.flags["limits.budget_usd"] = "1"
    second = ScriptedProvider()
    await bench.run(second)
    assert len(second.asked) == 12 - refused


async def test_one_bad_stretch_among_good_answers_is_no_reason_to_pause(bench: Bench) -> None:
    put_pictures(bench, 40)

    async def fail_some(request: VisionRequest, _number: int) -> VisionResponse:
        if 5 < provider.asked.index(request.image.fingerprint) < 15:
            raise AnswerCut("cut", response=make_response())
        return make_response()

    provider = ScriptedProvider(fail_some)
    result = await bench.run(provider)
    assert result.document["images"]["failed"] == 9


@pytest.mark.parametrize("moment", range(12))
async def test_a_cancelled_run_leaves_a_ledger_that_the_next_one_finishes(
    bench: Bench, moment: int
) -> None:
    put_pictures(bench, 25)

    async def take_time(_request: VisionRequest, _number: int) -> VisionResponse:
        await anyio.sleep(0.01)
        return make_response()

    async with (
        bench.open(ScriptedProvider(take_time)) as (tagging, ledger),
        anyio.create_task_group() as group,
    ):

        async def cancel_soon() -> None:
            await anyio.sleep(0.02 * moment)
            tagging.pool.cancel()

        group.start_soon(cancel_soon)
        with anyio.fail_after(20):
            await tagging.run()
        group.cancel_scope.cancel()
        assert await check_ledger(ledger.database) == []
    assert (await bench.run(ScriptedProvider())).document["images"]["done"] == 25


async def test_a_ledger_that_fails_ends_the_run_without_hanging(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(bench, 10)
    bench.flags["ledger.lease_s"] = 0.2

    async def fail(*_: object, **__: object) -> None:
        raise EnvironmentFault("the ledger failed: disk I/O error")

    async def take_time(_request: VisionRequest, _number: int) -> VisionResponse:
        await anyio.sleep(0.3)
        return make_response()

    monkeypatch.setattr(RunBook, "beat", fail)
    with pytest.raises(EnvironmentFault, match="disk I/O"):
        await bench.run(ScriptedProvider(take_time))


async def test_a_picture_that_a_dead_process_asked_about_is_not_waited_for(bench: Bench) -> None:
    put_pictures(bench, 1)
    bench.flags["ledger.lease_s"] = 0.4
    stopped = ScriptedProvider()
    async with bench.open(stopped) as (tagging, ledger):
        await tagging.pool._producer.produce(  # the other process: it claims, opens, and dies
            tagging.pool._plan.places, tagging.tally, tagging.pool._clock
        )
        queue = JobQueue(ledger.database, tagging.run_id)
        plan = tagging.pool._plan
        scopes = [scope for place in plan.places for scope in place.scopes]
        await queue.claim(scopes, plan.assignment, limit=1, now_ms=tagging.pool._clock.now_ms())
        async with ledger.database.write() as connection:
            await connection.execute(update(runs).values(host="elsewhere"))
    result = await bench.run(ScriptedProvider())
    assert result.document["images"]["leased"] == 1
    assert "lost with its machine: 1 images" in result.document["warnings"][0]
    await anyio.sleep(0.5)
    assert (await bench.run(ScriptedProvider())).document["images"]["done"] == 1


class Locker:
    """A foreign program that locks the ledger when the third picture is asked about."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.ledger.database._BUSY_TIMEOUT_SECONDS", 0.05)
        self._path = bench.folder / "ledger.db"
        self._held: sqlite3.Connection | None = None
        self._asked = 0
        self.holds_seconds: float | None = None

    async def __call__(self, _request: VisionRequest, _number: int) -> VisionResponse:
        self._asked += 1
        number = self._asked
        if number == 3:
            self._held = sqlite3.connect(self._path, isolation_level=None)
            self._held.execute("BEGIN IMMEDIATE")
        elif number == 4 and self.holds_seconds is not None:
            await anyio.sleep(self.holds_seconds)
            self.release()
        return make_response()

    def release(self) -> None:
        assert self._held is not None
        self._held.close()


async def test_a_ledger_that_is_away_for_a_while_only_delays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(bench, 20)
    locker = Locker(bench, monkeypatch)
    locker.holds_seconds = 0.5
    provider = ScriptedProvider(locker)
    result = await bench.run(provider)
    assert (result.state, result.document["images"]["done"]) == (RunState.FINISHED, 20)
    assert len(provider.asked) == 20
    assert list(bench.folder.glob("*-spool/*")) == []


async def test_answers_outlive_a_ledger_that_stays_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(bench, 20)
    bench.flags["ledger.patience_s"] = 0.3
    locker = Locker(bench, monkeypatch)
    first, second = ScriptedProvider(locker), ScriptedProvider()
    with pytest.raises(LedgerStaysAway, match=r"paid answers wait in .*will be settled then"):
        await bench.run(first)
    locker.release()
    await forget_process(bench)
    result = await bench.run(second)
    assert len({*first.asked, *second.asked}) == len(first.asked) + len(second.asked) == 20
    assert result.document["images"]["done"] == 20
    assert result.document["images"]["recovered"] >= 2
    assert "had waited for the ledger" in result.document["warnings"][0]


async def forget_process(bench: Bench) -> None:
    """As after a restart: the process of the runs so far is gone."""
    async with open_ledger(bench.plan().settings) as ledger, ledger.database.write() as connection:
        await connection.execute(update(runs).values(process_started="gone"))


async def test_jobs_leased_by_a_claim_that_was_never_confirmed_are_not_left_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(bench, 10)
    claim, lost = JobQueue.claim, []

    async def claim_unheard(self: JobQueue, *given: object, **named: object) -> object:
        claimed = await claim(self, *given, **named)  # type: ignore[arg-type]
        if claimed and not lost:
            lost.extend(claimed)
            return []
        return claimed

    monkeypatch.setattr(JobQueue, "claim", claim_unheard)
    result = await bench.run(ScriptedProvider())
    assert lost
    assert (result.state, result.document["images"]["done"]) == (RunState.FINISHED, 10)
