"""The provider end to end: a question goes over a real socket and an answer or an error returns."""

import base64
import logging
import traceback
from typing import Any

import anyio
import pytest
from scripted_api import (
    CHAT_ANSWER,
    PLANTED_KEY,
    RESPONSES_ANSWER,
    Play,
    answer,
    cut_after,
    dawdle,
    echo_headers,
    make_image,
    make_question,
    make_settings,
    make_vision_request,
    reset,
    serve,
)

from pipeline.domain.errors import (
    AskError,
    AttemptTimeout,
    ConfigurationError,
    CredentialsRefused,
    NoAnswer,
    PipelineError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    RequestShapeRefused,
    TransportError,
)
from pipeline.domain.rates import Allowance, RateReading
from pipeline.domain.vision import Detail, Repair, ServiceTier, VisionRequest, VisionResponse
from pipeline.providers.base import Provider
from pipeline.providers.credentials import Secret
from pipeline.providers.openai import open_openai

pytestmark = pytest.mark.anyio
ENVIRON = {"OPENAI_API_KEY": PLANTED_KEY}


async def ask(url: str, *requests: VisionRequest, **settings: Any) -> VisionResponse:
    """Ask all at once over one session; the first one's answer."""
    answers: dict[int, VisionResponse] = {}
    async with open_openai(make_settings(base_url=url, **settings), ENVIRON) as provider:

        async def ask_one(place: int, request: VisionRequest) -> None:
            answers[place] = await provider.ask(request)

        if len(requests) < 2:
            return await provider.ask(requests[0] if requests else make_vision_request())
        async with anyio.create_task_group() as tasks:
            for place, request in enumerate(requests):
                tasks.start_soon(ask_one, place, request)
    return answers[0]


async def fail(play: Play, **settings: Any) -> PipelineError:
    """The error that asking this server ends in."""
    async with serve(play) as api:
        with pytest.raises(PipelineError) as caught:
            await ask(api.url, **settings)
    return caught.value


@pytest.mark.parametrize(
    ("api_name", "document", "path"),
    [
        ("chat", CHAT_ANSWER, "/v1/chat/completions"),
        ("responses", RESPONSES_ANSWER, "/v1/responses"),
    ],
)
async def test_question_is_answered(api_name: str, document: Any, path: str) -> None:
    async with serve(answer(document, headers={"x-request-id": "req_5"})) as api:
        response = await ask(api.url, make_vision_request(note="shelf 7"), api=api_name)
    assert (response.text, response.request_id) == ('{"title":"a cat"}', "req_5")
    [received] = api.received
    assert received.path == path
    assert b"shelf 7" in received.body
    assert base64.b64encode(make_image().data) in received.body


async def test_provider_keeps_the_promise_of_its_protocol() -> None:
    async with open_openai(make_settings(base_url="http://localhost"), {}) as opened:
        provider: Provider = opened
        assert (provider.name, provider.reads_metadata, provider.is_partial) == (
            "openai",
            False,
            False,
        )


