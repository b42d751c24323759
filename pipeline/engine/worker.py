"""One image's way: read, recognise, prepare, ask, settle."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TypeVar

import anyio
import anyio.to_thread

from pipeline.domain.errors import AskError, ImageError, RunPaused
from pipeline.domain.images import IMAGE_EXTENSIONS, ImageInfo, PreparedImage
from pipeline.domain.jobs import DECISIONS, AttemptId, ClaimedJob, JobId, ReviewState
from pipeline.domain.outcomes import (
    AT_ONCE,
    Cause,
    Deferred,
    Failed,
    Outcome,
    Reused,
    Skipped,
    Spend,
    Tagged,
)
from pipeline.domain.usage import NanoDollars
from pipeline.domain.vision import VisionRequest, VisionResponse
from pipeline.engine.progress import Tally
from pipeline.engine.retry import Wait, decide
from pipeline.engine.stages import Stages
from pipeline.ledger.settlement import Settlement
from pipeline.ledger.settling import AlreadyAnswered, BeingAsked, Opened
from pipeline.limits.breaker import Breaker

T = TypeVar("T")

_log = logging.getLogger(__name__)

_FIRST_REQUESTS = 4
_PREPARED_AT_ONCE = 2  # a core: one decodes while others are read, looked up, or wait
_ASKED_ELSEWHERE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A picture ready to be asked about, and the file it came from."""

    sha256: bytes
    prepared: PreparedImage
    version: str


@dataclass(slots=True)
class _Asking:
    """A request under way that others with the same picture wait for."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: Outcome | None = None


class PreparedShelf:
    """Prepared pictures of jobs that were put off, so that a retry costs no decoding.

    Only a convenience: what does not fit is prepared again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._pictures: OrderedDict[JobId, _Picture] = OrderedDict()

    def put(self, job: JobId, picture: _Picture) -> None:
        size = len(picture.prepared.data)
        if self._held + size <= self._max_bytes:
            self._pictures[job] = picture
            self._held += size

    def take(self, job: ClaimedJob) -> _Picture | None:
        picture = self._pictures.pop(job.id, None)
        if picture is None:
            return None
        self._held -= len(picture.prepared.data)
        return picture if picture.version == job.image.version else None


