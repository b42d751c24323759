"""What is read from the prompt cache and written to it is told as the API tells it."""

from datetime import date
from typing import Any

import orjson
import pytest
from test_simulator_exchange import PICTURE, SCHEMA, data_url, strict

from pipeline.costs.models import load_models
from pipeline.costs.text_tokens import estimate_text_tokens
from pipeline.simulator.errors import ApiError
from pipeline.simulator.exchange import Thought, think
from pipeline.simulator.prompt_cache import CacheUse, PromptCache, sells_writes
from pipeline.simulator.reading import Api

TABLE = load_models(on=date(2026, 11, 20))
NEW, OLD = "gpt-5.6-luna", "gpt-5.4-mini"
LONG = "Catalogue what can be seen. " * 200
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
EXPLICIT = {"prompt_cache_options": {"mode": "explicit"}}
PREFIX = estimate_text_tokens(LONG) + estimate_text_tokens(orjson.dumps(SCHEMA))


def ask(*, words: str = LONG, mark: Any = None, model: str = NEW, **more: Any) -> Thought:
    system = {"type": "text", "text": words, **(mark or {})}
    picture = {"type": "image_url", "image_url": {"url": data_url(PICTURE), "detail": "high"}}
    messages = [{"role": "system", "content": [system]}, {"role": "user", "content": [picture]}]
    document = {"model": model, "messages": messages, "response_format": strict(), **more}
    return think(orjson.dumps(document), Api.CHAT, TABLE.find, seed=0)


def use(cache: PromptCache, thought: Thought, *, now: float = 0, key: str = "k") -> CacheUse:
    return cache.use(
        thought.cache_wish,
        owner=(key, thought.asked.model),
        spec=thought.spec,
        input_tokens=thought.input_tokens,
        now=now,
    )


def test_models_tell_by_their_price_whether_writing_costs() -> None:
    specs = [TABLE.find(name) for name in (NEW, OLD)]
    assert [sells_writes(spec) for spec in specs if spec] == [True, False]


def test_implicit_mode_writes_the_unique_picture_every_time() -> None:
    cache, thought = PromptCache(), ask()
    assert use(cache, thought) == CacheUse(cached=0, written=thought.input_tokens)
    assert use(cache, thought) == CacheUse(cached=PREFIX, written=thought.input_tokens - PREFIX)


def test_breakpoint_is_written_once_and_then_read() -> None:
    cache, thought = PromptCache(), ask(mark=MARK, **EXPLICIT)
    assert use(cache, thought) == CacheUse(written=PREFIX)
    assert use(cache, thought) == use(cache, thought) == CacheUse(cached=PREFIX)


def test_explicit_mode_without_a_breakpoint_caches_nothing() -> None:
    cache, thought = PromptCache(), ask(**EXPLICIT)
    assert use(cache, thought) == use(cache, thought) == CacheUse()


def test_older_models_read_whole_blocks_and_write_nothing() -> None:
    cache, thought = PromptCache(), ask(model=OLD)
    assert use(cache, thought) == CacheUse()
    assert use(cache, thought) == CacheUse(cached=PREFIX // 128 * 128)


@pytest.mark.parametrize("model", [NEW, OLD])
def test_short_prefix_is_never_cached(model: str) -> None:
    cache, thought = PromptCache(), ask(words="Tag this.", model=model)
    assert use(cache, thought) == use(cache, thought) == CacheUse()


def test_key_model_and_cache_key_keep_caches_apart() -> None:
    cache = PromptCache()
    use(cache, ask())
    assert use(cache, ask(), key="other").cached == 0
    assert use(cache, ask(prompt_cache_key="job-1")).cached == 0
    assert use(cache, ask(model="gpt-5.6-terra")).cached == 0
    assert use(cache, ask(words=LONG + ".")).cached == 0
    assert use(cache, ask()).cached == PREFIX


@pytest.mark.parametrize(("model", "seconds"), [(NEW, 1800), (OLD, 600)])
def test_prefix_is_forgotten_when_it_is_not_used(model: str, seconds: int) -> None:
    cache, thought = PromptCache(), ask(model=model)
    use(cache, thought)
    assert use(cache, thought, now=seconds).cached
    assert not use(cache, thought, now=2 * seconds + 1).cached


OPTIONS = "prompt_cache_options"
PLACE = "messages[0].content[0].prompt_cache_breakpoint"


@pytest.mark.parametrize(
    ("request_of", "code", "param"),
    [
        ({"model": OLD, **EXPLICIT}, "unknown_parameter", OPTIONS),
        ({"model": OLD, "mark": MARK}, "unknown_parameter", PLACE),
        ({OPTIONS: "explicit"}, "invalid_type", OPTIONS),
        ({OPTIONS: {"mode": "none"}}, "invalid_value", f"{OPTIONS}.mode"),
        ({OPTIONS: {"mode": "implicit", "ttl": "1h"}}, "invalid_value", f"{OPTIONS}.ttl"),
        ({OPTIONS: {"mode": "implicit", "size": 1}}, "unknown_parameter", f"{OPTIONS}.size"),
        (
            {"mark": {"prompt_cache_breakpoint": {"mode": "implicit"}}},
            "invalid_value",
            f"{PLACE}.mode",
        ),
        (
            {"mark": {"prompt_cache_breakpoint": {}}},
            "missing_required_parameter",
            f"{PLACE}.mode",
        ),
        ({"prompt_cache_key": 7}, "invalid_type", "prompt_cache_key"),
    ],
)
def test_wrong_parameters_are_refused(request_of: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask(**request_of)
    error = caught.value
    assert (error.status, error.code, error.param) == (400, code, param)
    assert error.model == request_of.get("model") or "model" not in request_of


def test_full_options_are_taken() -> None:
    assert ask(prompt_cache_options={"mode": "explicit", "ttl": "30m"}, mark=MARK).cache_wish.prefix
