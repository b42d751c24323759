"""After a drill: do the library, the server's books, the ledger and the export agree?"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import anyio
from command_line import MODEL, read_books
from sqlalchemy import select

from drills.server import SEED
from drills.stage import Stage, check_ledger, wait_until
from drills.verdict import Verdict
from pipeline.bootstrap.plan import make_plan
from pipeline.config.loading import load_settings
from pipeline.domain.errors import ImageError
from pipeline.domain.outcomes import Cause
from pipeline.ledger.database import Database, parse_ledger_url
from pipeline.ledger.tables import attempts, images, jobs
from pipeline.preprocess.prepare import prepare_image
from pipeline.simulator.answers import expected_answer

_TRIED_AGAIN = frozenset({
    Cause.SERVER_ERROR, Cause.TIMEOUT, Cause.CONNECTION,
    Cause.INVALID_ANSWER, Cause.NO_ANSWER, Cause.BROKEN_JSON,
})  # fmt: skip
"""An attempt that ended so is a try that was no end."""


_NO_ANSWERS = {
    "refused": Cause.REFUSED, "wrong_schema": Cause.INVALID_ANSWER, "bad_json": Cause.BROKEN_JSON,
}  # fmt: skip
"""Faults of the server that may be its last word."""
_PERHAPS_UNSENT = frozenset({Cause.CONNECTION, Cause.PAUSED, Cause.EXPIRED})
_AT_THE_DOOR = _PERHAPS_UNSENT | {Cause.SERVER_ERROR}
"""A server that is down does not look at the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is to be said of a file: which pixels are sent, and what the server answers."""

    sha256: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job with what its attempts add up to."""

    name: str
    state: str
    tries: int
    cost: int
    attempts: Sequence[Any]
    cause: str | None = None
    settled_at: int | None = None

    @property
    def endings(self) -> int:
        """How often it was brought to an end, going by its own count of tries."""
        return self.tries - sum(one.cause in _TRIED_AGAIN for one in self.attempts)

    @property
    def spent(self) -> int:
        costs: list[int] = [one.cost_nanos or 0 for one in self.attempts]
        return sum(costs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One picture at the server and in the ledger."""

    name: str
    sent: int
    billed: int
    billed_nanos: int
    settled: int
    answered: int
    answered_nanos: int
    lost: int
    bad: int = 0
    """Of those billed, cut off or no answer."""
    unsent: int = 0
    """Of those settled, perhaps never sent: nobody took the connection, the run paused, or their
    batch ended before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is compared."""

    library: Mapping[str, Picture | None]
    """File name to what is to be said of it; None for what is no picture."""
    jobs: Sequence[Job]
    records: Sequence[Mapping[str, Any]]
    accounts: Sequence[Account]
    log: Sequence[Mapping[str, Any]] = ()
    """The servers' lines, oldest first."""
    silent: frozenset[str] = frozenset()
    """Of pictures that the server answered without saying anything, their sha256."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """Pictures that are to have no answer, and the cause."""

    @property
    def repeats(self) -> int:
        """Answers without a fault that were charged for pictures that had one."""
        return sum(max(0, account.billed - account.bad - 1) for account in self.accounts)


def conclude(
    stage: Stage,
    drill: str,
    *,
    kills: int = 0,
    freezes: int = 0,
    remark: Callable[[Evidence], str] = lambda _: "",
) -> Verdict:
    """Compare everything; the bound is what was in flight at the kills and freezes."""
    wait_until(lambda: not read_books(stage.base_url)["inflight"], "the server has no request left")
    check_ledger(stage)
    evidence = gather(stage)
    told = remark(evidence)  # first: it may find problems, too
    in_flight = stage.plan.concurrency * (kills + freezes)
    lost, double = find_lost(evidence), find_double_settled(evidence)
    problems = [
        *stage.problems,
        *_tell("lost", lost),
        *_tell("settled twice", double),
        *_tell("answered wrongly in the export", find_wrong(evidence)),
        *check_accounts(evidence.accounts, late=stage.plan.concurrency * freezes),
    ]
    if evidence.repeats > in_flight:
        problems.append(f"{evidence.repeats} repeats, though only {in_flight} were in flight")
    return Verdict(
        drill=drill,
        ledger=stage.kind,
        kills=kills,
        images=len(evidence.library),
        requests=len(evidence.log),
        repeats=evidence.repeats,
        lost=len(lost),
        double_settled=len(double),
        remark=told,
        problems=tuple(problems),
    )


def count_lost_attempts(evidence: Evidence) -> str:
    """How the repeats are accounted for."""
    lost = sum(account.lost for account in evidence.accounts)
    late = sum(max(0, account.answered - account.bad - 1) for account in evidence.accounts)
    return f"{lost} attempts lost" + (f", {late} answers late" if late else "")


def find_lost(evidence: Evidence) -> set[str]:
    """Files without one fitting outcome in the ledger, or without a record in the export."""
    states = Counter((job.name, job.state) for job in evidence.jobs)
    names = Counter(job.name for job in evidence.jobs)
    exported = {(_name_of(record), record["status"]) for record in evidence.records}
    wanted = {
        name: "done" if picture and name not in evidence.failing else "failed"
        for name, picture in evidence.library.items()
    }
    return {
        name
        for name, state in wanted.items()
        if states[name, state] != 1 or names[name] != 1 or (name, state) not in exported
    }


def find_double_settled(evidence: Evidence) -> set[str]:
    """Files whose job ended twice, was charged twice for one answer, or is exported twice."""
    exported = Counter(_name_of(record) for record in evidence.records)
    twice = {name for name, count in exported.items() if count > 1}
    return twice | {job.name for job in evidence.jobs if job.endings > 1 or job.cost != job.spent}


def find_wrong(evidence: Evidence) -> set[str]:
    """Files whose record does not say what the server answers about their pixels."""
    return {
        _name_of(record)
        for record in evidence.records
        if (picture := evidence.library.get(_name_of(record))) is not None
        and _name_of(record) not in evidence.failing
        and record.get("caption") not in _list_captions(evidence, picture)
    }


def _list_captions(evidence: Evidence, picture: Picture) -> set[str | None]:
    """What its record may say: nothing, too, where the server said nothing."""
    if picture.sha256 in evidence.silent:
        return {picture.caption, None}
    return {picture.caption}


def check_accounts(accounts: Iterable[Account], *, late: int) -> list[str]:
    """Every request at the server is an attempt; the dollars differ by what was lost alone.

    Args:
        accounts: one for each picture.
        late: second answers that are allowed, of processes that were frozen meanwhile.
    """
    problems = []
    for one in accounts:
        if not one.settled - one.unsent <= one.sent <= one.settled + one.lost:
            problems.append(f"requests and attempts of {one.name} differ: {one}")
        elif not 0 <= one.billed - one.answered <= one.lost:
            problems.append(f"answers of {one.name} are missing: {one}")
        elif not _has_same_dollars(one):
            problems.append(f"dollars of {one.name} differ: {one}")
        late -= max(0, one.answered - one.bad - 1)
    return [*problems[:5], *(["pictures were paid and settled twice"] if late < 0 else [])]


def _has_same_dollars(one: Account) -> bool:
    if one.bad:  # which cost less: only all of them together can be compared
        return one.answered_nanos <= one.billed_nanos
    return one.answered_nanos * one.billed == one.billed_nanos * one.answered


def gather(stage: Stage) -> Evidence:
    """Read the library, the ledger, the books and the export."""
    library = look_at_library(stage.library, stage.plan.profile)
    found = anyio.run(_read_jobs, stage.ledger)
    servers = (stage.server, *stage.others)
    log = sorted((line for one in servers for line in one.read_log()), key=itemgetter("when"))
    return Evidence(
        library=library,
        jobs=found,
        records=stage.read_export(),
        accounts=_draw_up(library, found, log),
        log=log,
        silent=frozenset(line["sha256"] for line in log if line["fault"] == "empty_answer"),
        failing=_find_failing(library, log),
    )


def look_at_library(folder: Path, profile: str) -> dict[str, Picture | None]:
    """What is to be said of each file, by its name."""
    flags = {"provider.model": MODEL, "profile": profile}
    settings = load_settings(flags=flags, environ={})
    plan = make_plan(settings, today=datetime.now(UTC).date())

    def look(path: Path) -> Picture | None:
        try:
            prepared = prepare_image(path.read_bytes(), plan.options)
        except ImageError:
            return None
        answer = expected_answer(plan.question.schema, prepared.data, SEED)
        return Picture(sha256=prepared.fingerprint.hex(), caption=answer["caption"])

    return {path.name: look(path) for path in sorted(folder.iterdir())}


def _find_failing(
    library: Mapping[str, Picture | None], log: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Pictures about which the server's last word was no answer, and what that is called."""
    last = {line["sha256"]: line["fault"] for line in log}
    return {
        name: _NO_ANSWERS[last[picture.sha256]]
        for name, picture in library.items()
        if picture and last.get(picture.sha256) in _NO_ANSWERS
    }


async def _read_jobs(url: str) -> list[Job]:
    by_job: dict[int, list[Any]] = {}
    columns = (
        jobs.c.id, images.c.uri, jobs.c.state, jobs.c.attempts, jobs.c.cost_nanos, jobs.c.cause,
        jobs.c.settled_at,
    )  # fmt: skip
    async with Database(parse_ledger_url(url)) as database, database.read() as connection:
        for attempt in await connection.execute(select(attempts)):
            by_job.setdefault(attempt.job_id, []).append(attempt)
        rows = await connection.execute(select(*columns).join(images))
        return [
            Job(
                name=Path(row.uri).name,
                state=row.state,
                tries=row.attempts,
                cost=row.cost_nanos,
                attempts=by_job.get(row.id, []),
                cause=row.cause,
                settled_at=row.settled_at,
            )
            for row in rows
        ]


def _draw_up(
    library: Mapping[str, Picture | None],
    found: Sequence[Job],
    log: Sequence[Mapping[str, Any]],
) -> list[Account]:
    """One account for each picture, whatever file it was sent for."""
    names = {picture.sha256: name for name, picture in library.items() if picture}
    tried: dict[str, list[Any]] = {sha256: [] for sha256 in names}
    for job in found:
        if (picture := library.get(job.name)) is not None:
            tried[picture.sha256] += job.attempts
    lines: dict[str, list[Mapping[str, Any]]] = {sha256: [] for sha256 in names}
    for line in (line for line in log if line["sha256"]):
        lines.setdefault(line["sha256"], []).append(line)
    doubtful = _PERHAPS_UNSENT if all(line["sha256"] for line in log) else _AT_THE_DOOR
    return [
        _open_account(
            names.get(sha256, "a picture of no file"), lines[sha256], tried[sha256], doubtful
        )
        for sha256 in lines
    ]


def _open_account(
    name: str,
    lines: Sequence[Mapping[str, Any]],
    tried: Sequence[Any],
    doubtful: AbstractSet[Cause],
) -> Account:
    billed = [line["cost_nano"] for line in lines if line["cost_nano"]]
    answered = [one.cost_nanos for one in tried if one.cost_nanos]
    return Account(
        name=name,
        sent=len(lines),
        billed=len(billed),
        billed_nanos=sum(billed),
        settled=sum(one.state == "settled" for one in tried),
        answered=len(answered),
        answered_nanos=sum(answered),
        lost=sum(one.state == "lost" for one in tried),
        bad=sum(bool(line["cost_nano"]) and line["fault"] is not None for line in lines),
        unsent=sum(one.state == "settled" and one.cause in doubtful for one in tried),
    )


def _name_of(record: Mapping[str, Any]) -> str:
    return Path(record["uri"]).name


def _tell(what: str, names: Iterable[str]) -> list[str]:
    found = sorted(names)
    return [f"{len(found)} images {what}: {', '.join(found[:5])}"] if found else []
