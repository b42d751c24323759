"""A job is one image under one profile; its states and who holds it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

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


class ReviewState(StrEnum):
    """What people have said of an answer."""

    NONE = "none"
    NEEDS_REVIEW = "needs_review"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job this process holds under a lease."""

    id: JobId
    image_id: ImageId
    image: ImageRef
    attempts: int
    """Tries that have already been made and settled."""