class Worker:
    """Brings claimed jobs to their outcome. One object serves all tasks of a run."""

    def __init__(self, stages: Stages, tally: Tally) -> None:
        self._pictures = stages.pictures
        self._asking = stages.asking
        self._ceilings = stages.ceilings
        self._settler = stages.settler
        self._clock = stages.clock
        self._tally = tally
        self._threads = stages.ceilings.threads
        self._preparing = anyio.CapacityLimiter(_PREPARED_AT_ONCE * self._threads.total_tokens)
        # Few at first: a wrong key or model shows itself before hundreds of requests are out.
        self._slots = anyio.CapacityLimiter(min(_FIRST_REQUESTS, stages.ceilings.max_concurrency))
        self._under_way: dict[bytes, _Asking] = {}
        self._shelf = PreparedShelf(stages.ceilings.file_memory.total_bytes // 2)
        self._breaker = Breaker()
        self._is_stopped = False
        self._suspects: list[tuple[JobId, Cause]] = []

    def stop(self) -> None:
        """Send nothing new; what is under way still settles. Unsent jobs stay leased."""
        self._is_stopped = True

    def find_wronged(self, pause: RunPaused) -> list[JobId]:
        """Jobs that failed since the last good answer for what the pause is to blame for."""
        return [job for job, cause in self._suspects if cause in pause.blames]

    async def process(self, job: ClaimedJob) -> None:
        """Bring one job to an outcome and settle it.

        Raises:
            RunPaused: after the job was given back untouched.
        """
        picture = self._shelf.take(job)
        if picture is None:
            # Few at a time: files read long before a core is free to decode them only fill memory.
            async with self._preparing, self._ceilings.file_memory.hold(job.image.size):
                picture = None if self._is_stopped else await self._make_ready(job)
        if picture is not None:
            async with self._ceilings.file_memory.hold(len(picture.prepared.data)):
                await self._ask_once(job, picture)

    async def _make_ready(self, job: ClaimedJob) -> _Picture | None:
        """Read, recognise and prepare; None when the job is settled without a question."""
        sha256 = info = None
        try:
            data = await self._pictures.read(job.image)
            sha256, memory, info = await self._in_thread(self._identify, data)
            if isinstance(info, ImageError):
                raise info
            if known := await self._settler.find_answer(sha256):
                await self._settle(job, _reuse(known), sha256=sha256, info=info)
                return None
            async with self._ceilings.decode_memory.hold(memory):
                prepared = await self._in_thread(self._pictures.prepare, data)
        except ImageError as error:
            await self._settle(job, _refuse(job, error), sha256=sha256, info=None)
            return None
        return _Picture(sha256=sha256, prepared=prepared, version=job.image.version)

    def _identify(self, data: bytes) -> tuple[bytes, int, ImageInfo | ImageError]:
        """Hash, memory need and header in one visit to a thread; a broken file has a hash too."""
        sha256 = hashlib.sha256(data).digest()
        try:
            return sha256, self._pictures.estimate_memory(data), self._pictures.inspect(data)
        except ImageError as error:
            return sha256, 0, error

    async def _ask_once(self, job: ClaimedJob, picture: _Picture) -> None:
        """Ask, unless the same picture is being asked about or was answered already."""
        key = self._request_key(picture)
        while (other := self._under_way.get(key)) is not None:
            await other.ended.wait()
            if isinstance(other.outcome, Failed | Deferred):
                await self._settle_picture(job, picture, _follow(other.outcome))
                return
        mine = self._under_way[key] = _Asking()
        try:
            async with self._slots:
                if self._is_stopped:
                    return
                mine.outcome = await self._open_and_ask(job, picture, key)
        finally:
            del self._under_way[key]
            mine.ended.set()

    async def _open_and_ask(self, job: ClaimedJob, picture: _Picture, key: bytes) -> Outcome | None:
        """Reserve, put on record, ask, settle; None when the run was stopped meanwhile."""
        budget = self._ceilings.budget
        reserved = await budget.reserve(self._asking.pricing.worst_cost(picture.prepared))
        paid: NanoDollars | None = NanoDollars(0)
        try:
            if self._is_stopped:
                return None
            # Shielded: once it is handed in it will be written, and somebody has to settle it.
            with anyio.CancelScope(shield=True):
                admission = await self._settler.open_attempt(job, key, self._clock.now_ms())
            if isinstance(admission, Opened):
                paid = None
                outcome, paid = await self._ask(job, picture, key, admission.attempt_id)
            else:
                outcome = self._without_asking(admission)
                await self._settle_picture(job, picture, outcome)
        finally:
            budget.settle(reserved, paid)
        return outcome

    def _without_asking(self, admission: AlreadyAnswered | BeingAsked) -> Outcome:
        if isinstance(admission, AlreadyAnswered):
            return _reuse(admission)
        return Deferred(
            cause=Cause.ASKED_ELSEWHERE,
            message="another process is asking about the same picture",
            not_before=self._clock.now() + timedelta(seconds=_ASKED_ELSEWHERE_SECONDS),
            counts=False,
        )

    async def _ask(
        self, job: ClaimedJob, picture: _Picture, key: bytes, attempt: AttemptId
    ) -> tuple[Outcome, NanoDollars | None]:
        """Ask and settle; return the outcome and what it cost (None: nobody knows)."""
        request = VisionRequest(
            question=self._asking.question,
            image=picture.prepared,
            service_tier=self._asking.tier,
        )
        self._count_request(job, picture)
        pause: RunPaused | None = None
        outcome: Outcome = self._interrupted()
        paid: NanoDollars | None = None
        try:
            response = await self._asking.provider.ask(request)
            outcome = self._read(response, picture)
            paid = _cost_of(outcome)
            self._note_answer()
        except AskError as error:
            pause = self._breaker.judge(error, slots=int(self._slots.total_tokens))
            outcome = (
                self._paused(error, self._bill(error, picture))
                if pause
                else self._judge(error, job, picture)
            )
            paid = None if error.may_be_billed else _cost_of(outcome)
        except RunPaused as error:
            pause = error
            outcome = self._paused(error)
        finally:
            self._tally.in_flight -= 1
            with anyio.CancelScope(shield=True):
                await self._settle_picture(job, picture, outcome, attempt=attempt, key=key)
        if pause is not None:
            raise pause
        return outcome, paid

    def _note_answer(self) -> None:
        """The server answers well: what failed before concerned its own picture."""
        self._breaker.note_answer()
        self._suspects.clear()
        self._slots.total_tokens = max(self._slots.total_tokens, self._ceilings.max_concurrency)

    def _read(self, response: VisionResponse, picture: _Picture) -> Tagged:
        answer, confidence = self._asking.reader.read(response)
        return Tagged(answer=answer, confidence=confidence, spend=self._price(response, picture))

    def _judge(self, error: AskError, job: ClaimedJob, picture: _Picture) -> Outcome:
        """Turn a failed request into what happens next."""
        spend = self._bill(error, picture)
        decision = decide(
            error,
            tries=job.attempts + 1,
            policy=self._asking.policy,
            chance=self._clock.chance(),
        )
        if not isinstance(decision, Wait):
            return Failed(cause=error.cause, message=str(error), spend=spend)
        self._shelf.put(job.id, picture)
        not_before = self._clock.now() + timedelta(seconds=decision.seconds)
        _log.info(
            "job.deferred",
            extra={"job_id": job.id, "cause": error.cause, "wait_s": round(decision.seconds, 2)},
        )
        return Deferred(cause=error.cause, message=str(error), not_before=not_before, spend=spend)

    def _bill(self, error: AskError, picture: _Picture) -> Spend | None:
        """What a useless answer cost; None when nothing came back."""
        return self._price(error.response, picture) if error.response else None

    def _price(self, response: VisionResponse, picture: _Picture) -> Spend:
        usage = response.usage
        if response.usage_is_estimated:
            usage = self._asking.pricing.estimate_usage(picture.prepared)
        cost = self._asking.pricing.cost(usage, model=response.model, tier=response.service_tier)
        return Spend(
            usage=usage,
            cost=cost,
            model=response.model,
            service_tier=response.service_tier,
            usage_is_estimated=response.usage_is_estimated,
            request_id=response.request_id,
        )

    def _request_key(self, picture: _Picture) -> bytes:
        """Same picture, same question: same key."""
        parts = [picture.prepared.fingerprint, self._asking.question.fingerprint.encode()]
        if self._asking.provider.reads_metadata:
            parts.append(repr(picture.prepared.info).encode())
        return hashlib.sha256(b"\0".join(parts)).digest()

    def _count_request(self, job: ClaimedJob, picture: _Picture) -> None:
        self._tally.requests += 1
        self._tally.retried += job.attempts > 0
        self._tally.in_flight += 1
        usage = self._asking.pricing.estimate_usage(picture.prepared)
        model = self._asking.question.model
        self._tally.estimate_nanos += self._asking.pricing.cost(usage, model=model, tier=None) or 0

    def _interrupted(self) -> Deferred:
        return Deferred(
            cause=Cause.INTERRUPTED,
            message="the run was cancelled while the request was under way",
            not_before=AT_ONCE,
            counts=False,
        )

    def _paused(self, error: RunPaused | AskError, spend: Spend | None = None) -> Deferred:
        return Deferred(
            cause=Cause.PAUSED,
            message=str(error),
            not_before=AT_ONCE,
            spend=spend,
            counts=False,
        )

    async def _settle_picture(
        self,
        job: ClaimedJob,
        picture: _Picture,
        outcome: Outcome,
        *,
        attempt: AttemptId | None = None,
        key: bytes | None = None,
    ) -> None:
        await self._settle(
            job, outcome, sha256=picture.sha256, info=picture.prepared.info,
            attempt=attempt, key=key,
        )  # fmt: skip

    async def _settle(
        self,
        job: ClaimedJob,
        outcome: Outcome,
        *,
        sha256: bytes | None,
        info: ImageInfo | None,
        attempt: AttemptId | None = None,
        key: bytes | None = None,
    ) -> None:
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
        if isinstance(outcome, Tagged):
            settlement = replace(settlement, tags=self._asking.flat_tags(outcome.answer))
        if isinstance(outcome, Failed):
            self._suspects.append((job.id, outcome.cause))
        if await self._settler.settle(settlement):
            self._tally.add_outcome(outcome)
        else:
            self._tally.late += 1

    def _review(self, outcome: Tagged | Reused) -> ReviewState:
        if isinstance(outcome, Reused) and outcome.review in DECISIONS:
            return outcome.review
        return self._asking.review_of(outcome.confidence)

    async def _in_thread(self, function: Callable[[bytes], T], argument: bytes) -> T:
        return await anyio.to_thread.run_sync(function, argument, limiter=self._threads)


def _refuse(job: ClaimedJob, error: ImageError) -> Outcome:
    extension = PurePosixPath(job.image.uri).suffix.lower().removeprefix(".")
    is_stray = error.cause is Cause.NOT_AN_IMAGE and extension not in IMAGE_EXTENSIONS
    if error.cause is Cause.TOO_SMALL or is_stray:
        # a LICENSE beside the pictures is no failure; a text named .jpg is
        return Skipped(cause=error.cause, message=str(error))
    return Failed(cause=error.cause, message=str(error))


def _reuse(answer: AlreadyAnswered) -> Reused:
    return Reused(result_id=answer.result_id, confidence=answer.confidence, review=answer.review)


def _follow(leader: Failed | Deferred) -> Outcome:
    """What becomes of a copy when the one that was asked about had no answer."""
    if isinstance(leader, Failed):
        return Failed(cause=leader.cause, message=f"{leader.message} (a copy was asked about)")
    return replace(leader, spend=None, counts=False)


def _cost_of(outcome: Outcome) -> NanoDollars | None:
    if isinstance(outcome, Reused | Skipped) or outcome.spend is None:
        return NanoDollars(0)
    return outcome.spend.cost
