"""Settles what came of a batch, line by line; doing it again changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio

from pipeline.domain.batches import Answered, BatchLine, BatchReport, RemoteState, Unanswered
from pipeline.domain.errors import (
    AnswersUnusable,
    AskError,
    EnvironmentFault,
    InvalidAnswer,
    LineExpired,
    ModelSubstituted,
    RateStuck,
    RunPaused,
    ServerDown,
)
from pipeline.domain.jobs import AttemptId, ReviewState
from pipeline.domain.outcomes import AT_ONCE, Cause, Deferred, Failed, Outcome, Spend, Tagged
from pipeline.domain.usage import NanoDollars, TokenUsage
from pipeline.domain.vision import ServiceTier, VisionResponse
from pipeline.engine.batch.route import BatchReading, BatchRoute
from pipeline.engine.bookkeeper import Bookkeeper
from pipeline.engine.comparison import Asked
from pipeline.engine.progress import Tally
from pipeline.engine.retry import Attempt, MoreRoom, Wait, decide
from pipeline.engine.stages import Stages
from pipeline.engine.weighing import cost_of, give_up
from pipeline.ledger.batch_lines import OpenLine
from pipeline.ledger.batches import Batch, BatchBook
from pipeline.ledger.settlement import Settlement
from pipeline.providers.model_names import is_same_model

_AT_ONCE: Final = 200
"""Lines that are read, looked up and settled together."""
_MOST_ID: Final = 2**63 - 1
"""Attempts are numbered below; servers may write anything."""
_TELLING: Final = 10
"""So many answers without one that is of use are no accident."""
_TROUBLES: Final = ServerDown.blames | RateStuck.blames
_BATCH: Final = ServiceTier.BATCH.value


@dataclass(slots=True)
class Yield:
    """What a harvest brought."""

    answers: int = 0
    useless: int = 0
    """Answers that cannot be used, and lines refused for what they ask."""
    troubled: int = 0
    """Lines that the server had no answer for through no fault of theirs."""
    again: int = 0
    """Pictures that wait again."""
    pause: RunPaused | None = None
    """Why every line of another batch would fail, too."""
    is_short: bool = False
    """The files lack lines that they should have: they may be there at another look."""


class Harvester:
    """Reads output and error files as streams. One object serves all batches of a run."""

    def __init__(
        self,
        route: BatchRoute,
        *,
        book: BatchBook,
        stages: Stages,
        bookkeeper: Bookkeeper,
        tally: Tally,
    ) -> None:
        self._route = route
        self._book = book
        self._settler = stages.settler
        self._budget = stages.ceilings.budget
        self._clock = stages.clock
        # a repair would wait another day: another try is as soon there
        self._policy = replace(stages.asking.policy, may_repair=False)
        self._requires_model = stages.asking.requires_model
        self._bookkeeper = bookkeeper
        self._tally = tally

    async def harvest(
        self, batch: Batch, report: BatchReport, brought: Yield, *, is_last_look: bool
    ) -> None:
        """Settle every line of a batch that is over.

        Args:
            batch: that is over.
            report: how it ended, and where its answers are.
            brought: what it brought so far; ``is_short`` says that it is to be looked at again.
            is_last_look: what the files still lack is lost.

        Raises:
            AskError: a file could not be read to its end; what was read is settled.
            EnvironmentFault: the ledger failed.
        """
        reading = await self._route.read_answers(batch.version_id)
        for file_id in (report.output_file, report.error_file):
            if file_id is None:
                continue
            lines: list[BatchLine] = []
            async for line in self._route.desk.read_lines(file_id, model=batch.model):
                lines.append(line)
                if len(lines) == _AT_ONCE:
                    await self._settle_lines(batch, lines, reading, brought)
                    lines = []
            await self._settle_lines(batch, lines, reading, brought)
        missing = await self._book.count_lines(batch.id)
        is_lost = _has_lost(batch, report, missing)
        brought.is_short = is_lost and not is_last_look
        if brought.is_short:
            return
        if missing:
            await self._settle_unnamed(batch, reading, brought, is_lost=is_lost)
        brought.pause = brought.pause or _explain_failure(batch, brought)

    async def _settle_lines(
        self, batch: Batch, lines: Sequence[BatchLine], reading: BatchReading, brought: Yield
    ) -> None:
        # an answer is paid for, whatever another line says of the same picture
        ranked = sorted(filter(_may_be_ours, lines), key=lambda one: isinstance(one, Answered))
        named = {AttemptId(int(line.custom_id)): line for line in ranked}
        found = await self._book.find_lines(batch.id, list(named)) if named else {}
        await self._settle_all(
            batch,
            [
                (line, self._weigh(batch, named[attempt_id], line, brought, reading=reading))
                for attempt_id, line in found.items()
            ],
            reading,
        )

    async def _settle_unnamed(
        self, batch: Batch, reading: BatchReading, brought: Yield, *, is_lost: bool
    ) -> None:
        """Lines that are in neither file: not worked on where the batch ended early; else lost."""
        if is_lost:
            self._tally.warn(
                f"the files of batch {batch.remote_id} lack lines that it was given; "
                "they may have been billed and are asked again"
            )
        while lines := await self._book.list_lines(batch.id, limit=_AT_ONCE):
            brought.again += len(lines)
            outcomes = [
                _put_off(
                    Cause.LOST if is_lost else Cause.EXPIRED,
                    f"the files of batch {batch.remote_id} do not name it",
                    may_be_billed=is_lost,
                    next_step=line.job.next_step,
                )
                for line in lines
            ]
            await self._settle_all(batch, list(zip(lines, outcomes, strict=True)), reading)

    async def _settle_all(
        self,
        batch: Batch,
        settled: Sequence[tuple[OpenLine, Outcome]],
        reading: BatchReading,
    ) -> None:
        """Hand all in at once, so that they are written together.

        Raises:
            EnvironmentFault: the ledger does not take them.
        """
        faults: list[EnvironmentFault] = []

        async def settle(line: OpenLine, outcome: Outcome) -> None:
            try:
                await self._settle(batch, line, outcome, reading)
            except EnvironmentFault as fault:
                faults.append(fault)

        async with anyio.create_task_group() as group:
            for line, outcome in settled:
                group.start_soon(settle, line, outcome)
        if faults:
            raise faults[0]

    def _weigh(
        self,
        batch: Batch,
        line: BatchLine,
        asked: OpenLine,
        brought: Yield,
        *,
        reading: BatchReading,
    ) -> Outcome:
        """What becomes of a line's picture."""
        try:
            if isinstance(line, Unanswered):
                raise line.error
            outcome: Outcome = self._accept(batch, line, asked, reading)
            brought.answers += 1
        except AskError as error:
            is_useless = error.response is not None or error.cause in AnswersUnusable.blames
            brought.useless += is_useless
            brought.troubled += not is_useless and error.cause in _TROUBLES
            outcome = self._judge(error, asked)
            brought.again += isinstance(outcome, Deferred)
        except RunPaused as pause:
            brought.pause = brought.pause or pause
            brought.again += 1
            outcome = _put_off(Cause.PAUSED, str(pause), next_step=asked.job.next_step)
        return outcome

    def _accept(
        self, batch: Batch, line: Answered, asked: OpenLine, reading: BatchReading
    ) -> Tagged:
        """Read an answer.

        Raises:
            AskError: it is of no use.
        """
        response = line.response
        if not is_same_model(batch.model, response.model):
            self._tally.substituted += 1
            if self._requires_model:
                raise ModelSubstituted(
                    f"{response.model} answered, not {batch.model}, and "
                    "provider.require_model is exact",
                    response=response,
                    request_id=response.request_id,
                )
        answer, confidence = reading.reader.read(response)
        self._bookkeeper.suspects.note_answer(is_good=True)
        return Tagged(answer=answer, confidence=confidence, spend=self._price(response, asked))

    def _judge(self, error: AskError, asked: OpenLine) -> Outcome:
        """Whether a line is to be sent again, and as what."""
        spend = None if error.response is None else self._price(error.response, asked)
        if error.response is not None:
            self._bookkeeper.suspects.note_answer(is_good=False)
        if isinstance(error, LineExpired):
            return _put_off(error.cause, str(error), next_step=asked.job.next_step)
        decision = decide(error, self._describe_try(error, asked), self._policy)
        match decision:
            case MoreRoom():
                return _put_off(error.cause, str(error), spend=spend, next_step="more_room")
            case Wait(counts=counts):
                return _put_off(
                    error.cause,
                    str(error),
                    spend=spend,
                    counts=counts,
                    may_be_billed=error.may_be_billed,
                    next_step=asked.job.next_step,
                )
        return give_up(error, spend)

    def _describe_try(self, error: AskError, asked: OpenLine) -> Attempt:
        tries = asked.job.attempts + 1
        return Attempt(
            tries=tries,
            chance=self._clock.chance(),
            bad_answers=tries if isinstance(error, InvalidAnswer) else 0,
            had_more_room=asked.step == "more_room",
        )

    def _price(self, response: VisionResponse, asked: OpenLine) -> Spend:
        pricing, usage = self._route.pricing, response.usage
        if response.usage_is_estimated:
            usage = TokenUsage(input=asked.quote.input, output=asked.quote.output)
        return Spend(
            usage=usage,
            cost=pricing.cost(usage, model=response.model, tier=_BATCH),
            model=response.model,
            service_tier=_BATCH,
            usage_is_estimated=response.usage_is_estimated,
            request_id=response.request_id,
            saved=pricing.saving(usage, model=response.model, tier=_BATCH),
        )

    async def _settle(
        self, batch: Batch, line: OpenLine, outcome: Outcome, reading: BatchReading
    ) -> None:
        tagged = outcome if isinstance(outcome, Tagged) else None
        settlement = Settlement(
            job=line.job,
            outcome=outcome,
            settled_at_ms=self._clock.now_ms(),
            attempt_id=line.attempt_id,
            request_key=line.request_key,
            tags=reading.flat_tags(tagged.answer) if tagged else (),
            review=reading.review_of(tagged.confidence) if tagged else ReviewState.NONE,
            version_id=batch.version_id,
        )
        if isinstance(outcome, Failed):
            self._bookkeeper.suspects.add(line.job.id, outcome.cause, self._route.name)
        with anyio.CancelScope(shield=True):
            is_ours = await self._settler.settle(settlement)
            self._budget.settle(NanoDollars(line.reserved_nanos), cost_of(outcome))
        if is_ours:
            self._tally.add_outcome(outcome)
        else:
            self._tally.add_late(outcome)
        asked = Asked(
            job=line.job.id, step=line.step, quote=line.quote, pricing=self._route.pricing
        )
        self._tally.note_difference(asked, outcome)