@pytest.mark.parametrize("size", [999_999, 1_000_001, 6_000_000])
async def test_picture_of_any_size_arrives_whole(size: int) -> None:
    image = make_image(bytes(range(256)) * (size // 256 + 1))
    async with serve(answer(CHAT_ANSWER)) as api:
        await ask(api.url, make_vision_request(image=image, note="shelf 7"))
    note, picture = api.received[0].document["messages"][1]["content"]
    url = picture["image_url"]["url"]
    assert note["text"] == "shelf 7"
    assert base64.b64decode(url.partition(",")[2], validate=True) == image.data
    assert "Transfer-Encoding" not in api.received[0].headers


async def test_questions_and_tiers_never_mix() -> None:
    questions = [make_question(instructions="first"), make_question(instructions="second")]
    asked = [
        make_vision_request(question=question, tier=tier)
        for question in questions
        for tier in (ServiceTier.AUTO, ServiceTier.FLEX)
    ]
    async with serve(answer(CHAT_ANSWER)) as api:
        await ask(api.url, *asked * 3)
    seen = [
        (document["messages"][0]["content"], document.get("service_tier"))
        for document in (received.document for received in api.received)
    ]
    pairs = [("first", None), ("first", "flex"), ("second", None), ("second", "flex")]
    assert sorted(seen, key=str) == sorted(pairs * 3, key=str)


async def test_more_questions_than_are_remembered_are_all_asked() -> None:
    names = {f"question-{number}" for number in range(40)}
    asked = (make_question(instructions=name) for name in sorted(names))
    async with serve(answer(CHAT_ANSWER)) as api:
        await ask(api.url, *(make_vision_request(question=question) for question in asked))
    assert {one.document["messages"][0]["content"] for one in api.received} == names


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (answer({"error": {"message": "no"}}, status=401), CredentialsRefused),
        (answer({"error": {"message": "no"}}, status=404), RequestShapeRefused),
        (answer({}, status=302, headers={"Location": "https://x"}), RequestShapeRefused),
        (answer({"error": {"code": 429, "message": "slow"}}), RateLimited),
        (answer({"choices": []}), NoAnswer),
        (answer(body=b"<html>Bad gateway</html>", status=502), ProviderUnavailable),
        (answer(body=b"<html>Welcome to the hotel</html>"), TransportError),
        (answer(body=b'{"choices":[{"mess'), TransportError),
        (answer(body=b"", status=204), TransportError),
        (cut_after(b'{"choices":['), TransportError),
        (reset, TransportError),
    ],
)
@pytest.mark.parametrize("api_name", ["chat", "responses"])
async def test_fault_becomes_one_of_our_errors(
    play: Play, kind: type[PipelineError], api_name: str
) -> None:
    assert type(await fail(play, api=api_name)) is kind


async def test_slow_answer_is_a_timeout_for_the_attempt() -> None:
    assert type(await fail(dawdle, timeout_s=0.1)) is AttemptTimeout


async def test_rate_limit_says_how_long_to_wait() -> None:
    error = await fail(answer({}, status=429, headers={"retry-after-ms": "1500"}))
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 1.5


LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "6m0s",
}
RATES = RateReading(requests=Allowance(limit=60, remaining=0, reset_seconds=360))


async def test_answer_brings_the_limits_of_its_headers() -> None:
    async with serve(answer(CHAT_ANSWER, headers=LIMITS)) as api:
        assert (await ask(api.url)).rates == RATES
    async with serve(answer(CHAT_ANSWER)) as api:
        assert (await ask(api.url)).rates is None


@pytest.mark.parametrize(
    "play",
    [
        answer({"error": {"message": "slow"}}, status=429, headers=LIMITS),
        answer({"error": {"message": "no"}}, status=500, headers=LIMITS),
        answer({"error": {"code": 502, "message": "no"}}, headers=LIMITS),
        answer({"choices": []}, headers=LIMITS),
        answer(body=b"<html>", headers=LIMITS),
    ],
    ids=["429", "500", "inside-200", "no-choice", "no-json"],
)
async def test_refusal_brings_the_limits_of_its_headers(play: Play) -> None:
    error = await fail(play)
    assert isinstance(error, AskError)
    assert error.rates == RATES


@pytest.mark.parametrize("api_name", ["chat", "responses"])
async def test_repair_goes_without_the_picture(api_name: str) -> None:
    document = CHAT_ANSWER if api_name == "chat" else RESPONSES_ANSWER
    request = make_vision_request(note="shelf 7", repair=Repair(answer="{", complaint="cut"))
    async with serve(answer(document)) as api:
        response = await ask(api.url, request, api=api_name)
    assert response.text == '{"title":"a cat"}'
    [received] = api.received
    assert b"base64" not in received.body
    assert b"shelf 7" not in received.body


