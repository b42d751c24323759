"""What the ledger knows before a run: who is paid for already, and what answers have used so far.

It reads only, and makes nothing: not even the version of a profile that was never asked.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import Connection, and_, bindparam, func, literal_column, select

from pipeline.costs.habits import LEAST_ANSWERS, Record
from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import STANDING, JobState, Reason, ReviewState
from pipeline.domain.outcomes import Cause
from pipeline.ledger.database import Database
from pipeline.ledger.prepared import Lookup
from pipeline.ledger.selection import Selection
from pipeline.ledger.tables import (
    images,
    is_decided,
    jobs,
    profile_versions,
    profiles,
    results,
    runs,
    spends,
)

_NONE: Final = 0
"""An id that no row has."""
_LATEST_RUNS: Final = 20
_CHUNK_ROWS: Final = 10_000


class Standing(StrEnum):
    """What becomes of an image that nobody has to be asked about."""

    PAID = "paid"
    """It has its answer, or the same bytes have."""
    FAILED = "failed"
    """It had none, and is not asked about again by itself."""
    PASSED_OVER = "passed_over"
    """It waits, and does not meet the selection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An image as the ledger has it, with its job under one profile."""

    size: int
    version: str
    sha256: bytes | None
    is_gone: bool
    state: JobState | None
    """None: it has no job under the profile yet."""
    version_id: int
    reason: Reason
    review: ReviewState
    cause: str | None
    settled_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast earlier runs were."""

    images_per_s: float
    images: int


class History:
    """What is known about one question: a profile in one version, asked of one model.

    Made by ``find``.
    """

    def __init__(self, database: Database, *, profile_id: int, version_id: int) -> None:
        self._database = database
        self._profile_id = profile_id
        self._version_id = version_id

    @classmethod
    async def find(cls, database: Database, *, profile: str, fingerprint: str) -> "History":
        """The history of a profile's version; one that was never asked has none."""
        query = (
            select(profiles.c.id, profile_versions.c.id.label("version_id"))
            .where(profiles.c.name == profile)
            .join(
                profile_versions,
                and_(
                    profile_versions.c.profile_id == profiles.c.id,
                    profile_versions.c.fingerprint == fingerprint,
                ),
                isouter=True,
            )
        )
        async with database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        profile_id, version_id = row or (None, None)
        return cls(database, profile_id=profile_id or _NONE, version_id=version_id or _NONE)

    async def judge(
        self, refs: Sequence[ImageRef], selection: Selection
    ) -> Sequence[Standing | Reason]:
        """Why each image is to be asked about, or why it is not; in the order of ``refs``."""

        def look(connection: Connection) -> tuple[Mapping[str, Known], set[bytes]]:
            rows = _FIND_KNOWN.run(connection, [r.uri for r in refs], profile=self._profile_id)
            known = {row.uri: _read_known(row) for row in rows}
            hashes = [one.sha256 for one in known.values() if one.sha256 and not _is_done(one)]
            asked = {"profile": self._profile_id, "version": self._version_id}
            answered = _FIND_ANSWERED.run(connection, hashes, **asked)
            # an answer about bytes that are no longer there is forgotten as the run lists them
            changed = {r.uri for r in refs if r.uri in known and _is_changed(r, known[r.uri])}
            return known, {bytes(row.sha256) for row in answered if row.uri not in changed}

        known, answered = await self._database.look_up(look)
        return [self._judge(ref, known.get(ref.uri), answered, selection) for ref in refs]

    def _judge(
        self, ref: ImageRef, known: Known | None, answered: set[bytes], selection: Selection
    ) -> Standing | Reason:
        found = judge(ref, known, version_id=self._version_id, selection=selection)
        if isinstance(found, Reason) and known is not None and not _is_changed(ref, known):
            return Standing.PAID if known.sha256 in answered else found
        return found

    async def stream_paid(self) -> AsyncIterator[Sequence[tuple[int, str]]]:
        """Size and version of the images that have their answer, in chunks."""
        query = (
            select(images.c.id, images.c.size, images.c.version)
            .join(jobs, jobs.c.image_id == images.c.id)
            .where(
                jobs.c.profile_id == self._profile_id,
                (jobs.c.version_id == self._version_id) | is_decided(STANDING),
                jobs.c.state == JobState.DONE,
            )
            .order_by(images.c.id)
            .limit(_CHUNK_ROWS)
        )
        last_id = _NONE
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(query.where(images.c.id > last_id))).all()
            if not rows:
                return
            last_id = rows[-1].id
            yield [(row.size, row.version) for row in rows]

    async def read_record(self, model: str) -> Record | None:
        """What answers of this version used, else those of others that asked the same model.

        None when there are too few of both.
        """
        own = runs.c.version_id == self._version_id
        related = and_(
            profile_versions.c.profile_id == self._profile_id, profile_versions.c.model == model
        )
        async with self._database.read() as connection:
            for condition, is_same_version in ((own, True), (related, False)):
                query = _SUM_SPENDS.where(spends.c.model_asked == model, condition)
                row = (await connection.execute(query)).one()
                if (row.answers or 0) >= LEAST_ANSWERS:
                    sums = {name: int(value or 0) for name, value in row._mapping.items()}  # noqa: SLF001  its public way to names
                    return Record(**sums, is_same_version=is_same_version)
        return None

    async def read_pace(self, model: str) -> Pace | None:
        """How fast the latest runs asked a model; None when there were none worth counting."""
        query = (
            select(runs.c.summary)
            .join(profile_versions, profile_versions.c.id == runs.c.version_id)
            .where(
                profile_versions.c.model == model, runs.c.verb == "tag", runs.c.summary.is_not(None)
            )
            .order_by(runs.c.id.desc())
            .limit(_LATEST_RUNS)
        )
        async with self._database.read() as connection:
            texts = (await connection.execute(query)).scalars().all()
        return find_pace([orjson.loads(text) for text in texts])


