"""Working through a batch: look it over, answer line after line, hand over what came of it."""

import os
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.domain.batches import RemoteState
from pipeline.simulator.batch_input import (
    MAX_INPUT_BYTES,
    Survey,
    Surveyor,
    count_tokens_with,
)
from pipeline.simulator.batch_lines import (
    CANCELLED,
    EXPIRED,
    answer_line,
    read_custom_ids,
    think_of_line,
    write_unanswered,
)
from pipeline.simulator.batches import Batch, BatchRegister, InputFault
from pipeline.simulator.calendar import Calendar
from pipeline.simulator.exchange import think
from pipeline.simulator.files import BATCH_LIFETIME_SECONDS, Paper, Shelf
from pipeline.simulator.mind import Mind

_SURVEY_LINES: Final = 64
"""Looked over in one go, so that a thread is soon free again."""
_LEFT_LINES: Final = 1024
"""Written off in one go."""
_FLUSH_BYTES: Final = 256 * 1024


class Pile:
    """Lines on their way into an output file: gathered, then written in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gathered = bytearray()
        self._size = 0

    async def add(self, text: bytes) -> None:
        self._gathered += text
        if len(self._gathered) >= _FLUSH_BYTES:
            await self._flush()

    async def close(self) -> Paper | None:
        """Write the rest; None when there never was a line."""
        await self._flush()
        return Paper(path=self._path, size=self._size) if self._size else None

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)

    async def _flush(self) -> None:
        text = bytes(self._gathered)
        self._gathered.clear()
        if text:
            await anyio.to_thread.run_sync(_append, self._path, text)
        self._size += len(text)


def _append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


@dataclass(slots=True, kw_only=True)
class _Piles:
    """Both output files of a batch."""

    output: Pile
    errors: Pile

    def discard(self) -> None:
        self.output.discard()
        self.errors.discard()


def shuffle_lines(survey: Survey, batch: Batch) -> "array[int]":
    """Where the lines begin, in the order of working: never that of the file, if there are two."""
    offsets = list(survey.offsets)
    random.Random(f"{batch.behavior.seed}/order/{batch.number}").shuffle(offsets)
    if offsets == list(survey.offsets):
        offsets.reverse()
    return array("Q", offsets)


class BatchWorker:
    """Works on batches, each in a task of its own. Used on one event loop."""

    def __init__(
        self, mind: Mind, shelf: Shelf, register: BatchRegister, calendar: Calendar
    ) -> None:
        self._mind = mind
        self._shelf = shelf
        self._register = register
        self._calendar = calendar
        # of its own: whoever waits for an answer does not wait for a batch
        self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._scopes: dict[str, anyio.CancelScope] = {}

    def start(self, batch: Batch, tasks: TaskGroup) -> None:
        """Lead a batch to its end, in a task of its own."""
        scope = self._scopes[batch.id] = anyio.CancelScope()
        tasks.start_soon(self._work, batch, scope, name=batch.id)

    def drop_all(self) -> None:
        """End all work where it stands; nothing comes of it any more."""
        for scope in self._scopes.values():
            scope.cancel()

    async def _work(self, batch: Batch, scope: anyio.CancelScope) -> None:
        piles = _Piles(output=Pile(self._shelf.make_path()), errors=Pile(self._shelf.make_path()))
        is_handed_over = False
        try:
            with scope:
                await self._lead(batch, piles)
                is_handed_over = True
        finally:
            del self._scopes[batch.id]
            if not is_handed_over:
                piles.discard()
            if batch.source is not None:
                batch.source.unlink(missing_ok=True)

    async def _lead(self, batch: Batch, piles: _Piles) -> None:
        survey = await self._look_over(batch)
        if batch.called_off.is_set():
            await self._cancel(batch)
        elif batch.faults:
            batch.enter(RemoteState.FAILED, self._calendar.now())
        else:
            batch.total = len(survey.offsets)
            batch.enter(RemoteState.IN_PROGRESS, self._calendar.now())
            offsets = await anyio.to_thread.run_sync(
                shuffle_lines, survey, batch, limiter=self._threads
            )
            await self._work_through(batch, offsets, piles)

    async def _look_over(self, batch: Batch) -> Survey:
        survey = Survey()
        if batch.source is None:
            batch.faults = (_find_no_file(batch),)
        elif batch.source.stat().st_size > MAX_INPUT_BYTES:
            message = f"The input file is larger than {MAX_INPUT_BYTES // 1_000_000} MB."
            batch.faults = (InputFault(code="file_too_large", message=message),)
        else:
            survey = await self._survey(batch, batch.source)
        end = batch.created_at + batch.behavior.batch_validating_s
        await self._calendar.sleep_until(end, unless=batch.called_off)
        if not batch.faults:
            fault = self._register.find_quota_fault(batch)
            batch.faults = (fault,) if fault else ()
        return survey

    async def _survey(self, batch: Batch, source: Path) -> Survey:
        find_model = partial(self._mind.find_model, behavior=batch.behavior)

        def count(body: bytes) -> int:
            seed = batch.behavior.seed
            return think(body, batch.wish.api, find_model, seed=seed).input_tokens

        has_quota = batch.behavior.batch_enqueued_tokens is not None
        surveyor = Surveyor(
            source,
            batch.wish,
            lambda name: find_model(name) is not None,
            count_tokens=count_tokens_with(count) if has_quota else None,
        )
        is_whole = False
        while not is_whole and not batch.called_off.is_set():
            is_whole = await anyio.to_thread.run_sync(
                surveyor.step, _SURVEY_LINES, limiter=self._threads
            )
        survey = surveyor.survey
        batch.model, batch.enqueued_tokens = survey.model, survey.tokens
        batch.faults = tuple(survey.faults)
        return survey

    async def _work_through(self, batch: Batch, offsets: "array[int]", piles: _Piles) -> None:
        done = await self._answer_all(batch, offsets, piles)
        left = offsets[done:]
        if not left and not batch.called_off.is_set():
            await self._finalize(batch)
        if batch.called_off.is_set():
            await self._write_off(batch, left, CANCELLED, piles)
            await self._cancel(batch, piles)
        elif left:
            await self._write_off(batch, left, EXPIRED, piles)
            await self._hand_over(batch, piles)
            batch.enter(RemoteState.EXPIRED, self._calendar.now())
        else:
            await self._hand_over(batch, piles)
            batch.enter(RemoteState.COMPLETED, self._calendar.now())

    async def _answer_all(self, batch: Batch, offsets: "array[int]", piles: _Piles) -> int:
        """Work at an even pace; returns how many lines were worked on when time was up."""
        behavior, calendar = batch.behavior, self._calendar
        start, share = calendar.now(), behavior.batch_seconds / len(offsets)
        is_stalled = batch.number <= behavior.stalled_batches
        reach = int(len(offsets) * behavior.stalled_at) if is_stalled else len(offsets)
        for done in range(len(offsets)):
            due = start + (done + 1) * share if done < reach else batch.expires_at
            end = min(due, batch.expires_at)
            await calendar.sleep_until(end, unless=batch.called_off)
            if batch.called_off.is_set() or calendar.now() >= batch.expires_at:
                return done
            await self._answer(batch, offsets[done], piles)
        return len(offsets)

    async def _answer(self, batch: Batch, offset: int, piles: _Piles) -> None:
        thoughts = await anyio.to_thread.run_sync(
            think_of_line, self._mind, batch, offset, limiter=self._threads
        )
        # after a reset nothing of it may reach the new books
        await anyio.lowlevel.checkpoint_if_cancelled()
        line = answer_line(self._mind, batch, thoughts)
        batch.completed += not line.is_error
        batch.failed += line.is_error
        await (piles.errors if line.is_error else piles.output).add(line.text)

    async def _finalize(self, batch: Batch) -> None:
        now = self._calendar.now()
        batch.enter(RemoteState.FINALIZING, now)
        end = now + batch.behavior.batch_finalizing_s
        await self._calendar.sleep_until(end, unless=batch.called_off)

    async def _cancel(self, batch: Batch, piles: _Piles | None = None) -> None:
        begun = batch.times[RemoteState.CANCELLING]
        await self._calendar.sleep_until(begun + batch.behavior.batch_cancelling_s)
        if piles is not None:
            await self._hand_over(batch, piles)
        batch.enter(RemoteState.CANCELLED, self._calendar.now())

    async def _write_off(
        self, batch: Batch, left: Sequence[int], why: tuple[str, str], piles: _Piles
    ) -> None:
        if batch.source is None:
            return
        for start in range(0, len(left), _LEFT_LINES):
            custom_ids = await anyio.to_thread.run_sync(
                read_custom_ids,
                batch.source,
                left[start : start + _LEFT_LINES],
                limiter=self._threads,
            )
            await piles.errors.add(write_unanswered(custom_ids, why))

    async def _hand_over(self, batch: Batch, piles: _Piles) -> None:
        output, errors = await piles.output.close(), await piles.errors.close()
        await anyio.lowlevel.checkpoint_if_cancelled()
        batch.output_file_id = self._add(batch, output, "output")
        batch.error_file_id = self._add(batch, errors, "error")

    def _add(self, batch: Batch, paper: Paper | None, kind: str) -> str | None:
        if paper is None:
            return None
        lifetime = batch.wish.output_lifetime_seconds
        return self._shelf.add(
            paper,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            lifetime_seconds=BATCH_LIFETIME_SECONDS if lifetime is None else lifetime,
        ).id


def _find_no_file(batch: Batch) -> InputFault:
    return InputFault(
        code="invalid_request",
        message=f"Cannot find file {batch.wish.input_file_id}, or organization org-sim does not "
        "have access to it.",
        param="input_file_id",
    )
