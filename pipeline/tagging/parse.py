"""Reads a provider's response into an answer that fits the profile, or says why it does not."""

from typing import Any, TypeVar

import jsonschema_rs
import orjson

from pipeline.config.fields import (
    BooleanField,
    KeywordsField,
    ManyOfField,
    NumberField,
    OneOfField,
    ProfileField,
    TextField,
)
from pipeline.config.profiles import CONFIDENCE, Profile
from pipeline.domain.errors import (
    AnswerCut,
    AskError,
    BrokenJson,
    ContentFiltered,
    ContentRefused,
    InvalidAnswer,
    NoAnswer,
)
from pipeline.domain.vision import Answer, FinishReason, VisionResponse
from pipeline.tagging.normalize import Normalizer
from pipeline.tagging.schema import as_json_number, build_schema

_E = TypeVar("_E", bound=AskError)

_LONGEST_SHOWN = 40
_LONGEST_REFUSAL = 200
_MOST_VALUES_SHOWN = 8


class AnswerReader:
    """Built once for a run; reads any number of responses.

    Args:
        profile: what was asked.
        allow_empty: the provider may leave any field null (it cannot see what a model sees).
    """

    def __init__(self, profile: Profile, *, allow_empty: bool) -> None:
        self._profile = profile
        self._allow_empty = allow_empty
        self._normalizer = Normalizer(profile)
        self._validator = jsonschema_rs.validator_for(
            build_schema(profile, allow_empty=allow_empty)
        )

    def read(self, response: VisionResponse) -> tuple[Answer, float | None]:
        """The answer, in field order, and the model's own confidence from 0 to 1 if asked for.

        Raises:
            ContentRefused: the model declined.
            ContentFiltered: the provider's filter stopped the answer.
            AnswerCut: the answer ended at the token limit.
            NoAnswer: no words.
            BrokenJson: no JSON object, or none that is whole.
            InvalidAnswer: an object that breaks the schema.
        """
        _check_finish(response)
        answer = self._normalizer.normalize(self._fill(_extract_object(response)))
        fault = next(self._validator.iter_errors(answer), None)
        if fault is not None:
            explained = self._explain(answer, list(fault.instance_path))
            raise _fault(InvalidAnswer, explained, response)
        confidence = answer.pop(CONFIDENCE) if self._profile.confidence == "self" else None
        return answer, None if confidence is None else float(confidence)

    def _fill(self, answer: dict[str, Any]) -> dict[str, Any]:
        if not self._allow_empty:
            return answer
        names = [*self._profile.fields]
        if self._profile.confidence == "self":
            names.append(CONFIDENCE)
        return dict.fromkeys(names) | answer

    def _explain(self, answer: dict[str, Any], path: list[str | int]) -> str:
        """Which field broke which rule; never the whole answer."""
        if not path:
            return self._explain_names(answer)
        name, value = str(path[0]), answer[str(path[0])]
        field = self._profile.fields.get(name)
        rule = "must be a number from 0 to 1" if field is None else _write_rule(field)
        empty = " or null" if field is not None and (field.optional or self._allow_empty) else ""
        return f"{name}: {_show(_offending(field, value, path))} is not allowed; {rule}{empty}"

    def _explain_names(self, answer: dict[str, Any]) -> str:
        asked = [*self._profile.fields]
        if self._profile.confidence == "self":
            asked.append(CONFIDENCE)
        missing = ", ".join(name for name in asked if name not in answer)
        if missing:
            return f"the answer lacks {missing}"
        unknown = [name for name in answer if name not in asked]
        return f"the answer has fields nobody asked for: {_show(', '.join(unknown))}"


def _check_finish(response: VisionResponse) -> None:
    if response.refusal or response.finish is FinishReason.REFUSAL:
        words = f": {_shorten(response.refusal, _LONGEST_REFUSAL)}" if response.refusal else ""
        raise _fault(ContentRefused, f"the model declined{words}", response)
    if response.finish is FinishReason.CONTENT_FILTER:
        raise _fault(ContentFiltered, "the provider's content filter stopped the answer", response)
    if response.finish is FinishReason.LENGTH:
        message = f"the answer was cut after {response.usage.output} output tokens"
        raise _fault(AnswerCut, message, response)


def _extract_object(response: VisionResponse) -> dict[str, Any]:
    """The one JSON object in the text; fences and prose around it are ignored."""
    text = response.text or ""
    if not text.strip():
        raise _fault(NoAnswer, "the answer is empty", response)
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise _fault(BrokenJson, "the answer holds no JSON object", response)
    try:
        answer: dict[str, Any] = orjson.loads(text[start : end + 1])
    except ValueError as error:
        raise _fault(BrokenJson, f"the answer is not valid JSON: {error}", response) from error
    return answer


def _fault(kind: type[_E], message: str, response: VisionResponse) -> _E:
    return kind(message, response=response, request_id=response.request_id, rates=response.rates)


def _offending(field: ProfileField | None, value: Any, path: list[str | int]) -> Any:
    """The list's item at fault, where one is, else the field's value."""
    if not isinstance(value, list):
        return value
    if len(path) > 1 and isinstance(path[1], int):
        return value[path[1]]
    allowed = {choice.value for choice in field.values} if isinstance(field, ManyOfField) else None
    for item in value:
        if not isinstance(item, str) or (allowed is not None and item not in allowed):
            return item
    return value


def _write_rule(field: ProfileField) -> str:
    match field:
        case TextField():
            return "must be text"
        case BooleanField():
            return "must be true or false"
        case NumberField():
            return _write_number_rule(field)
        case OneOfField() | ManyOfField():
            return (
                f"must be {'one' if isinstance(field, OneOfField) else 'a list'} of "
                + ", ".join(_shown_values(field))
            )
        case KeywordsField():
            return "must be a list of texts"


def _shown_values(field: OneOfField | ManyOfField) -> list[str]:
    values = [choice.value for choice in field.values]
    rest = len(values) - _MOST_VALUES_SHOWN
    more = [f"… ({rest} more)"] if rest > 0 else []
    return values[:_MOST_VALUES_SHOWN] + more


def _write_number_rule(field: NumberField) -> str:
    kind = "a whole number" if field.integer else "a number"
    least = "" if field.min is None else f", at least {as_json_number(field.min)}"
    most = "" if field.max is None else f", at most {as_json_number(field.max)}"
    return f"must be {kind}{least}{most}"


def _show(value: Any) -> str:
    return _shorten(orjson.dumps(value).decode(), _LONGEST_SHOWN)


def _shorten(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
