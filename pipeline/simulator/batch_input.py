"""A batch's input file: looked over line by line, and read again one line at a time."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from pipeline.simulator.batches import BatchWish, InputFault
from pipeline.simulator.errors import ApiError

MAX_INPUT_BYTES: Final = 200_000_000
MAX_LINES: Final = 50_000
"""Requests of one batch (batch guide, 2026-09)."""
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""As much as a request of its own may have."""
_MOST_FAULTS: Final = 100
"""Told of one batch; the rest would say nothing else."""
_UNPARSEABLE: Final = "This line is not parseable as valid JSON."

CountTokens = Callable[[bytes], int]


@dataclass(slots=True, kw_only=True)
class Survey:
    """What is known of an input file, as far as it has been looked over."""

    model: str | None = None
    tokens: int = 0
    """Of the input, where they are counted."""
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where each line begins, in bytes."""
    faults: list[InputFault] = field(default_factory=list)
    position: int = 0
    line: int = 0
    """Last one that was looked at, from 1, empty ones included."""
    is_whole: bool = False
    custom_ids: set[str] = field(default_factory=set)


class Surveyor:
    """Looks a file over in steps, each of which takes CPU and belongs in a thread."""

    def __init__(
        self,
        path: Path,
        wish: BatchWish,
        knows_model: Callable[[str], bool],
        *,
        count_tokens: CountTokens | None = None,
    ) -> None:
        self._path = path
        self._wish = wish
        self._knows_model = knows_model
        self._count_tokens = count_tokens
        self.survey = Survey()

    def step(self, lines: int) -> bool:
        """Look at so many more lines; returns whether that was the end."""
        survey = self.survey
        with self._path.open("rb") as file:
            file.seek(survey.position)
            for _ in range(lines):
                if survey.is_whole:
                    break
                self._take(file.readline(MAX_LINE_BYTES + 1))
        return survey.is_whole

    def _take(self, text: bytes) -> None:
        survey = self.survey
        start = survey.position
        survey.position += len(text)
        if not text:
            self._finish()
            return
        survey.line += 1
        if not text.strip():
            return
        if len(survey.offsets) == MAX_LINES:
            message = f"The batch input file contains more than {MAX_LINES} requests."
            self._stop(InputFault(code="too_many_tasks", message=message))
            return
        survey.offsets.append(start)
        self._check(text)
        if len(survey.faults) >= _MOST_FAULTS or len(text) > MAX_LINE_BYTES:
            survey.is_whole = True

    def _finish(self) -> None:
        survey = self.survey
        survey.is_whole = True
        survey.custom_ids.clear()
        if not survey.offsets:
            message = "The input file is empty. Please ensure that the batch contains at least one "
            self._stop(InputFault(code="empty_file", message=f"{message}request."))

    def _stop(self, fault: InputFault) -> None:
        self.survey.faults.append(fault)
        self.survey.is_whole = True

    def _check(self, text: bytes) -> None:
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            line = None
        if not isinstance(line, dict):
            self._blame("invalid_json_line", _UNPARSEABLE)
            return
        fault = self._find_envelope_fault(line) or self._find_body_fault(line)
        if fault:
            self._blame(*fault)
        elif self._count_tokens is not None:
            self.survey.tokens += self._count_tokens(orjson.dumps(line["body"]))

    def _blame(self, code: str, message: str, param: str | None = None) -> None:
        self.survey.faults.append(
            InputFault(code=code, message=message, line=self.survey.line, param=param)
        )

    def _find_envelope_fault(self, line: dict[str, Any]) -> tuple[str, str, str] | None:
        for param, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if not isinstance(line.get(param), kind):
                message = f"Missing required parameter: '{param}'."
                return "missing_required_parameter", message, param
        custom_id, seen = line["custom_id"], self.survey.custom_ids
        if custom_id in seen:
            message = (
                f"The custom_id '{custom_id}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            return "duplicate_custom_id", message, "custom_id"
        seen.add(custom_id)
        if line["method"] != "POST":
            return "invalid_method", "The method of each request must be 'POST'.", "method"
        if line["url"] != self._wish.endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            return "url_mismatch", message, "url"
        return None

    def _find_body_fault(self, line: dict[str, Any]) -> tuple[str, str, str] | None:
        survey, model = self.survey, line["body"].get("model")
        if not isinstance(model, str) or not model:
            message = "Missing required parameter: 'body.model'."
            return "missing_required_parameter", message, "body.model"
        if survey.model is None:
            survey.model = model
            if not self._knows_model(model):
                message = f"The provided model '{model}' is not supported by the Batch API."
                return "model_not_found", message, "body.model"
        if model != survey.model:
            message = (
                f"The provided model '{model}' does not match the model '{survey.model}' of the "
                "other requests. A batch may have one model."
            )
            return "mismatched_model", message, "body.model"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLine:
    """One line that passed."""

    custom_id: str
    body: bytes


def read_line(path: Path, offset: int) -> InputLine:
    """Read the line that begins there."""
    with path.open("rb") as file:
        file.seek(offset)
        line = orjson.loads(file.readline(MAX_LINE_BYTES + 1))
    return InputLine(custom_id=line["custom_id"], body=orjson.dumps(line["body"]))


def count_tokens_with(think_of: Callable[[bytes], int]) -> CountTokens:
    """Count none for a request that would be refused."""

    def count(body: bytes) -> int:
        try:
            return think_of(body)
        except ApiError:
            return 0

    return count
