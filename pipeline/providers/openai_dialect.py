"""One of OpenAI's two APIs as it is spoken: a question's body, and the answer in a document."""

from typing import Any, Final

from pipeline.config.settings import ProviderSettings
from pipeline.domain.rates import RateReading
from pipeline.domain.vision import Question, Repair, ServiceTier, VisionRequest, VisionResponse
from pipeline.providers.openai_chat import (
    CHAT_PATH,
    frame_chat_request,
    read_chat_answer,
    write_chat_repair,
)
from pipeline.providers.openai_responses import (
    RESPONSES_PATH,
    frame_responses_request,
    read_responses_answer,
    write_responses_repair,
)
from pipeline.providers.request_frame import RequestFrame

_MOST_FRAMES: Final = 32


class OpenAIDialect:
    """Speaks the API that ``provider.api`` names, with what all requests share made once.

    Whatever writes a body raises ``ConfigurationError`` where settings and question contradict
    each other.
    """

    def __init__(self, settings: ProviderSettings, *, host: str) -> None:
        self._settings = settings
        self._host = host
        self._frames: dict[tuple[int, ServiceTier], tuple[Question, RequestFrame]] = {}

    @property
    def path(self) -> str:
        """Where questions go, below the base URL."""
        return CHAT_PATH if self._settings.api == "chat" else RESPONSES_PATH

    def write(self, request: VisionRequest) -> tuple[bytes, ...]:
        """The body of a request, in pieces."""
        if request.repair is not None:
            return (self._write_repair(request, request.repair),)
        frame = self.find_frame(request.question, request.service_tier)
        return frame.fill(request.image, request.note)

    async def write_aside(self, request: VisionRequest) -> tuple[bytes, ...]:
        """The same; a big picture is encoded in a thread, so that the loop goes on."""
        if request.repair is not None:
            return self.write(request)
        frame = self.find_frame(request.question, request.service_tier)
        return await frame.fill_aside(request.image, request.note)

    def measure(self, request: VisionRequest) -> int:
        """How many bytes ``write`` makes, without encoding the picture."""
        if request.repair is not None:
            return sum(map(len, self.write(request)))
        frame = self.find_frame(request.question, request.service_tier)
        return frame.measure(request.image, request.note)

    def read(
        self,
        document: Any,
        *,
        request_id: str | None = None,
        asked_model: str = "",
        rates: RateReading | None = None,
    ) -> VisionResponse:
        """Read an answer, whatever shape a compatible server gave it.

        Args:
            document: the parsed body of an HTTP 200.
            request_id: under which the server knows the request.
            asked_model: taken for the model that answered where the server does not say.
            rates: from the headers.

        Raises:
            PipelineError: it reports an error after all, or holds no answer.
        """
        read = read_chat_answer if self._settings.api == "chat" else read_responses_answer
        return read(document, request_id=request_id, asked_model=asked_model, rates=rates)

    def find_frame(self, question: Question, tier: ServiceTier) -> RequestFrame:
        """What surrounds the picture in a request's body."""
        # By identity: hashing a question walks all its fields. Each entry holds its question, so
        # that no other can come to have the same id.
        key = (id(question), tier)
        if key not in self._frames:
            # A run has one question; only a server that asks for many users meets the limit.
            if len(self._frames) >= _MOST_FRAMES:
                self._frames.clear()
            self._frames[key] = question, self._make_frame(question, tier)
        return self._frames[key][1]

    def _make_frame(self, question: Question, tier: ServiceTier) -> RequestFrame:
        if self._settings.api == "responses":
            return frame_responses_request(question, tier, settings=self._settings)
        return frame_chat_request(question, tier, settings=self._settings, host=self._host)

    def _write_repair(self, request: VisionRequest, repair: Repair) -> bytes:
        question, tier, settings = request.question, request.service_tier, self._settings
        if settings.api == "responses":
            return write_responses_repair(question, tier, repair, settings=settings)
        return write_chat_repair(question, tier, repair, settings=settings, host=self._host)