def _may_be_ours(line: BatchLine) -> bool:
    number = line.custom_id
    is_number = number.isascii() and number.isdecimal() and len(number) <= len(str(_MOST_ID))
    return is_number and int(number) <= _MOST_ID


def _explain_failure(batch: Batch, brought: Yield) -> RunPaused | None:
    """Why a batch without one answer is no accident; None where it may be."""
    if brought.answers:
        return None
    if brought.useless >= _TELLING:
        return AnswersUnusable(
            f"not one of {brought.useless:,} answers of batch {batch.remote_id} could be used "
            "(see tagpipe errors): the next batch would be paid for in vain. Try a few "
            "pictures with --sample 20, mend the profile, and run the same command again"
        )
    if brought.troubled >= _TELLING:
        return ServerDown(
            f"the server failed each of {brought.troubled:,} lines of batch {batch.remote_id} "
            "(see tagpipe errors): the next batch would fare no better. Run the same command "
            "again when it is well"
        )
    return None


def _has_lost(batch: Batch, report: BatchReport, missing: int) -> bool:
    """Whether lines that no file names may have been answered, and billed."""
    if report.state is RemoteState.COMPLETED:
        return missing > 0
    return missing > max(0, batch.lines - report.completed)


def _put_off(
    cause: Cause,
    message: str,
    *,
    spend: Spend | None = None,
    counts: bool = False,
    may_be_billed: bool = False,
    next_step: str | None = None,
) -> Deferred:
    """The picture goes into another batch."""
    return Deferred(
        cause=cause,
        message=message,
        not_before=AT_ONCE,
        spend=spend,
        counts=counts,
        may_be_billed=may_be_billed,
        next_step=next_step,
    )
