"""Which of the images that wait a run is to ask about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, or_

from pipeline.domain.jobs import JobState, Reason
from pipeline.domain.outcomes import Cause
from pipeline.ledger.catalogue import Scope, in_scope
from pipeline.ledger.dialects import AnyConnection
from pipeline.ledger.tables import images, jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What must be true of an image, all of it; what is None is not asked for."""

    reasons: tuple[Reason, ...] | None = None
    """Why it is to be asked about: one of these."""
    causes: tuple[Cause, ...] | None = None
    """Why it has no answer: one of these."""
    path: str | None = None
    """A glob for its whole uri: ``*`` is any text, slashes too, ``?`` one character; case counts,
    on every database."""
    settled_before_ms: int | None = None
    """It came to its latest end at this moment or earlier."""
    settled_after_ms: int | None = None
    """It came to its latest end after this moment."""

    @property
    def wants_failed(self) -> bool:
        """Whether what has failed is to be put back first."""
        return self.reasons is not None and Reason.FAILED in self.reasons

    @property
    def ends(self) -> tuple[JobState, ...]:
        """The states that putting back is about.

        Who names no cause means no skipped images: they would be skipped again.
        """
        return (JobState.FAILED, JobState.SKIPPED) if self.causes else (JobState.FAILED,)


EVERYTHING: Final = Selection()


def meets(connection: AnyConnection, selection: Selection) -> list[ColumnElement[bool]]:
    """The SQL conditions that a job meets the selection, whatever it is to be asked for."""
    found: list[ColumnElement[bool]] = []
    if selection.causes is not None:
        found.append(jobs.c.cause.in_(selection.causes))
    if selection.path is not None:
        found.append(_has_image(matches_glob(connection, images.c.uri, selection.path)))
    if selection.settled_before_ms is not None:
        found.append(jobs.c.settled_at <= selection.settled_before_ms)
    if selection.settled_after_ms is not None:
        found.append(jobs.c.settled_at > selection.settled_after_ms)
    return found


def waits_for(connection: AnyConnection, selection: Selection) -> list[ColumnElement[bool]]:
    """The SQL conditions that a waiting job meets the selection."""
    conditions = meets(connection, selection)
    if selection.reasons is not None:
        conditions.append(jobs.c.reason.in_(selection.reasons))
    return conditions


def lies_in(scopes: Sequence[Scope] | None) -> ColumnElement[bool]:
    """The SQL condition that a job is about an image that is present in one of the scopes.

    None for the scopes means the whole ledger.
    """
    is_present = images.c.gone_at.is_(None)
    if scopes is None:
        return _has_image(is_present)
    return _has_image(is_present, or_(*(in_scope(scope) for scope in scopes)))


def _has_image(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    # EXISTS keeps a walk in the order of the jobs: a join may sort all of them each time
    return exists().where(and_(images.c.id == jobs.c.image_id, *conditions))


def matches_glob(
    connection: AnyConnection, column: ColumnElement[Any], glob: str
) -> ColumnElement[bool]:
    """``column`` matches a glob of ``*`` and ``?``; case counts."""
    if connection.dialect.name == "sqlite":
        # its LIKE takes no heed of case
        return column.op("GLOB", is_comparison=True)(glob.replace("[", "[[]"))
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")
