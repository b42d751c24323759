"""What a server's refusal means when it is about files and batches, not about a picture."""

import re
from datetime import datetime
from typing import Final

from pipeline.domain.errors import (
    BatchRefused,
    PipelineError,
    RequestRejected,
    RequestShapeRefused,
    RunPaused,
    TransientError,
)
from pipeline.providers.complaint import Complaint, read_complaint
from pipeline.providers.errors_map import classify
from pipeline.providers.transport import Reply

_GONE: Final = re.compile(
    r"\b(no such|not found|no \w+ found|not exist|no longer|expired|deleted)\b", re.IGNORECASE
)
_THING: Final = re.compile(r"\b(file|batch|object)\b", re.IGNORECASE)
# An address in the message ("Cannot GET /v1/batches/batch_1") speaks of no file and no batch.
_ADDRESS: Final = re.compile(r"\S*/\S*")
_ABSENT_STATUSES: Final = frozenset({404, 405, 410, 501})
_UNKNOWN_STATUSES: Final = frozenset({400, 404, 410})
_FIRST_OWN_FAULT: Final = 400
_ORDINARY_LANE: Final = "Without --mode batch the same command asks in the ordinary lane."


def judge_refusal(reply: Reply, *, now: datetime, server: str) -> PipelineError:
    """Say what an answer that is no success means: total over any of them.

    Credentials, credit, rates and outages are what they are for a picture. What else is refused
    is refused to every batch: the run pauses. Only a file or batch that the server does not know
    (any more) concerns nothing but itself.

    Args:
        reply: of any status but 200 to 299.
        now: aware; a ``Retry-After`` date is measured against it.
        server: base URL, for the text.
    """
    complaint = read_complaint(reply.status, reply.body, reply.headers, now=now)
    error = classify(reply.status, reply.body, reply.headers, now=now, server=server)
    if isinstance(error, RunPaused) and not isinstance(error, RequestShapeRefused):
        return error
    if complaint.status in _UNKNOWN_STATUSES and _misses_thing(complaint):
        return _make_unknown(complaint, server=server)
    if complaint.status in _ABSENT_STATUSES:
        return BatchRefused(f"{server} has no Batch API: {complaint.describe()}. {_ORDINARY_LANE}")
    if isinstance(error, TransientError) or complaint.status < _FIRST_OWN_FAULT:
        return error
    return BatchRefused(
        f"{server} refuses batches as we make them: {complaint.describe()}. Mend what it names, "
        f"then run the same command again. {_ORDINARY_LANE}"
    )


def _misses_thing(complaint: Complaint) -> bool:
    words = _ADDRESS.sub(" ", complaint.message)
    return _GONE.search(words) is not None and _THING.search(words) is not None


def _make_unknown(complaint: Complaint, *, server: str) -> RequestRejected:
    return RequestRejected(
        f"{server} does not know the file or batch: {complaint.describe()}",
        status=complaint.status,
        code=complaint.code,
        request_id=complaint.request_id,
    )
