"""The official SDK, with strict validation of every document, takes the simulator for the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio.to_thread
import openai
import pybase64
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pictures import jpeg
from pydantic import BaseModel

from pipeline.simulator.answers import expected_answer
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

PICTURE = jpeg(320, 240)
URL = f"data:image/jpeg;base64,{pybase64.b64encode(PICTURE).decode()}"
KEY = "sk-of-the-tests"


class Part(BaseModel):
    name: str
    share: float | None


class Tags(BaseModel):
    title: str
    colors: list[Literal["red", "green", "blue"]]
    mood: Literal["calm", "busy"] | None
    parts: list[Part]


CHAT: dict[str, Any] = {
    "model": "gpt-5.6-luna",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Tag this."},
                {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            ],
        }
    ],
}
RESPONSES: dict[str, Any] = {
    "model": "gpt-5.6-luna",
    "instructions": "Tag the picture.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Tag this."},
                {"type": "input_image", "image_url": URL, "detail": "original"},
            ],
        }
    ],
}


@asynccontextmanager
async def open_client(**behavior: Any) -> AsyncIterator[tuple[AsyncOpenAI, Simulator]]:
    async with (
        Simulator(Behavior(**behavior)) as simulator,
        AsyncOpenAI(
            api_key=KEY,
            base_url=simulator.base_url,
            max_retries=0,
            timeout=20,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client, simulator


async def ask_in_thread(simulator: Simulator, ask: Callable[[OpenAI], Any]) -> Any:
    def work() -> Any:
        with OpenAI(
            api_key=KEY,
            base_url=simulator.base_url,
            max_retries=0,
            timeout=20,
            _strict_response_validation=True,
        ) as client:
            return ask(client)

    return await anyio.to_thread.run_sync(work)


async def test_chat_answer_is_whole() -> None:
    async with open_client() as (client, _):
        answer = await client.chat.completions.create(**CHAT)
    assert isinstance(answer, ChatCompletion)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.image_tokens == 96
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.service_tier == "default"


async def test_response_is_whole() -> None:
    async with open_client() as (client, _):
        answer = await client.responses.create(**RESPONSES)
    assert isinstance(answer, Response)
    assert answer.status == "completed"
    assert "320 x 240" in answer.output_text
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.instructions == "Tag the picture."


async def test_sync_client_gets_the_same_answers() -> None:
    async with open_client() as (client, simulator):
        chat = await ask_in_thread(simulator, lambda sync: sync.chat.completions.create(**CHAT))
        response = await ask_in_thread(simulator, lambda sync: sync.responses.create(**RESPONSES))
        again = await client.chat.completions.create(**CHAT)
    assert chat.choices[0].message.content == response.output_text
    assert again.choices[0].message.content == response.output_text


async def test_parse_helpers_read_a_model() -> None:
    async with open_client(seed=5) as (client, simulator):
        chat = await client.chat.completions.parse(**CHAT, response_format=Tags)
        response = await client.responses.parse(**RESPONSES, text_format=Tags)
        sync = await ask_in_thread(
            simulator, lambda sync: sync.responses.parse(**RESPONSES, text_format=Tags)
        )
        echoed: Any = response.text
    tags = chat.choices[0].message.parsed
    assert tags == response.output_parsed == sync.output_parsed
    assert tags
    assert tags.model_dump() == expected_answer(echoed.format.schema_, PICTURE, 5)


async def test_answer_about_another_picture_differs() -> None:
    other = f"data:image/jpeg;base64,{pybase64.b64encode(jpeg(320, 240, seed=1)).decode()}"
    content = [{"type": "input_image", "image_url": other, "detail": "low"}]
    async with open_client() as (client, _):
        one = await client.responses.create(**RESPONSES)
        two = await client.responses.create(
            model="sim-any", input=[{"role": "user", "content": content}]
        )
    assert one.output_text != two.output_text


async def test_cut_answers_are_marked() -> None:
    async with open_client() as (client, _):
        chat = await client.chat.completions.create(**CHAT, max_completion_tokens=4)
        response = await client.responses.create(**RESPONSES, max_output_tokens=16)
        with pytest.raises(openai.LengthFinishReasonError):
            await client.chat.completions.parse(
                **CHAT, response_format=Tags, max_completion_tokens=4
            )
    assert chat.choices[0].finish_reason == "length"
    assert chat.usage
    assert chat.usage.completion_tokens == 4
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_refusals_are_marked() -> None:
    async with open_client(refused=1) as (client, _):
        chat = await client.chat.completions.parse(**CHAT, response_format=Tags)
        response = await client.responses.create(**RESPONSES)
    assert chat.choices[0].message.refusal
    assert chat.choices[0].message.content is None
    part: Any = response.output[0]
    assert part.content[0].type == "refusal"


async def test_tier_that_answers_is_reported_and_priced() -> None:
    async with open_client() as (client, simulator):
        flex = await client.responses.create(**RESPONSES, service_tier="flex")
        default = await client.responses.create(**RESPONSES)
    assert (flex.service_tier, default.service_tier) == ("flex", "default")
    half, full = (line["cost_nano"] for line in simulator.books.list_after(0))
    assert full == 2 * half > 0


@pytest.mark.parametrize(
    ("behavior", "change", "error", "code"),
    [
        ({"require_key": "sk-other"}, {}, openai.AuthenticationError, "invalid_api_key"),
        ({}, {"model": "gpt-0"}, openai.NotFoundError, "model_not_found"),
        ({"retire": True}, {"model": "o4-mini"}, openai.NotFoundError, "model_not_found"),
        ({}, {"service_tier": "turbo"}, openai.BadRequestError, "invalid_value"),
        ({"rate_limited": 1}, {}, openai.RateLimitError, "rate_limit_exceeded"),
        ({"server_error": 1}, {}, openai.InternalServerError, None),
        ({"overloaded": 1}, {}, openai.InternalServerError, "server_is_overloaded"),
        ({"bad_gateway": 1}, {}, openai.InternalServerError, None),
        ({"slow_down": 1}, {}, openai.RateLimitError, "slow_down"),
        ({"no_quota": 1}, {}, openai.RateLimitError, "insufficient_quota"),
        (
            {"flex_shortage": 1},
            {"service_tier": "flex"},
            openai.RateLimitError,
            "resource_unavailable",
        ),
        ({"tokens_per_minute": 10}, {}, openai.RateLimitError, "rate_limit_exceeded"),
        ({"refuse_all": "bad_key"}, {}, openai.AuthenticationError, "invalid_api_key"),
        (
            {"refuse_all": "forbidden"},
            {},
            openai.PermissionDeniedError,
            "unsupported_country_region_territory",
        ),
        ({"refuse_all": "no_model"}, {}, openai.NotFoundError, "model_not_found"),
        ({"refuse_all": "no_credit"}, {}, openai.RateLimitError, "credit_balance_exhausted"),
        ({"refuse_all": "down"}, {}, openai.InternalServerError, "server_is_overloaded"),
    ],
)
async def test_errors_become_the_exceptions_of_the_sdk(
    behavior: dict[str, Any],
    change: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str | None,
) -> None:
    async with open_client(**behavior) as (client, _):
        with pytest.raises(error) as chat:
            await client.chat.completions.create(**CHAT | change)
        with pytest.raises(error) as response:
            await client.responses.create(**RESPONSES | change)
    assert chat.value.code == response.value.code == code
    assert chat.value.request_id


async def test_rate_limit_carries_its_headers() -> None:
    async with open_client(rate_limited=1, retry_after_ms=1500) as (client, _):
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(**RESPONSES)
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")


async def test_cut_body_is_a_connection_error() -> None:
    async with open_client(cut_body=1) as (client, simulator):
        with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"):
            await client.chat.completions.create(**CHAT)
    assert simulator.books.answered == 0
    assert simulator.books.cost_nano["gpt-5.6-luna"] > 0


async def test_hung_request_times_out() -> None:
    async with open_client(hang=1) as (client, simulator):
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=1).chat.completions.create(**CHAT)
    # leaving the server ends whatever the client's own leaving has not ended yet
    assert simulator.books.summarize()["by_status"] == {"none": 1}
    assert not simulator.books.cost_nano


async def test_models_are_listed_and_shown() -> None:
    async with open_client(retire=True) as (client, _):
        names = [model.id async for model in client.models.list()]
        shown = await client.models.retrieve("gpt-5.6-luna")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("o4-mini")
    assert shown.id in names
    assert "o4-mini" not in names


async def test_right_key_is_accepted() -> None:
    async with open_client(require_key=KEY) as (client, _):
        assert await client.responses.create(**RESPONSES)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").models.list()


async def test_substitute_and_lower_tier_are_reported() -> None:
    async with open_client(substituted=1, substitute_model="gpt-4o") as (client, _):
        chat = await client.chat.completions.create(**CHAT)
        response = await client.responses.create(**RESPONSES)
    async with open_client(downgraded=1) as (client, _):
        lower = await client.responses.create(**RESPONSES, service_tier="flex")
    assert chat.model == response.model == "gpt-4o"
    assert lower.service_tier == "default"


@pytest.mark.parametrize("fault", ["no_choices", "empty_answer", "content_filter", "cut_answer"])
async def test_odd_answers_are_documents_of_the_api(fault: str) -> None:
    async with open_client(**{fault: 1}) as (client, simulator):
        chat = await client.chat.completions.create(**CHAT)
        response = await client.responses.create(**RESPONSES)
    assert chat.usage
    assert response.usage
    assert simulator.books.delivered.requests == 2


async def test_cache_parameters_and_usage_go_through_the_sdk() -> None:
    words = {"type": "input_text", "text": "Catalogue what can be seen. " * 200}
    marked = {**words, "prompt_cache_breakpoint": {"mode": "explicit"}}
    asked = {
        "model": "gpt-5.6-luna",
        "input": [{"role": "developer", "content": [marked]}, *RESPONSES["input"]],
        "prompt_cache_key": "job",
        "extra_body": {"prompt_cache_options": {"mode": "explicit"}},
    }
    async with open_client() as (client, simulator):
        answers = [await client.responses.create(**asked) for _ in range(2)]
    first, second = (answer.usage.input_tokens_details for answer in answers)
    assert first.cache_write_tokens == second.cached_tokens > 1024
    assert first.cached_tokens == second.cache_write_tokens == 0
    assert simulator.books.usage.cached == second.cached_tokens


@pytest.mark.parametrize("fault", ["reset", "bad_body"])
async def test_broken_answers_raise_in_the_sdk(fault: str) -> None:
    async with open_client(**{fault: 1}) as (client, simulator):
        with pytest.raises(Exception, match=r"(?i)connection|json|expecting|unterminated"):
            await client.chat.completions.create(**CHAT)
    assert simulator.books.undelivered.requests == 1
    assert simulator.books.delivered.requests == 0