def find_pace(summaries: Sequence[Mapping[str, Any]]) -> Pace | None:
    """Images a second over runs that asked about more than a few, none of them by batch."""
    told = [
        (summary["images"]["tagged"], summary["elapsed_s"])
        for summary in summaries
        if summary.get("images", {}).get("tagged", 0) >= LEAST_ANSWERS
        and summary.get("elapsed_s")
        # those wait for hours, or find what waited meanwhile at once
        and not any(summary.get("batches", {}).values())
    ]
    images_in_all, seconds = sum(n for n, _ in told), sum(s for _, s in told)
    return Pace(images_per_s=images_in_all / seconds, images=images_in_all) if told else None


def judge(
    ref: ImageRef, known: Known | None, *, version_id: int, selection: Selection
) -> Standing | Reason:
    """What a run would do about an image: the same as scan, put back, stale and claim together."""
    if known is None or known.state is None:
        return _choose(Reason.NEW, ref, None, selection)
    state, reason = _after_scan(ref, known, version_id, selection)
    if state is JobState.DONE:
        return Standing.PAID
    if state in {JobState.FAILED, JobState.SKIPPED}:
        return Standing.FAILED
    return _choose(reason, ref, known, selection)


def _after_scan(
    ref: ImageRef, known: Known, version_id: int, selection: Selection
) -> tuple[JobState | None, Reason]:
    """State and reason of the job when all is listed (``catalogue``, ``jobs``)."""
    state, reason = known.state, known.reason
    if not known.is_gone:
        is_wanted = selection.wants_failed and state in selection.ends
        if is_wanted and _meets(ref, known, selection):
            state, reason = JobState.PENDING, Reason.FAILED
        is_other = known.version_id != version_id and known.review not in STANDING
        if is_other and state is not JobState.LEASED:
            state, reason = JobState.PENDING, _reason_when_outdated(state, reason)
    if _is_changed(ref, known):
        waits = state in {JobState.PENDING, JobState.LEASED}
        keeps = waits and reason in {Reason.NEW, Reason.FAILED}
        return JobState.PENDING, reason if keeps else Reason.CHANGED
    is_back = known.is_gone and known.cause == Cause.MISSING
    if is_back and state in {JobState.FAILED, JobState.SKIPPED}:
        return JobState.PENDING, reason
    return state, reason