async def test_providers_side_by_side_keep_to_their_own_server_and_key() -> None:
    async with serve(answer(CHAT_ANSWER)) as one, serve(answer(CHAT_ANSWER)) as other:
        environ = {"KEY_ONE": "key-of-one", "KEY_OTHER": "key-of-other"}
        settings = [
            make_settings(base_url=api.url, api_key_env=name)
            for api, name in ((one, "KEY_ONE"), (other, "KEY_OTHER"))
        ]
        async with (
            open_openai(settings[0], environ) as first,
            open_openai(settings[1], environ) as second,
        ):
            await first.ask(make_vision_request())
            await second.ask(make_vision_request())
            await first.ask(make_vision_request())
    keys = [[r.headers["Authorization"] for r in api.received] for api in (one, other)]
    assert keys == [["Bearer key-of-one"] * 2, ["Bearer key-of-other"]]


async def test_failed_request_is_sent_once() -> None:
    async with serve(answer({}, status=500)) as api:
        with pytest.raises(ProviderUnavailable):
            await ask(api.url)
    assert len(api.received) == 1


async def test_original_detail_over_chat_is_refused_before_anything_is_sent() -> None:
    request = make_vision_request(question=make_question(detail=Detail.ORIGINAL))
    async with serve(answer(CHAT_ANSWER)) as api:
        with pytest.raises(ConfigurationError, match=r"provider\.api: responses"):
            await ask(api.url, request)
    assert not api.received


async def test_cancelled_question_stays_cancelled() -> None:
    async with serve(dawdle) as api:
        with anyio.move_on_after(0.1) as scope:
            await ask(api.url)
    assert scope.cancelled_caught


def tell_all(error: BaseException) -> str:
    """Everything of an error that could be printed or stored."""
    told = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        told += f"{chain!r} {chain!s} {chain.args!r} {vars(chain)!r}"
        chain = chain.__cause__ or chain.__context__
    return told


@pytest.mark.parametrize(
    "play",
    [
        echo_headers,
        reset,
        dawdle,
        cut_after(b"{"),
        answer(body=f"<title>{PLANTED_KEY}</title>".encode(), status=502),
        answer({"error": {"message": f"inside {PLANTED_KEY}", "code": PLANTED_KEY}}),
        answer({}, status=302, headers={"Location": f"https://x/?key={PLANTED_KEY}"}),
        answer(body=b"x", headers={"Content-Encoding": "gzip", "x-echo": PLANTED_KEY}),
    ],
    ids=["echo", "reset", "timeout", "cut", "html", "inside-200", "redirect", "gzip"],
)
async def test_key_is_in_no_error_and_no_log(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "asyncio", "pipeline"):
        caplog.set_level(logging.DEBUG, logger=name)
    error = await fail(play, timeout_s=0.3)
    logged = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert PLANTED_KEY not in tell_all(error)
    assert PLANTED_KEY not in logged


async def test_key_echoed_in_an_answer_is_blotted_out() -> None:
    choice = {"message": {"content": PLANTED_KEY}, "finish_reason": "stop"}
    document = {"choices": [choice], "model": PLANTED_KEY, "service_tier": PLANTED_KEY}
    async with serve(answer(document, headers={"x-request-id": PLANTED_KEY})) as api:
        response = await ask(api.url)
    assert PLANTED_KEY not in repr(response)
    assert response.text == "*****"


async def test_provider_and_its_parts_show_no_key() -> None:
    async with open_openai(make_settings(base_url="http://localhost"), ENVIRON) as provider:
        parts = [provider, provider._transport, *vars(provider._transport).values()]
        assert PLANTED_KEY not in repr(parts)


async def test_echo_is_still_classified_with_its_facts() -> None:
    error = await fail(echo_headers)
    assert type(error) is RequestRejected
    assert isinstance(error, AskError)
    assert "*****" in f"{error} {error.code} {error.request_id}"


async def test_question_that_is_gone_lends_its_frame_to_no_other() -> None:
    async with open_openai(make_settings(base_url="http://localhost"), {}) as provider:
        for number in range(100):
            question = make_question(instructions=f"number {number}.")
            frame = provider._dialect.find_frame(question, ServiceTier.AUTO)
            del question
            assert f"number {number}.".encode() in frame.head


def test_a_key_that_is_a_common_word_spoils_no_answer() -> None:
    assert Secret("none").hide_in(b'{"style": "none"}') == b'{"style": "none"}'
    assert b"sk-planted" not in Secret("sk-planted").hide_in(b"bad key sk-planted")
