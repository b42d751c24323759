"""Puts what became of an image into the ledger, and into the run's own figures."""

from collections.abc import Hashable
from dataclasses import replace

from pipeline.domain.images import ImageInfo
from pipeline.domain.jobs import DECISIONS, AttemptId, ClaimedJob, ReviewState
from pipeline.domain.outcomes import Failed, Outcome, Passed, Reused, Tagged
from pipeline.engine.progress import Tally
from pipeline.engine.shelf import Picture
from pipeline.engine.stages import Stages
from pipeline.engine.suspects import Suspects
from pipeline.ledger.settlement import Settlement


class Bookkeeper:
    """Settles. One object serves all tasks of a run."""

    def __init__(self, stages: Stages, tally: Tally) -> None:
        self._asking = stages.asking
        self._settler = stages.settler
        self._clock = stages.clock
        self._tally = tally
        self.suspects = Suspects()

    async def settle_picture(
        self,
        job: ClaimedJob,
        picture: Picture,
        outcome: Outcome,
        *,
        attempt: AttemptId | None = None,
        key: bytes | None = None,
        route: Hashable | None = None,
    ) -> bool:
        """Settle an image that was recognised; False when its lease was lost meanwhile.

        A ``route`` says by which one its request went.
        """
        if isinstance(outcome, Failed):
            self.suspects.add(job.id, outcome.cause, route)
        return await self.settle(
            job, outcome, sha256=picture.sha256, info=picture.prepared.info,
            attempt=attempt, key=key,
        )  # fmt: skip

    async def settle(
        self,
        job: ClaimedJob,
        outcome: Outcome,
        *,
        sha256: bytes | None,
        info: ImageInfo | None,
        attempt: AttemptId | None = None,
        key: bytes | None = None,
    ) -> bool:
        """Settle an image; False when its lease was lost meanwhile."""
        settlement = Settlement(
            job=job,
            outcome=outcome,
            settled_at_ms=self._clock.now_ms(),
            sha256=sha256,
            info=info,
            attempt_id=attempt,
            request_key=key,
        )
        if isinstance(outcome, Tagged | Reused):
            settlement = replace(settlement, review=self._review(outcome))
        if isinstance(outcome, Tagged | Passed) and outcome.answer is not None:
            settlement = replace(settlement, tags=self._asking.flat_tags(outcome.answer))
        is_ours = await self._settler.settle(settlement)
        if is_ours:
            self._tally.add_outcome(outcome)
        else:
            self._tally.add_late(outcome)
        return is_ours

    def _review(self, outcome: Tagged | Reused) -> ReviewState:
        if isinstance(outcome, Reused) and outcome.review in DECISIONS:
            return outcome.review
        return self._asking.review_of(outcome.confidence)
