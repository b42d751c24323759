"""The offline analyser as a provider: measures what pixels tell, and leaves the rest empty."""

from typing import Final

import anyio
import anyio.to_thread
import orjson

from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import FinishReason, VisionRequest, VisionResponse
from pipeline.providers.local.answers import answer_fields
from pipeline.providers.local.text import TextReader

LOCAL_MODEL: Final = "local-1"
"""Its model name. Raise the number when answers change, and stored ones go stale."""


class LocalProvider:
    """Answers from measurements alone: no network, no key, no price.

    Args:
        limiter: bounds the worker threads that decode and measure; share the one that bounds
            all picture work, so that cores are not claimed twice.
    """

    def __init__(self, *, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._reader = TextReader()

    @property
    def name(self) -> str:
        return "local"

    @property
    def reads_metadata(self) -> bool:
        return True

    @property
    def is_partial(self) -> bool:
        return True

    async def ask(self, request: VisionRequest) -> VisionResponse:
        """Measure one picture in a worker thread.

        Raises:
            RequestRejected: the prepared bytes cannot be decoded.
        """
        text = await anyio.to_thread.run_sync(self._answer, request, limiter=self._limiter)
        return VisionResponse(
            text=text, finish=FinishReason.STOP, usage=TokenUsage(), model=LOCAL_MODEL
        )

    def _answer(self, request: VisionRequest) -> str:
        answer = answer_fields(request.question.fields, request.image, self._reader)
        return orjson.dumps(answer).decode()
