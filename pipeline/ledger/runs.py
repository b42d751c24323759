"""Runs: one execution under one frozen configuration; profiles and their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.domain.jobs import ProfileId, RunId
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import insert_new
from pipeline.ledger.patience import patient
from pipeline.ledger.processes import ProcessId
from pipeline.ledger.tables import exports, profile_versions, profiles, runs


class RunState(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    FINISHED = "finished"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    FAULT = "fault"
    DIED = "died"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVersion:
    """What a run asks, as it is stored."""

    name: str
    fingerprint: str
    model: str
    definition: Mapping[str, Any]
    """The profile as data, for whoever wants to know later what was asked."""


class RunBook:
    """Opens, keeps alive and closes runs."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_ms = int(lease_seconds * 1000)

    async def assign(self, version: ProfileVersion, *, now_ms: int) -> Assignment:
        """The ids of a profile and its version; made if they are new."""
        async with self._database.write() as connection:
            await connection.execute(insert_new(connection, profiles).values(name=version.name))
            by_name = select(profiles.c.id).where(profiles.c.name == version.name)
            profile_id = ProfileId((await connection.execute(by_name)).scalar_one())
            version_id = await _find_version(connection, profile_id, version.fingerprint)
            while version_id is None:
                # another run may take the number, or add this very version, at the same moment
                await _insert_version(connection, profile_id, version, now_ms)
                version_id = await _find_version(connection, profile_id, version.fingerprint)
        return Assignment(profile_id=profile_id, version_id=version_id)

    async def open(self, verb: str, assignment: Assignment, *, now_ms: int) -> RunId:
        """Begin a run of this process."""
        process = ProcessId.current()
        async with self._database.write() as connection:
            made = await connection.execute(
                insert(runs)
                .values(
                    verb=verb,
                    state=RunState.RUNNING,
                    version_id=assignment.version_id,
                    host=process.host,
                    pid=process.pid,
                    process_started=process.started,
                    started_at=now_ms,
                    lease_until=now_ms + self._lease_ms,
                )
                .returning(runs.c.id)
            )
            return RunId(made.scalar_one())

    @patient
    async def beat(self, run: RunId, *, now_ms: int) -> None:
        """Say that the run is alive: everything it holds stays its own for another lease."""
        async with self._database.write() as connection:
            await connection.execute(
                update(runs)
                .where(runs.c.id == run)
                # somebody may have thought us dead; what we claim from now on is ours again
                .values(lease_until=now_ms + self._lease_ms, state=RunState.RUNNING, ended_at=None)
            )

    @patient
    async def close(
        self, run: RunId, state: RunState, summary: Mapping[str, Any], *, now_ms: int
    ) -> None:
        """Record how the run ended and its closing figures."""
        async with self._database.write() as connection:
            await connection.execute(
                update(runs)
                .where(runs.c.id == run)
                .values(state=state, ended_at=now_ms, summary=orjson.dumps(summary).decode())
            )

    @patient
    async def record_export(
        self, destination: str, format_name: str, records: int, *, now_ms: int
    ) -> None:
        """Remember that a destination now holds the ledger as of ``now_ms``."""
        values = {
            "format": format_name, "records": records, "cursor": now_ms, "finished_at": now_ms,
        }  # fmt: skip
        async with self._database.write() as connection:
            fresh = insert_new(connection, exports).values(destination=destination, **values)
            if not (await connection.execute(fresh)).rowcount:
                await connection.execute(
                    update(exports).where(exports.c.destination == destination).values(**values)
                )


async def _find_version(
    connection: AsyncConnection, profile_id: ProfileId, fingerprint: str
) -> int | None:
    query = select(profile_versions.c.id).where(
        profile_versions.c.profile_id == profile_id,
        profile_versions.c.fingerprint == fingerprint,
    )
    found: int | None = await connection.scalar(query)
    return found


async def _insert_version(
    connection: AsyncConnection, profile_id: ProfileId, version: ProfileVersion, now_ms: int
) -> None:
    latest = select(func.max(profile_versions.c.version)).where(
        profile_versions.c.profile_id == profile_id
    )
    await connection.execute(
        insert_new(connection, profile_versions).values(
            profile_id=profile_id,
            version=(await connection.scalar(latest) or 0) + 1,
            fingerprint=version.fingerprint,
            model=version.model,
            definition=orjson.dumps(version.definition).decode(),
            created_at=now_ms,
        )
    )
