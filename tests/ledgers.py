"""A small ledger to test on: images, a profile, a run, and the parts that act on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from pipeline.domain.images import ImageFormat, ImageInfo, ImageRef
from pipeline.domain.jobs import ClaimedJob, RunId
from pipeline.domain.outcomes import Spend, Tagged
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.ledger.caps import NO_CAPS, Caps
from pipeline.ledger.catalogue import Assignment, Catalogue, Finding, Scope
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.opening import Admission, Opened, Terms
from pipeline.ledger.reading import LedgerReader
from pipeline.ledger.runs import ProfileVersion, RunBook
from pipeline.ledger.schema import ensure_schema
from pipeline.ledger.selection import Selection
from pipeline.ledger.settlement import Settlement
from pipeline.ledger.settling import Settler
from pipeline.ledger.spool import Spool

NOW = 1_800_000_000_000
ROOT = "/photos"
WORST = 5_000
"""Nano-dollars that a request of these tests can cost at most."""
INFO = ImageInfo(format=ImageFormat.JPEG, width=640, height=480)


def make_version(fingerprint: str = "f1", name: str = "general") -> ProfileVersion:
    return ProfileVersion(
        name=name, fingerprint=fingerprint, model="sim-1", definition={"fields": {"title": {}}}
    )


def make_ref(name: str, *, size: int = 100, version: str = "1") -> ImageRef:
    return ImageRef(uri=f"{ROOT}/{name}", size=size, version=version)


def make_refs(count: int) -> list[ImageRef]:
    return [make_ref(f"{n:06}.jpg", version=str(n)) for n in range(count)]


def make_tagged(title: str = "a mug", cost: int | None = 1_000) -> Tagged:
    usage = TokenUsage(input=100, cached=20, output=10)
    price = None if cost is None else NanoDollars(cost)
    return Tagged(
        answer={"title": title},
        confidence=0.9,
        spend=Spend(usage=usage, cost=price, model="sim-1", request_id="req-1"),
    )


def make_terms(**given: Any) -> Terms:
    values = {"model": "sim-1", "tier": "default", "endpoint": "main", "step": "ask"}
    return Terms(**{**values, "reserved_nanos": WORST, **given})


@dataclass
class Desk:
    """One run on a ledger."""

    database: Database
    catalogue: Catalogue
    runs: RunBook
    reader: LedgerReader
    scopes: tuple[Scope, ...]
    assignment: Assignment
    run: RunId
    queue: JobQueue
    settler: Settler

    async def record(self, *refs: ImageRef) -> dict[Finding, int]:
        counts, _ = await self.catalogue.record(
            refs, self.scopes, assignment=self.assignment, run=self.run
        )
        return {kind: count for kind, count in counts.items() if count}

    async def claim(self, limit: int = 10, now_ms: int = NOW) -> list[ClaimedJob]:
        return await self.queue.claim(self.scopes, self.assignment, limit=limit, now_ms=now_ms)

    async def find_next_due(self, now_ms: int = NOW) -> int | None:
        return await self.queue.find_next_due(self.scopes, self.assignment, now_ms=now_ms)

    async def mark_stale(self) -> int:
        return await self.queue.mark_stale(self.scopes[0], self.assignment)

    async def waiting(self) -> dict[str, int]:
        """Pending jobs by why they wait."""
        counts = await self.reader.count_waiting()
        return {reason.value: count for reason, count in counts.items() if count}

    def choose(self, **wanted: Any) -> None:
        """From now on, this run asks only about what meets the selection."""
        self.queue = JobQueue(self.database, self.run, Selection(**wanted))

    async def states(self) -> dict[str, int]:
        counts = await self.reader.count_jobs()
        return {state.value: count for state, count in counts.items() if count}

    async def open(
        self, job: ClaimedJob, key: bytes = b"key", *, now_ms: int = NOW, **terms: Any
    ) -> Admission:
        return await self.settler.open_attempt(job, key, now_ms, make_terms(**terms))

    async def answer(self, job: ClaimedJob, **given: object) -> bool:
        """Ask about a job and settle the answer, as for a picture like no other."""
        key = b"%d %d" % (job.id, self.assignment.version_id)
        opened = await self.open(job, key)
        assert isinstance(opened, Opened)
        values = {"outcome": make_tagged(), "sha256": key.ljust(32), **given}
        return await self.settle(job, attempt_id=opened.attempt_id, request_key=key, **values)

    async def settle(self, job: ClaimedJob, **given: object) -> bool:
        values = {"settled_at_ms": NOW, "sha256": b"s" * 32, "info": INFO, **given}
        return await self.settler.settle(Settlement(job=job, **values))  # type: ignore[arg-type]


@asynccontextmanager
async def open_desk(
    database: Database,
    *,
    version: ProfileVersion | None = None,
    now_ms: int = NOW,
    spool: Path | None = None,
    caps: Caps = NO_CAPS,
) -> AsyncIterator[Desk]:
    """Another run on ``database``; its clerks work until the block ends."""
    runs = RunBook(database, lease_seconds=60)
    assignment = await runs.assign(version or make_version(), now_ms=now_ms)
    run = await runs.open("tag", assignment, now_ms=now_ms)
    catalogue = Catalogue(database)
    desk = Desk(
        database=database,
        catalogue=catalogue,
        runs=runs,
        reader=LedgerReader(database),
        scopes=await catalogue.open_scopes((f"{ROOT}/",), is_single=False),
        assignment=assignment,
        run=run,
        queue=JobQueue(database, run),
        settler=Settler(
            database,
            run,
            assignment,
            provider="openai",
            linger_seconds=0,
            spool=Spool(spool or Path("nowhere"), run, reserved_bytes=4_096),
            caps=caps,
        ),
    )
    async with anyio.create_task_group() as clerks:
        if spool is not None:
            await desk.settler.prepare()
            await desk.settler.replay_spools()
        clerks.start_soon(desk.settler.serve)
        try:
            yield desk
        finally:
            desk.settler.close()


@asynccontextmanager
async def open_sqlite(folder: Path) -> AsyncIterator[Database]:
    """A fresh ledger file with its tables."""
    async with Database(parse_ledger_url(f"sqlite:///{folder}/ledger.db")) as database:
        await ensure_schema(database)
        yield database
