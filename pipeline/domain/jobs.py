"""A job is one image under one profile; its states and who holds it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from pipeline.domain.images import ImageId, ImageRef

JobId = NewType("JobId", int)
RunId = NewType("RunId", int)
ProfileId = NewType("ProfileId", int)
AttemptId = NewType("AttemptId", int)
ResultId = NewType("ResultId", int)


class JobState(StrEnum):
    """Exactly one at any time. 'Never processed' (pending) differs from 'done, nothing found'."""

    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why an image is to be asked about. Kept when it is put off, claimed or given back."""

    NEW = "new"
    """It never was brought to an end."""
    CHANGED = "changed"
    """The file is another one now."""
    STALE = "stale"
    """Its answer is of another version of the profile."""
    FAILED = "failed"
    """It had failed, or was skipped, and was put back."""


class ReviewState(StrEnum):
    """What people have said of an answer."""

    NONE = "none"
    NEEDS_REVIEW = "needs_review"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"


STANDING: Final = (ReviewState.APPROVED, ReviewState.EDITED)
"""Decisions by which an answer stands: no later answer takes its place."""

DECISIONS: Final = (*STANDING, ReviewState.REJECTED)
"""All that only a person says: they hold for the same picture wherever it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job this process holds under a lease."""

    id: JobId
    image_id: ImageId
    image: ImageRef
    attempts: int
    """Tries that have already been made and settled."""
    tried_since_ms: int | None = None
    """When the first try since it last became pending began; None before it."""
    next_step: str | None = None
    """What the next request is to be, where not just another try: ``more_room``."""