def _reason_when_outdated(state: JobState | None, reason: Reason) -> Reason:
    if state is JobState.PENDING:
        return reason
    return Reason.FAILED if state is JobState.FAILED else Reason.STALE


def _choose(
    reason: Reason, ref: ImageRef, known: Known | None, selection: Selection
) -> Standing | Reason:
    is_wanted = selection.reasons is None or reason in selection.reasons
    return reason if is_wanted and _meets(ref, known, selection) else Standing.PASSED_OVER


def _meets(ref: ImageRef, known: Known | None, selection: Selection) -> bool:
    """As ``selection.meets`` has it in SQL."""
    cause = None if known is None else known.cause
    settled_at = None if known is None else known.settled_at
    before, after = selection.settled_before_ms, selection.settled_after_ms
    return (
        (selection.causes is None or cause in selection.causes)
        and (selection.path is None or _matches_glob(ref.uri, selection.path))
        and (before is None or (settled_at is not None and settled_at <= before))
        and (after is None or (settled_at is not None and settled_at > after))
    )


def _matches_glob(uri: str, glob: str) -> bool:
    pattern = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, uri, re.DOTALL) is not None


def _is_changed(ref: ImageRef, known: Known) -> bool:
    return (ref.size, ref.version) != (known.size, known.version)


def _is_done(known: Known) -> bool:
    return known.state is JobState.DONE


def _read_known(row: Any) -> Known:
    has_job = row.state is not None
    return Known(
        size=row.size,
        version=row.version,
        sha256=None if row.sha256 is None else bytes(row.sha256),
        is_gone=row.gone_at is not None,
        state=JobState(row.state) if has_job else None,
        version_id=row.version_id if has_job else _NONE,
        reason=Reason(row.reason) if has_job else Reason.NEW,
        review=ReviewState(row.review) if has_job else ReviewState.NONE,
        cause=row.cause,
        settled_at=row.settled_at,
    )


_FIND_KNOWN = Lookup(
    lambda among: (
        select(
            images.c.uri, images.c.size, images.c.version, images.c.sha256, images.c.gone_at,
            jobs.c.state, jobs.c.version_id, jobs.c.reason, jobs.c.review, jobs.c.cause,
            jobs.c.settled_at,
        )
        .join(
            jobs,
            and_(jobs.c.image_id == images.c.id, jobs.c.profile_id == bindparam("profile")),
            isouter=True,
        )
        .where(among(images.c.uri))
    )
)  # fmt: skip

_FIND_ANSWERED = Lookup(
    lambda among: (
        select(images.c.uri, images.c.sha256)
        .join(jobs, jobs.c.image_id == images.c.id)
        .join(results, results.c.id == jobs.c.result_id)
        .where(
            among(images.c.sha256),
            jobs.c.profile_id == bindparam("profile"),
            # what a person let stand is never stale
            (jobs.c.version_id == bindparam("version")) | is_decided(STANDING),
            jobs.c.state == literal_column("'done'"),
        )
    )
)

_SUMS: Final = (
    "answers", "cached_tokens", "cache_write_tokens", "output_tokens", "sent_bytes", "pictures",
    "picture_tokens", "picture_inputs",
)  # fmt: skip
_SUM_SPENDS = (
    select(*(func.sum(spends.c[name]).label(name) for name in _SUMS))
    .join(runs, runs.c.id == spends.c.run_id)
    .join(profile_versions, profile_versions.c.id == runs.c.version_id)
)
