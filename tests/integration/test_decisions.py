"""What a person said of an answer holds for the picture, wherever its file goes."""

import os
from pathlib import Path

import pytest
from engines import PROFILE, Bench, ScriptedProvider, make_response
from pictures import jpeg
from sqlalchemy import update

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.jobs import ReviewState
from pipeline.domain.vision import VisionRequest, VisionResponse
from pipeline.ledger.tables import jobs

pytestmark = pytest.mark.anyio

OTHERWISE = PROFILE.replace("Say what it is.", "Say it otherwise.")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """A library with one picture, tagged and approved by a person."""
    made = Bench(tmp_path)
    made.put("a.jpg", jpeg(64, 48))
    await made.run(ScriptedProvider())
    async with (
        open_ledger(made.plan().settings) as ledger,
        ledger.database.write() as connection,
    ):
        await connection.execute(update(jobs).values(review=ReviewState.APPROVED))
    return made


async def answer_otherwise(_request: VisionRequest, _number: int) -> VisionResponse:
    return make_response({"title": "something else", "keywords": []})


async def tag_again(bench: Bench) -> tuple[int, list[tuple[object, object]]]:
    """Requests of another run, and title and review of each record."""
    provider = ScriptedProvider(answer_otherwise)
    await bench.run(provider)
    records = [(record["title"], record["review"]) for record in bench.records()]
    return len(provider.asked), records


@pytest.mark.parametrize("profile", [PROFILE, OTHERWISE])
async def test_a_moved_picture_keeps_its_answer_and_what_was_said_of_it(
    bench: Bench, profile: str
) -> None:
    (bench.library / "a.jpg").rename(bench.library / "b.jpg")
    bench.profile = profile
    assert await tag_again(bench) == (0, [("a picture", "approved")])


async def test_a_copy_of_an_approved_picture_is_approved(bench: Bench) -> None:
    bench.put("b.jpg", (bench.library / "a.jpg").read_bytes())
    assert await tag_again(bench) == (0, [("a picture", "approved")] * 2)


async def test_a_picture_whose_file_was_only_touched_keeps_what_was_said_of_it(
    bench: Bench,
) -> None:
    os.utime(bench.library / "a.jpg", (1, 1))
    assert await tag_again(bench) == (0, [("a picture", "approved")])


async def test_another_version_of_the_profile_leaves_an_approved_answer_alone(
    bench: Bench,
) -> None:
    bench.profile = OTHERWISE
    assert await tag_again(bench) == (0, [("a picture", "approved")])


async def test_another_picture_in_the_same_file_is_not_approved(bench: Bench) -> None:
    bench.put("a.jpg", jpeg(64, 48, seed=9))
    assert await tag_again(bench) == (1, [("something else", "none")])
