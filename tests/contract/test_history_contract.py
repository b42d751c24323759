"""What is foreseen of a run from the ledger alone is what the run then does, on every database."""

import random
from typing import Any

import pytest
from ledgers import NOW, ROOT, Desk, make_ref, make_version, open_desk
from sqlalchemy import insert, select, update

from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import ClaimedJob, Reason, ReviewState
from pipeline.domain.outcomes import Cause, Failed, Skipped
from pipeline.ledger.catalogue import SeenImages
from pipeline.ledger.database import Database
from pipeline.ledger.history import History, Pace, Standing, find_pace
from pipeline.ledger.runs import ProfileVersion, RunState
from pipeline.ledger.selection import EVERYTHING, Selection
from pipeline.ledger.tables import images, jobs, spends

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
LATER = NOW + 10 * DAY_MS
ENDS = (
    None,
    Failed(cause=Cause.LENGTH, message="cut"),
    Failed(cause=Cause.MISSING, message="gone"),
    Skipped(cause=Cause.TOO_SMALL, message="tiny"),
)


async def find(desk: Desk, version: ProfileVersion) -> History:
    return await History.find(desk.database, profile=version.name, fingerprint=version.fingerprint)


async def review(desk: Desk, job: ClaimedJob, state: ReviewState) -> None:
    async with desk.database.write() as connection:
        await connection.execute(update(jobs).where(jobs.c.id == job.id).values(review=state))


