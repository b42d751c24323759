"""Prepared pictures, and where those of jobs that were put off wait."""

from collections import OrderedDict
from dataclasses import dataclass

from pipeline.domain.images import PreparedImage
from pipeline.domain.jobs import ClaimedJob, JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture ready to be asked about, and the file it came from."""

    sha256: bytes
    prepared: PreparedImage
    version: str


class PreparedShelf:
    """Prepared pictures of jobs that were put off, so that a retry costs no decoding.

    Only a convenience: what does not fit is prepared again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._pictures: OrderedDict[JobId, Picture] = OrderedDict()

    def put(self, job: JobId, picture: Picture) -> None:
        size = len(picture.prepared.data)
        if self._held + size <= self._max_bytes:
            self._pictures[job] = picture
            self._held += size

    def take(self, job: ClaimedJob) -> Picture | None:
        picture = self._pictures.pop(job.id, None)
        if picture is None:
            return None
        self._held -= len(picture.prepared.data)
        return picture if picture.version == job.image.version else None
