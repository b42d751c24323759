"""The pair that crosses to a provider: what is asked, and what came back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from pipeline.domain.images import PreparedImage
from pipeline.domain.rates import RateReading
from pipeline.domain.usage import TokenUsage

Answer: TypeAlias = Mapping[str, Any]
"""Field name to value, as the profile's schema has it: JSON types only."""


class Detail(StrEnum):
    """How closely the model looks; decides image tokens."""

    LOW = "low"
    HIGH = "high"
    ORIGINAL = "original"
    AUTO = "auto"


class ServiceTier(StrEnum):
    """The lane asked for, and the lane that answered: it decides the price."""

    AUTO = "auto"
    DEFAULT = "default"
    FLEX = "flex"
    BATCH = "batch"
    """No lane of a single request: many go in one file (``domain.batches``)."""
    PRIORITY = "priority"


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldQuestion:
    """One field as a provider that measures instead of reading instructions sees it."""

    name: str
    type: str
    """``text | one_of | many_of | keywords | number | boolean``."""
    measure: str | None
    """The measurement that fills it (see ``providers.local``); None when only a model can know."""
    values: tuple[str, ...] = ()
    max_items: int | None = None


class PromptCaching(StrEnum):
    """How the words that all requests share are kept by the server."""

    NONE = "none"
    """Nothing is said: the server does as it likes."""
    KEYED = "keyed"
    """A key brings requests with the same words to the same cache; the server finds the rest."""
    MARKED = "marked"
    """The end of the shared words is marked, so that no picture is paid for as written."""
    OFF = "off"
    """Marked mode without a mark: the shared words are too few to be kept, nothing is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A profile compiled: the same for every image of a run, byte for byte."""

    name: str
    """Schema name: 1 to 64 of ``A-Z a-z 0-9 _ -``."""
    instructions: str
    schema: bytes = field(repr=False)
    """Strict JSON Schema as compact JSON."""
    fields: tuple[FieldQuestion, ...]
    model: str
    detail: Detail
    max_output_tokens: int
    fingerprint: str
    """Hex sha256 over instructions, schema, model, detail, output limit and preprocessing."""
    caching: PromptCaching = PromptCaching.NONE
    """No part of the fingerprint: it changes what is paid, not what is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """An answer that broke the schema, to be put right without sending the picture again."""

    answer: str
    """As the model wrote it."""
    complaint: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionRequest:
    """One question about one picture."""

    question: Question
    image: PreparedImage
    service_tier: ServiceTier = ServiceTier.AUTO
    note: str = ""
    """Words about this image only; put after everything that can be cached."""
    repair: Repair | None = None
    """Set: the picture is not sent, the answer is to be put right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionResponse:
    """A successful (and billed) answer; refusals and cut answers are answers too."""

    text: str | None
    finish: FinishReason
    usage: TokenUsage
    usage_is_estimated: bool = False
    """True when the server sent no usage and the numbers are our estimate."""
    model: str
    """The model that answered, as the server names it."""
    service_tier: str | None = None
    refusal: str | None = None
    request_id: str | None = None
    rates: RateReading | None = None
