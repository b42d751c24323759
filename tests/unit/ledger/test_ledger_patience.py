"""Waiting for a ledger that is away, and giving up in time."""

import logging

import anyio
import pytest

from pipeline.domain.errors import EnvironmentFault, LedgerAway, LedgerStaysAway
from pipeline.ledger.patience import Patience, patient

pytestmark = pytest.mark.anyio


class Absent:
    """Work that fails a number of times before it succeeds."""

    def __init__(self, failures: int, fault: Exception | None = None) -> None:
        self.failures = failures
        self.tries = 0
        self._fault = fault or LedgerAway("the ledger x failed: database is locked")

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise self._fault
        return "done"


async def test_work_is_tried_until_the_ledger_is_back() -> None:
    work = Absent(2)
    assert await Patience(60).insist(work) == "done"
    assert work.tries == 3


async def test_it_gives_up_when_the_ledger_stays_away() -> None:
    work = Absent(1_000)
    with pytest.raises(LedgerStaysAway, match=r"database is locked.*run the same command again"):
        await Patience(0.25).insist(work)
    assert work.tries > 1


async def test_a_ledger_that_was_given_up_on_is_not_tried_again() -> None:
    patience = Patience(0.15)
    with pytest.raises(LedgerStaysAway):
        await patience.insist(Absent(1_000))
    later = Absent(0)
    with pytest.raises(LedgerStaysAway, match="database is locked"):
        await patience.insist(later)
    assert later.tries == 0


async def test_one_outage_is_waited_out_once_by_all() -> None:
    patience = Patience(0.4)
    outcomes: list[str] = []

    async def wait() -> None:
        try:
            await patience.insist(Absent(1_000))
        except LedgerStaysAway as fault:
            outcomes.append(str(fault))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as waiting:
            for _ in range(20):
                waiting.start_soon(wait)
    assert len(outcomes) == 20


async def test_without_patience_the_first_fault_pauses() -> None:
    work = Absent(1)
    with pytest.raises(LedgerStaysAway, match="database is locked"):
        await Patience(0).insist(work)
    assert work.tries == 1


async def test_reads_that_work_do_not_hide_writes_that_do_not() -> None:
    patience, is_over = Patience(0.4), anyio.Event()

    async def read() -> None:
        while not is_over.is_set():
            patience.note_presence(is_writing=False)
            await anyio.sleep(0.05)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as both:
            both.start_soon(read)
            try:
                await patience.insist(Absent(1_000))
            except LedgerStaysAway as fault:
                told = str(fault)
            is_over.set()
    assert "database is locked" in told


async def test_what_is_written_ends_an_outage() -> None:
    patience = Patience(0.3)
    for _ in range(4):  # each alone is within the patience
        await patience.insist(Absent(1))
        await anyio.sleep(0.1)
        patience.note_presence(is_writing=True)


async def test_a_fault_that_waiting_cannot_mend_is_raised_at_once() -> None:
    work = Absent(1, EnvironmentFault("the ledger x failed: no such table"))
    with pytest.raises(EnvironmentFault, match="no such table"):
        await Patience(60).insist(work)
    assert work.tries == 1


async def test_an_outage_is_told_of_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience(60)
    with caplog.at_level(logging.WARNING):
        await patience.insist(Absent(3))
        patience.note_presence(is_writing=True)
    assert [record.message for record in caplog.records] == ["ledger.away", "ledger.back"]


async def test_one_failure_alone_is_not_worth_telling(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience(60)
    with caplog.at_level(logging.WARNING):
        await patience.insist(Absent(1))
        patience.note_presence(is_writing=True)
    assert caplog.records == []


async def test_who_ends_the_patience_ends_it_for_those_who_wait() -> None:
    patience = Patience(3_600)
    with anyio.fail_after(20), pytest.raises(LedgerStaysAway):  # noqa: PT012  both tasks matter
        async with anyio.create_task_group() as both:
            both.start_soon(_end_soon, patience)
            try:
                await patience.insist(Absent(1_000_000))
            except LedgerStaysAway as fault:
                kept = fault
        raise kept


async def _end_soon(patience: Patience) -> None:
    await anyio.sleep(0.2)
    patience.end()


async def test_a_patient_method_keeps_its_arguments() -> None:
    class Database:
        patience = Patience(60)

    class Keeper:
        _database = Database()
        tries = 0

        @patient
        async def add(self, one: int, *, other: int) -> int:
            self.tries += 1
            if self.tries == 1:
                raise LedgerAway("away")
            return one + other

    assert await Keeper().add(1, other=2) == 3
