"""The images that a run would ask about, one after the other: what a sample is drawn from."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.ledger.catalogue import Assignment, Scope
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import AnyConnection
from pipeline.ledger.patience import patient
from pipeline.ledger.selection import Selection, lies_in, meets
from pipeline.ledger.tables import images, jobs
from pipeline.ledger.waiting import Line

_CHUNK_ROWS: Final = 5_000


class Candidates:
    """What waits in some scopes and meets a selection. Reads only.

    Args:
        database: the ledger.
        scopes: where the images lie; those that lie in two of them come once.
        assignment: what they are to be asked.
        selection: what must be true of them.
        is_begun: False for a look ahead: what a run would put back first belongs to them, too.
    """

    def __init__(
        self,
        database: Database,
        scopes: Sequence[Scope],
        assignment: Assignment,
        selection: Selection,
        *,
        is_begun: bool,
    ) -> None:
        self._database = database
        self._scopes = scopes
        self._assignment = assignment
        self._selection = selection
        self._is_begun = is_begun

    async def stream(self) -> AsyncIterator[Sequence[Any]]:
        """Rows of ``id`` (the job's), ``uri`` and ``size``, in chunks; memory stays flat."""
        for place, scope in enumerate(self._scopes):
            async for rows in self._stream_scope(scope):
                yield [row for row in rows if not _is_in(self._scopes[:place], scope, row.uri)]

    async def _stream_scope(self, scope: Scope) -> AsyncIterator[Sequence[Any]]:
        id_ = 0
        while rows := await self._read_waiting(scope, _IS_FRESH, jobs.c.id > id_):
            id_ = rows[-1].id
            yield rows
        turn = 0, 0
        while rows := await self._read_waiting(scope, ~_IS_FRESH, tuple_(*turn) < _TURN):
            turn = rows[-1].not_before, rows[-1].id
            yield rows
        if self._is_begun or not self._selection.wants_failed:
            return
        id_ = 0
        while rows := await self._read_failed(scope, id_):
            id_ = rows[-1].id
            yield rows

    @patient
    async def _read_waiting(self, scope: Scope, *conditions: ColumnElement[bool]) -> Sequence[Any]:
        line = Line(assignment=self._assignment, selection=self._selection)
        async with self._database.read() as connection:
            page = (
                line.select(connection, scope, *_COLUMNS)
                .where(*conditions)
                .order_by(jobs.c.not_before, jobs.c.id)
                .limit(_CHUNK_ROWS)
            )
            return await _read(connection, page, "not_before", "id")

    @patient
    async def _read_failed(self, scope: Scope, id_: int) -> Sequence[Any]:
        async with self._database.read() as connection:
            page = (
                select(*_COLUMNS)
                .where(jobs.c.id > id_, lies_in([scope]), *self._is_put_back(connection, scope))
                .order_by(jobs.c.id)
                .limit(_CHUNK_ROWS)
            )
            return await _read(connection, page, "id")

    def _is_put_back(self, connection: AnyConnection, scope: Scope) -> list[ColumnElement[bool]]:
        return [
            jobs.c.profile_id == self._assignment.profile_id,
            jobs.c.library_id == scope.library_id,
            jobs.c.state.in_(self._selection.ends),
            *meets(connection, self._selection),
        ]


_IS_FRESH: Final = jobs.c.not_before == 0
"""What never was put off, nearly all: there, each page is found where the last one ended."""
_TURN: Final = tuple_(jobs.c.not_before, jobs.c.id)
_COLUMNS: Final = (jobs.c.id, jobs.c.not_before, jobs.c.image_id)


async def _read(connection: AsyncConnection, page: Select[Any], *order: str) -> Sequence[Any]:
    # Postgres would join all there is before it takes the first few
    chosen = page.subquery()
    query = (
        select(chosen.c.id, chosen.c.not_before, images.c.uri, images.c.size)
        .join(images, images.c.id == chosen.c.image_id)
        .order_by(*(chosen.c[name] for name in order))
    )
    found: Sequence[Any] = (await connection.execute(query)).all()
    return found


def _is_in(earlier: Sequence[Scope], scope: Scope, uri: str) -> bool:
    """Whether an image of ``scope`` came with another scope of its library already."""
    return any(one.library_id == scope.library_id and one.covers(uri) for one in earlier)
