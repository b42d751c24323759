"""The provider that asks OpenAI, or any server that speaks the same language."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.config.settings import ProviderSettings
from pipeline.domain.errors import AskError
from pipeline.domain.rates import RateReading
from pipeline.domain.vision import Question, VisionRequest, VisionResponse
from pipeline.providers.complaint import read_request_id
from pipeline.providers.errors_map import classify
from pipeline.providers.loose_json import parse_answer
from pipeline.providers.openai_chat import check_chat_detail
from pipeline.providers.openai_dialect import OpenAIDialect
from pipeline.providers.rate_headers import read_rates
from pipeline.providers.transport import Reply, Transport, open_transport

_SUCCESS: Final = range(200, 300)


class OpenAIProvider:
    """Asks one server over one session. No loops, no retries: one question, one request."""

    def __init__(
        self,
        settings: ProviderSettings,
        transport: Transport,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._dialect = OpenAIDialect(settings, host=transport.host)
        self._transport = transport
        self._now = now

    @property
    def name(self) -> str:
        return "openai"

    @property
    def reads_metadata(self) -> bool:
        return False

    @property
    def is_partial(self) -> bool:
        return False

    async def ask(self, request: VisionRequest) -> VisionResponse:
        """Send one request; return the billed answer, whatever it says.

        Raises:
            AskError: this request failed; the class says whether another try may help.
            RunPaused: every request would fail; the run must stop.
            ConfigurationError: settings and profile contradict each other; nothing was sent.
        """
        body = await self._dialect.write_aside(request)
        reply = await self._transport.post(self._dialect.path, body)
        return self._read(reply, asked_model=request.question.model)

    def _read(self, reply: Reply, *, asked_model: str) -> VisionResponse:
        rates = read_rates(reply.headers)
        try:
            return self._read_answer(reply, asked_model=asked_model, rates=rates)
        except AskError as error:
            # Whatever the refusal is about, its headers say how fast the next request may come.
            error.rates = rates
            raise

    def _read_answer(
        self, reply: Reply, *, asked_model: str, rates: RateReading | None
    ) -> VisionResponse:
        if reply.status not in _SUCCESS:
            raise classify(
                reply.status,
                reply.body,
                reply.headers,
                now=self._now(),
                server=self._transport.server,
            )
        request_id = read_request_id(reply.headers)
        document: Any = parse_answer(reply.body, request_id=request_id)
        return self._dialect.read(
            document, request_id=request_id, asked_model=asked_model, rates=rates
        )


def check_question(settings: ProviderSettings, question: Question) -> None:
    """Refuse, before a run starts, what the chosen API cannot be asked.

    Raises:
        ConfigurationError: ``detail: original`` over Chat Completions.
    """
    if settings.api == "chat":
        check_chat_detail(question)


@asynccontextmanager
async def open_openai(
    settings: ProviderSettings, environ: Mapping[str, str]
) -> AsyncIterator[OpenAIProvider]:
    """Open a provider on the server that settings and environment name.

    Raises:
        ConfigurationError: the URL, the key or the proxy cannot be used.
    """
    async with open_transport(settings, environ) as transport:
        yield OpenAIProvider(settings, transport)
