"""The jobs that wait, in the order of their turns, and how far a run has walked through them."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select, tuple_

from pipeline.ledger.catalogue import Assignment, Scope
from pipeline.ledger.dialects import AnyConnection, among
from pipeline.ledger.selection import Selection, lies_in, waits_for
from pipeline.ledger.tables import images, job_is_pending, jobs

_REWIND_MS: Final = 10_000
_LOOK_FOR_DUE_MS: Final = 250
_LAST_ID: Final = 2**62

Position: TypeAlias = tuple[int, int]
"""Time (ms) and id of a job: its place in the order of turns."""


class Stretch(Enum):
    """A part of the order of turns."""

    NEAR = auto()
    """All whose time has come."""
    FRESH = auto()
    """Those never put off."""
    DUE = auto()
    """Those put off whose time has come."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A stretch of one scope."""

    scope: Scope
    stretch: Stretch

    @property
    def is_walked(self) -> bool:
        """Whether claims go on from where the last one ended."""
        return self.stretch in {Stretch.FRESH, Stretch.DUE}


@dataclass(slots=True)
class Walk:
    """How far the claims of a run have come.

    Where only some of the waiting jobs are wanted, finding them means passing over the others;
    and an index of Postgres keeps what was claimed until it is vacuumed. Each is passed over
    once: a claim goes on behind the last one. What comes to wait behind it is found when the
    walk begins anew.
    """

    reached: dict[Lane, Position] = field(default_factory=dict)
    _began_ms: int | None = None
    _looked_for_due_ms: int = 0

    def is_turn_of_due(self, now_ms: int) -> bool:
        """Whether what is to be tried again goes first this time.

        Else all of it would be left for the end; but each look costs a statement.
        """
        if abs(now_ms - self._looked_for_due_ms) < _LOOK_FOR_DUE_MS:
            return False
        self._looked_for_due_ms = now_ms
        return True

    def note(self, reached: Mapping[Lane, Position], now_ms: int) -> None:
        """A claim at ``now_ms`` has come this far."""
        self.reached.update(reached)
        if self._began_ms is None:
            self._began_ms = now_ms

    def is_old(self, now_ms: int) -> bool:
        """Whether it is time to begin anew, although nobody said that there is a need.

        Not at every claim that finds nothing: each would walk past all that is not wanted.
        """
        began_ms = now_ms if self._began_ms is None else self._began_ms
        return bool(self.reached) and abs(now_ms - began_ms) >= _REWIND_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The waiting jobs that a run is about."""

    assignment: Assignment
    selection: Selection
    ids: Sequence[int] | None = None
    """The only jobs it is about, in order; None for all that meet the selection."""

    def lanes(self, scopes: Sequence[Scope], *, is_turn_of_due: bool) -> Iterator[Lane]:
        """All lanes, in the order in which they are to be claimed from."""
        order = (Stretch.FRESH, Stretch.DUE)
        for scope in scopes:
            stretches = order[::-1] if is_turn_of_due else order
            for stretch in (Stretch.NEAR,) if scope.is_single else stretches:
                yield Lane(scope, stretch)

    def select(
        self, connection: AnyConnection, scope: Scope, *columns: ColumnElement[Any]
    ) -> Select[Any]:
        """The jobs of a scope that wait, whenever their turn is."""
        wanted = waits_for(connection, self.selection)
        if self.ids is None:
            query = select(*columns).where(*self._in_library(scope), *wanted)
        else:
            is_listed = among(connection, jobs.c.id, self.ids)
            query = select(*columns).where(is_listed, *self._is_listed_in(scope), *wanted)
        if scope.is_single:
            image = select(images.c.id).where(images.c.uri == scope.prefixes[0])
            return query.where(
                jobs.c.image_id == image.scalar_subquery(),
                jobs.c.profile_id == self.assignment.profile_id,
            )
        return query if scope.is_whole_library else query.where(lies_in([scope]))

    def select_ready(
        self, connection: AnyConnection, lane: Lane, after: Position | None, now_ms: int
    ) -> Select[Any]:
        """The ids of jobs whose turn has come, those after a position, in order."""
        left = self._leave_behind(lane, after)
        query = left.select(connection, lane.scope, jobs.c.id).where(self._is_on(lane, now_ms))
        if after is not None:
            query = query.where(_is_after(lane, after))
        return query.order_by(jobs.c.not_before, jobs.c.id)

    def _leave_behind(self, lane: Lane, after: Position | None) -> "Line":
        """The same without those jobs of the list that the walk has passed: each is looked up."""
        if self.ids is None or after is None or lane.stretch is not Stretch.FRESH:
            return self
        return replace(self, ids=self.ids[bisect_right(self.ids, after[1]) :])

    def find_end(self, connection: Connection, lane: Lane, now_ms: int) -> Position:
        """The position behind all jobs of a lane that wait now, wanted or not."""
        if lane.stretch is Stretch.DUE:
            return now_ms - 1, _LAST_ID  # more may be put off until this very moment
        if self.ids is not None:
            return 0, max(self.ids, default=0)
        is_fresh = jobs.c.not_before == 0
        last = select(func.max(jobs.c.id)).where(*self._in_library(lane.scope), is_fresh)
        return 0, connection.scalar(last) or 0

    def _in_library(self, scope: Scope) -> tuple[ColumnElement[bool], ...]:
        return (
            jobs.c.version_id == self.assignment.version_id,
            jobs.c.library_id == scope.library_id,
            job_is_pending,
        )

    def _is_listed_in(self, scope: Scope) -> tuple[ColumnElement[bool], ...]:
        """The same of jobs that are found by their ids.

        Sums have no index: by the one of what waits, all that waits would be passed over.
        """
        return (
            jobs.c.version_id + 0 == self.assignment.version_id,
            jobs.c.library_id + 0 == scope.library_id,
            job_is_pending,
        )

    def _is_on(self, lane: Lane, now_ms: int) -> ColumnElement[bool]:
        turn = jobs.c.not_before
        match lane.stretch:
            case Stretch.NEAR:
                return turn <= now_ms
            case Stretch.FRESH:
                return turn == 0
            case Stretch.DUE:
                return and_(turn > 0, turn <= now_ms)


def _is_after(lane: Lane, position: Position) -> ColumnElement[bool]:
    if lane.stretch is Stretch.FRESH:
        return jobs.c.id > position[1]
    return tuple_(jobs.c.not_before, jobs.c.id) > tuple_(*map(literal, position))
