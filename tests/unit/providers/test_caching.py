"""When the server is told to keep the shared words, and how."""

from datetime import date

import pytest
from scripted_api import make_question

from pipeline.costs.estimate import estimate_prefix_tokens
from pipeline.costs.models import ModelSpec, load_models
from pipeline.domain.vision import PromptCaching, Question
from pipeline.providers.caching import choose_caching

TABLE = load_models(on=date(2026, 11, 20))
OPENAI = "api.openai.com"
LONG = make_question(instructions="word " * 1000)
SHORT = make_question()


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    "model",
    ["gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-6-astra", "gpt-6-luna", "gpt-6.2-sol"],
)
def test_models_that_bill_writes_are_told_where_the_words_end(model: str) -> None:
    ways = [
        choose_caching(spec_of(model), question, host=OPENAI, setting="auto")
        for question in (LONG, SHORT)
    ]
    assert ways == [PromptCaching.MARKED, PromptCaching.OFF]


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5", "gpt-5.4-mini", "gpt-5.5"])
@pytest.mark.parametrize("question", [LONG, SHORT])
def test_older_models_are_given_a_key(model: str, question: Question) -> None:
    way = choose_caching(spec_of(model), question, host=OPENAI, setting="auto")
    assert way is PromptCaching.KEYED


def test_every_model_with_a_price_for_writing_is_marked() -> None:
    for name in TABLE.names:
        prices = spec_of(name).prices
        if prices is not None and prices.standard.cache_write > prices.standard.input:
            assert spec_of(name).caching is PromptCaching.MARKED, name


@pytest.mark.parametrize(("letters", "way"), [(-1, PromptCaching.OFF), (0, PromptCaching.MARKED)])
def test_marking_begins_where_the_server_begins_to_keep(letters: int, way: PromptCaching) -> None:
    schema_tokens = estimate_prefix_tokens(make_question(instructions=""))
    length = 4 * (1024 - schema_tokens) + 4 * letters
    question = make_question(instructions="x" * length)
    found = choose_caching(spec_of("gpt-5.6-sol"), question, host=OPENAI, setting="auto")
    assert found is way


@pytest.mark.parametrize(
    ("host", "setting", "way"),
    [
        (OPENAI, "auto", PromptCaching.MARKED),
        (OPENAI, "always", PromptCaching.MARKED),
        (OPENAI, "never", PromptCaching.NONE),
        ("shop.openai.azure.com", "auto", PromptCaching.MARKED),
        ("127.0.0.1", "auto", PromptCaching.NONE),
        ("127.0.0.1", "always", PromptCaching.MARKED),
        ("127.0.0.1", "never", PromptCaching.NONE),
    ],
)
def test_other_servers_are_told_only_when_asked_to(
    host: str, setting: str, way: PromptCaching
) -> None:
    found = choose_caching(spec_of("gpt-5.6-sol"), LONG, host=host, setting=setting)  # type: ignore[arg-type]
    assert found is way


@pytest.mark.parametrize(
    ("setting", "way"), [("auto", PromptCaching.NONE), ("always", PromptCaching.KEYED)]
)
def test_unknown_model_gets_no_more_than_a_key(setting: str, way: PromptCaching) -> None:
    assert choose_caching(None, LONG, host=OPENAI, setting=setting) is way  # type: ignore[arg-type]
