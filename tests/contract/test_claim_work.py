"""What finding work costs, counted in steps of the database's own machine, not in time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledgers import NOW, Desk, make_ref, open_desk, open_sqlite
from sqlalchemy import Connection

from pipeline.domain.jobs import JobId

pytestmark = pytest.mark.anyio

FEW, MANY = 500, 2_000
EVERY = 20  # one image in so many is wanted


@dataclass
class Meter:
    """Steps that the writing connection has taken."""

    steps: int = 0

    def __call__(self) -> int:
        self.steps += 1
        return 0


@asynccontextmanager
async def open_part(
    folder: Path, count: int, wanted: dict[str, Any]
) -> AsyncIterator[tuple[Desk, Meter]]:
    """A run on one folder of a library in which ``count`` images wait."""
    async with open_sqlite(folder) as database, open_desk(database) as desk:
        for first in range(0, count, EVERY):  # each chunk is stored in the order of its names
            others = (make_ref(f"rest/{first + n:05}") for n in range(1, EVERY))
            await desk.record(make_ref(f"part/{first:05}"), *others)
        if not wanted:
            desk.scopes = await desk.catalogue.open_scopes(("/photos/part/",), is_single=False)
        desk.choose(**wanted)
        meter = Meter()
        await database.transact(partial(watch, meter))
        yield desk, meter
        await desk.queue.release(now_ms=NOW)


def watch(meter: Meter, connection: Connection) -> None:
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(meter, 1)


async def claim_all(desk: Desk) -> int:
    claimed = 0
    while found := await desk.claim(5):
        claimed += len(found)
    return claimed


@pytest.mark.parametrize("wanted", [{}, {"path": "*/part/*"}])
async def test_all_claims_together_pass_over_each_waiting_image_once(
    tmp_path: Path, wanted: dict[str, Any]
) -> None:
    steps = []
    for count in (FEW, MANY):
        async with open_part(tmp_path / str(count), count, wanted) as (desk, meter):
            assert await claim_all(desk) == count // EVERY
            steps.append(meter.steps)
    assert steps[0] > FEW  # that is, they were counted
    # four times the images: sixteen times the work if each claim began at the beginning
    assert steps[1] < 6 * steps[0]


async def test_a_claim_that_finds_nothing_passes_over_nobody(tmp_path: Path) -> None:
    async with open_part(tmp_path, MANY, {}) as (desk, meter):
        await claim_all(desk)
        before = meter.steps
        assert await desk.claim() == []
        assert meter.steps - before < MANY


async def test_claiming_what_was_drawn_passes_over_nobody_else(tmp_path: Path) -> None:
    steps = []
    for count in (FEW, MANY):
        async with open_part(tmp_path / str(count), count, {"path": "*"}) as (desk, meter):
            # the last ones: all others wait before them
            desk.queue.narrow([JobId(count - n) for n in range(20)])
            assert await claim_all(desk) == 20
            steps.append(meter.steps)
    assert steps[1] < 1.2 * steps[0]