async def live_through(desk: Desk, chance: random.Random, count: int) -> list[ImageRef]:
    """Images to which much has happened; returns what a listing finds afterwards."""
    refs = [make_ref(f"{'ab'[n % 2]}/{n:02}.jpg") for n in range(count)]
    await desk.record(*refs[: count - 4])
    claimed = await desk.claim(count - 4)
    for job in claimed[:-4]:
        end = chance.choice(ENDS)
        at = NOW + chance.randrange(5) * DAY_MS
        sha256 = b"%032d" % chance.randrange(count // 2)
        if end is None:
            await desk.answer(job, sha256=sha256, settled_at_ms=at)
            await review(desk, job, chance.choice((ReviewState.NONE, ReviewState.APPROVED)))
        else:
            await desk.settle(job, outcome=end, settled_at_ms=at, sha256=sha256)
    await desk.queue.release(now_ms=NOW)
    seen = SeenImages()
    async with desk.database.read() as connection:
        for id_ in (await connection.execute(select(images.c.id))).scalars():
            if chance.random() < 0.8:
                seen.add(id_)
    await desk.catalogue.mark_gone(desk.scopes[0], seen, unlistable=(), now_ms=NOW)
    changed = [ref for ref in refs if chance.random() < 0.2]
    return [make_ref(ref.uri.removeprefix(f"{ROOT}/"), version="2") if ref in changed else ref
            for ref in refs]  # fmt: skip


async def really_ask(
    desk: Desk, version: ProfileVersion, listed: list[ImageRef], selection: Selection
) -> dict[str, Standing | Reason]:
    """What a run asks about, and why; or that the same bytes have their answer."""
    async with open_desk(desk.database, version=version, now_ms=LATER) as run:
        run.queue = type(run.queue)(run.database, run.run, selection)
        await run.queue.put_back_failed(run.scopes[0], run.assignment)
        await run.queue.mark_stale(run.scopes[0], run.assignment)
        await run.record(*listed)
        claimed = await run.claim(1_000, now_ms=LATER)
        query = select(jobs.c.id, jobs.c.reason, images.c.sha256).join(images)
        async with run.database.read() as connection:
            rows = {row.id: row for row in await connection.execute(query)}
        asked: dict[str, Standing | Reason] = {}
        for job in claimed:
            sha256 = rows[job.id].sha256
            is_paid = sha256 is not None and await run.settler.find_answer(bytes(sha256))
            asked[job.image.uri] = Standing.PAID if is_paid else Reason(rows[job.id].reason)
        await run.queue.release(now_ms=LATER)
    return asked


@pytest.mark.parametrize("fingerprint", ["f1", "f2"])
@pytest.mark.parametrize(
    "selection",
    [
        EVERYTHING,
        Selection(reasons=(Reason.NEW, Reason.CHANGED)),
        Selection(reasons=(Reason.STALE, Reason.FAILED)),
        Selection(reasons=(Reason.FAILED,), causes=(Cause.LENGTH, Cause.TOO_SMALL)),
        Selection(path="*/a/*"),
        Selection(settled_before_ms=NOW + 2 * DAY_MS),
        Selection(settled_after_ms=NOW + 2 * DAY_MS, path="*/0?.jpg"),
    ],
)
async def test_what_is_foreseen_is_what_a_run_asks_about(
    desk: Desk, fingerprint: str, selection: Selection
) -> None:
    listed = await live_through(desk, random.Random(11), 60)
    version = make_version(fingerprint)
    history = await find(desk, version)
    foreseen = dict(
        zip([ref.uri for ref in listed], await history.judge(listed, selection), strict=True)
    )
    asked = await really_ask(desk, version, listed, selection)
    expected = {uri: found for uri, found in foreseen.items() if isinstance(found, Reason)}
    assert expected == {uri: found for uri, found in asked.items() if found is not Standing.PAID}
    reused = {uri for uri, found in asked.items() if found is Standing.PAID}
    assert all(foreseen[uri] is Standing.PAID for uri in reused)


async def test_looking_changes_nothing(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    history = await find(desk, make_version("never asked"))
    assert await history.judge([make_ref("a")], EVERYTHING) == [Reason.NEW]
    assert await history.read_record("sim-1") is None
    assert await desk.waiting() == {"new": 1}
    again = await find(desk, make_version("never asked"))
    assert await again.judge([make_ref("a")], EVERYTHING) == [Reason.NEW]


async def test_of_a_profile_that_is_unknown_everything_is_new(desk: Desk) -> None:
    await desk.record(make_ref("a"))
    await desk.answer(*await desk.claim())
    history = await find(desk, make_version(name="another"))
    assert await history.judge([make_ref("a")], EVERYTHING) == [Reason.NEW]


async def book(desk: Desk, model: str, **amounts: int) -> None:
    keys = {
        "day": 1, "run_id": desk.run, "endpoint": "main", "model_asked": model, "tier_asked": "",
        "model_answered": model, "tier_answered": "",
    }  # fmt: skip
    none = dict.fromkeys((c.name for c in spends.c if c.name not in keys), 0)
    async with desk.database.write() as connection:
        await connection.execute(insert(spends).values({**none, **keys, **amounts}))


async def clear(database: Database) -> None:
    """What was booked by hand has no attempts, which a sound ledger has."""
    async with database.write() as connection:
        await connection.execute(spends.delete())


async def test_answers_of_this_version_come_before_those_of_others(desk: Desk) -> None:
    await book(desk, "sim-1", answers=30, output_tokens=900, pictures=30, sent_bytes=5)
    own = await (await find(desk, make_version())).read_record("sim-1")
    assert own is not None
    assert (own.answers, own.output_tokens, own.sent_bytes) == (30, 900, 5)
    assert own.is_same_version
    async with open_desk(desk.database, version=make_version("f2")) as newer:
        await book(newer, "sim-1", answers=19, output_tokens=1)
        newest = await find(newer, make_version("f2"))
        others = await newest.read_record("sim-1")
        assert others is not None
        assert (others.answers, others.is_same_version) == (49, False)
        await newer.queue.release(now_ms=NOW)
    await clear(desk.database)


@pytest.mark.parametrize(("model", "answers"), [("sim-1", 19), ("sim-2", 30)])
async def test_few_answers_and_other_models_tell_nothing(
    desk: Desk, model: str, answers: int
) -> None:
    await book(desk, model, answers=answers, output_tokens=900)
    assert await (await find(desk, make_version())).read_record("sim-1") is None
    await clear(desk.database)


async def test_the_pace_is_that_of_the_latest_runs_with_the_model(desk: Desk) -> None:
    history = await find(desk, make_version())
    assert await history.read_pace("sim-1") is None
    summary: dict[str, Any] = {"images": {"tagged": 600}, "elapsed_s": 20.0}
    await desk.runs.close(desk.run, RunState.FINISHED, summary, now_ms=NOW)
    assert await history.read_pace("sim-1") == Pace(images_per_s=30.0, images=600)
    assert await history.read_pace("sim-2") is None


def test_short_runs_have_no_pace() -> None:
    short = {"images": {"tagged": 19}, "elapsed_s": 1.0}
    long = {"images": {"tagged": 100}, "elapsed_s": 50.0}
    assert find_pace([short, {}]) is None
    assert find_pace([short, long, long]) == Pace(images_per_s=2.0, images=200)


@pytest.mark.parametrize("batches", [{"open": 1, "over": 0}, {"open": 0, "over": 2}])
def test_a_run_by_batch_tells_no_pace(batches: dict[str, int]) -> None:
    slow = {"images": {"tagged": 3_000}, "elapsed_s": 72_000.0, "batches": batches}
    single = {"images": {"tagged": 100}, "elapsed_s": 50.0, "batches": {"open": 0, "over": 0}}
    assert find_pace([slow]) is None
    assert find_pace([slow, single]) == Pace(images_per_s=2.0, images=100)
