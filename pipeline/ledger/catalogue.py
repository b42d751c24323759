"""The catalogue of images: what a scan finds is compared, stored, and given a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import JobState, ProfileId, Reason, RunId
from pipeline.domain.outcomes import Cause
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import among, insert_new
from pipeline.ledger.patience import patient
from pipeline.ledger.prepared import Insertion
from pipeline.ledger.tables import images, jobs, libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which part of the ledger a command is about: one library, or a part of one."""

    library_id: int
    root: str
    prefixes: tuple[str, ...]
    """Every uri of the scope starts with one of these: ``root`` for all of the library, and
    the encoded form of the same folder, for names that are not UTF-8."""
    is_single: bool = False
    """The scope is the one image whose uri is the first prefix."""

    @property
    def is_whole_library(self) -> bool:
        return self.prefixes[0] == self.root

    def covers(self, uri: str) -> bool:
        """Whether an image belongs to the scope."""
        return uri == self.prefixes[0] if self.is_single else uri.startswith(self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the images are to be asked: a profile and its version."""

    profile_id: ProfileId
    version_id: int


AS_NEW: Mapping[str, Any] = {
    "state": JobState.PENDING,
    "run_id": None,
    "attempts": 0,
    "not_before": 0,
    "tried_since": None,
    "next_step": None,
}
"""What a job is like before anything was tried. Why it had no answer stays on record until it
has one: that is a ground to choose it by."""


class Finding(StrEnum):
    """What a scan says of one image."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    id: int
    size: int
    version: str
    is_gone: bool
    has_job: bool


def compare(ref: ImageRef, known: _Known | None) -> Finding:
    """Tell new, changed, unchanged and returned (it was gone) apart, without reading the file."""
    if known is None:
        return Finding.NEW
    if (ref.size, ref.version) != (known.size, known.version):
        return Finding.CHANGED
    return Finding.RETURNED if known.is_gone else Finding.UNCHANGED


@dataclass(slots=True)
class SeenImages:
    """One bit an image: what this scan has come across (12.5 MB at 100 million)."""

    bits: bytearray = field(default_factory=bytearray)

    def add(self, image_id: int) -> None:
        byte, bit = divmod(image_id, 8)
        if byte >= len(self.bits):
            self.bits.extend(bytes(byte + 1 - len(self.bits) + 4096))
        self.bits[byte] |= 1 << bit

    def __contains__(self, image_id: int) -> bool:
        byte, bit = divmod(image_id, 8)
        return byte < len(self.bits) and bool(self.bits[byte] >> bit & 1)


class Catalogue:
    """Stores what a scan finds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_scopes(self, prefixes: tuple[str, ...], *, is_single: bool) -> tuple[Scope, ...]:
        """The part of the ledger below a folder: its own library first, then those inside it.

        A folder inside a known library is a part of that one; else a library is made for it.

        Args:
            prefixes: the folder's uri, ending with a slash, then other forms of it; or the
                image's uri alone.
            is_single: the scope is one image.
        """
        prefix = prefixes[0]
        async with self._database.write() as connection:
            known = await _read_libraries(connection)
            holder = _find_holder(prefix, known)
            if holder is None:
                holder = prefix.rsplit("/", 1)[0] + "/"
                # another process may be making the same one
                await connection.execute(insert_new(connection, libraries).values(root=holder))
                known = await _read_libraries(connection)
        first = Scope(library_id=known[holder], root=holder, prefixes=prefixes, is_single=is_single)
        inside = [
            Scope(library_id=library_id, root=inner, prefixes=(inner,))
            for inner, library_id in known.items()
            if inner != holder and inner.startswith(prefix) and not is_single
        ]
        return (first, *inside)

    @patient
    async def record(
        self,
        refs: Sequence[ImageRef],
        scopes: Sequence[Scope],
        *,
        assignment: Assignment,
        run: RunId,
    ) -> tuple[Mapping[Finding, int], list[int]]:
        """Store one chunk of a listing; return counts and the ids of all its images.

        An unchanged image that has its job costs no write.
        """
        known = await self._find_known([ref.uri for ref in refs], assignment.profile_id)
        findings = [(ref, compare(ref, known.get(ref.uri))) for ref in refs]
        counts = dict.fromkeys(Finding, 0)
        for _, finding in findings:
            counts[finding] += 1
        ids = [image.id for image in known.values()]
        jobless = [image.id for image in known.values() if not image.has_job]
        if len(ids) < len(refs) or jobless or counts[Finding.UNCHANGED] < len(refs):
            ids += await self._store(findings, known, jobless, scopes, assignment, run)
        return counts, ids

    async def mark_gone(
        self,
        scope: Scope,
        seen: SeenImages,
        *,
        unlistable: Sequence[str],
        now_ms: int,
        chunk: int = 5_000,
    ) -> int:
        """Mark every image of the scope that the scan did not come across; return how many."""
        total, last_id = 0, 0
        while True:
            rows = await self._read_present(scope, last_id, chunk)
            if not rows:
                return total
            last_id = rows[-1].id
            gone = [
                row.id
                for row in rows
                if row.id not in seen and not row.uri.startswith(tuple(unlistable))
            ]
            if gone:
                await self._store_gone(gone, now_ms)
                total += len(gone)

    async def has_images(self, scope: Scope) -> bool:
        """Whether any image of the scope is known and present."""
        return bool(await self._read_present(scope, 0, 1))

    @patient
    async def match_moved(self, run: RunId, *, now_ms: int) -> int:
        """Pair images gone at ``now_ms`` with new ones of ``run`` of equal size and time.

        Only pairs without a rival count. It is a hint for people: whether the content
        is the same is decided by its hash when it is read.
        """
        is_gone, is_new = images.c.gone_at == now_ms, images.c.found_in_run == run
        pairs = (
            select(
                func.min(case((is_gone, images.c.id))).label("gone_id"),
                func.min(case((is_new, images.c.id))).label("new_id"),
            )
            # no join: without an index for it, each of the one would meet each of the other
            .where(or_(is_gone, is_new))
            .group_by(images.c.size, images.c.version)
            .having(func.count(case((is_gone, 1))) == 1, func.count(case((is_new, 1))) == 1)
            .subquery("pairs")
        )
        # a whole library may have been renamed: the database pairs them by itself
        async with self._database.overhaul() as connection:
            done = await connection.execute(
                update(images)
                .where(images.c.id == pairs.c.new_id)
                .values(moved_from=pairs.c.gone_id)
            )
        return done.rowcount

    async def _find_known(self, uris: list[str], profile_id: ProfileId) -> dict[str, _Known]:
        query = select(
            images.c.id, images.c.uri, images.c.size, images.c.version,
            images.c.gone_at, jobs.c.id.label("job_id"),
        ).join(
            jobs,
            and_(jobs.c.image_id == images.c.id, jobs.c.profile_id == profile_id),
            isouter=True,
        )  # fmt: skip
        async with self._database.read() as connection:
            found = await connection.execute(query.where(among(connection, images.c.uri, uris)))
            return {
                row.uri: _Known(
                    id=row.id,
                    size=row.size,
                    version=row.version,
                    is_gone=row.gone_at is not None,
                    has_job=row.job_id is not None,
                )
                for row in found
            }

    async def _store(  # noqa: PLR0917  the chunk as it was compared, and where it belongs
        self,
        findings: Sequence[tuple[ImageRef, Finding]],
        known: Mapping[str, _Known],
        jobless: list[int],
        scopes: Sequence[Scope],
        assignment: Assignment,
        run: RunId,
    ) -> list[int]:
        new = [ref for ref, finding in findings if finding is Finding.NEW]
        changed = [(known[r.uri].id, r) for r, finding in findings if finding is Finding.CHANGED]
        returned = [known[r.uri].id for r, finding in findings if finding is Finding.RETURNED]
        async with self._database.write() as connection:
            new_ids = await _insert_images(connection, new, scopes, run)
            if changed:
                await _update_changed(connection, changed, assignment)
            if returned:
                await _bring_back(connection, returned, assignment)
            if new_ids or jobless:
                await _insert_jobs(connection, new_ids + jobless, assignment)
        return new_ids

    @patient
    async def _read_present(self, scope: Scope, after: int, limit: int) -> Sequence[Any]:
        query = (
            select(images.c.id, images.c.uri)
            .where(images.c.id > after, images.c.gone_at.is_(None), in_scope(scope))
            .order_by(images.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).all()

    @patient
    async def _store_gone(self, ids: list[int], now_ms: int) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(images).where(among(connection, images.c.id, ids)).values(gone_at=now_ms)
            )
            await connection.execute(
                update(jobs)
                .where(among(connection, jobs.c.image_id, ids), jobs.c.state == JobState.PENDING)
                .values(
                    state=JobState.SKIPPED,
                    cause=Cause.MISSING,
                    message="gone from the library before its turn came",
                    settled_at=now_ms,
                    tried_since=None,
                )
            )


def in_scope(scope: Scope) -> ColumnElement[bool]:
    """The SQL condition that an image belongs to the scope."""
    if scope.is_single:
        return images.c.uri == scope.prefixes[0]
    # '0' follows '/': the half-open range is every uri below the folder
    return or_(
        *(and_(images.c.uri >= prefix, images.c.uri < prefix[:-1] + "0")
          for prefix in scope.prefixes)
    )  # fmt: skip


async def _read_libraries(connection: AsyncConnection) -> dict[str, int]:
    rows = await connection.execute(select(libraries.c.root, libraries.c.id))
    return {row.root: row.id for row in rows}


def _find_holder(prefix: str, known: Mapping[str, int]) -> str | None:
    holders = [root for root in known if prefix.startswith(root)]
    return max(holders, key=len, default=None)


async def _insert_images(
    connection: AsyncConnection, refs: Sequence[ImageRef], scopes: Sequence[Scope], run: RunId
) -> list[int]:
    if not refs:
        return []
    rows = [
        {
            "library_id": _find_library(ref.uri, scopes),
            "uri": ref.uri,
            "size": ref.size,
            "version": ref.version,
            "found_in_run": run,
        }
        # in one order for all processes: they would lock each other out, else
        for ref in sorted(refs, key=attrgetter("uri"))
    ]
    await connection.run_sync(_INSERT_IMAGES.run, rows)
    query = select(images.c.id).where(among(connection, images.c.uri, [ref.uri for ref in refs]))
    return list((await connection.execute(query)).scalars())


_INSERT_IMAGES = Insertion(images, ("library_id", "uri", "size", "version", "found_in_run"))


def _find_library(uri: str, scopes: Sequence[Scope]) -> int:
    """The innermost library that holds the image; libraries may lie inside one another."""
    holders = [scope for scope in scopes if uri.startswith(scope.root)]
    innermost = max(holders, key=lambda scope: len(scope.root), default=scopes[0])
    return innermost.library_id


def _version_for(assignment: Assignment) -> ColumnElement[int]:
    """The version that an image's jobs are to be asked under: ours, for our profile."""
    is_ours = jobs.c.profile_id == assignment.profile_id
    return case((is_ours, assignment.version_id), else_=jobs.c.version_id)


# Never asked about, it is still new. What was put back is most often mended before it is asked
# about again: then, too, the older reason says more.
_REASON_AFTER_CHANGE = case(
    (
        and_(
            jobs.c.state.in_((JobState.PENDING, JobState.LEASED)),
            jobs.c.reason.in_((Reason.NEW, Reason.FAILED)),
        ),
        jobs.c.reason,
    ),
    else_=Reason.CHANGED.value,
)


async def _update_changed(
    connection: AsyncConnection,
    changed: Sequence[tuple[int, ImageRef]],
    assignment: Assignment,
) -> None:
    await connection.execute(
        update(images)
        .where(images.c.id == bindparam("image_id"))
        .values(
            size=bindparam("new_size"), version=bindparam("new_version"),
            sha256=None, gone_at=None,
        ),
        [
            {"image_id": image_id, "new_size": ref.size, "new_version": ref.version}
            for image_id, ref in changed
        ],
    )  # fmt: skip
    # A worker that holds such a job loses its lease: its answer is about the old picture.
    await connection.execute(
        update(jobs)
        .where(among(connection, jobs.c.image_id, [image_id for image_id, _ in changed]))
        .values(**AS_NEW, version_id=_version_for(assignment), reason=_REASON_AFTER_CHANGE)
    )


async def _bring_back(connection: AsyncConnection, ids: list[int], assignment: Assignment) -> None:
    await connection.execute(
        update(images).where(among(connection, images.c.id, ids)).values(gone_at=None)
    )
    await connection.execute(
        update(jobs)
        .where(
            among(connection, jobs.c.image_id, ids),
            jobs.c.cause == Cause.MISSING,
            jobs.c.state.in_((JobState.FAILED, JobState.SKIPPED)),
        )
        .values(**AS_NEW, version_id=_version_for(assignment))
    )


async def _insert_jobs(
    connection: AsyncConnection, image_ids: list[int], assignment: Assignment
) -> None:
    chosen = select(
        images.c.id,
        literal(assignment.profile_id),
        images.c.library_id,
        literal(assignment.version_id),
        literal(JobState.PENDING.value),
    ).where(among(connection, images.c.id, image_ids))
    await connection.execute(
        insert_new(connection, jobs).from_select(
            ["image_id", "profile_id", "library_id", "version_id", "state"], chosen
        )
    )
