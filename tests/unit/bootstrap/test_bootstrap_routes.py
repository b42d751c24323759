"""From the settings to the routes: who is asked first, who takes over, who may be asked at all."""

from pathlib import Path

import anyio
import pytest
from engines import Bench

from pipeline.bootstrap.routes import list_wishes, open_routes
from pipeline.config.settings import (
    NO_KEY,
    EndpointSettings,
    FallbackSettings,
    ProviderSettings,
)
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import ServiceTier
from pipeline.engine.retry import Why

pytestmark = pytest.mark.anyio


def test_one_server_is_one_route() -> None:
    (wish,) = list_wishes(ProviderSettings(base_url="http://one/v1"), "m", {})
    assert (wish.rank, wish.model, wish.settings.base_url) == (0, "m", "http://one/v1")


def test_endpoints_stand_beside_the_first_and_a_key_goes_to_its_own_server_only() -> None:
    settings = ProviderSettings(
        base_url="http://one/v1",
        api_key_env="FIRST",
        timeout_s=7,
        endpoints=(
            EndpointSettings(api_key_env="SECOND"),
            EndpointSettings(base_url="http://two/v1"),
        ),
    )
    wishes = list_wishes(settings, "m", {})
    assert [wish.rank for wish in wishes] == [0, 0, 0]
    assert [(w.settings.base_url, w.settings.api_key_env) for w in wishes] == [
        ("http://one/v1", "FIRST"),
        ("http://one/v1", "SECOND"),
        ("http://two/v1", NO_KEY),
    ]
    assert {wish.settings.timeout_s for wish in wishes} == {7}


def test_the_same_server_said_in_full_gets_its_key() -> None:
    spelt_out = ProviderSettings(
        endpoints=(EndpointSettings(base_url="https://api.openai.com/v1"),),
        fallback=(FallbackSettings(base_url="https://gateway.example/v1"),),
    )
    names = [wish.settings.api_key_env for wish in list_wishes(spelt_out, "m", {})]
    assert names == ["OPENAI_API_KEY", "OPENAI_API_KEY", NO_KEY]
    gateway = {"OPENAI_BASE_URL": "https://gateway.example/v1"}
    names = [wish.settings.api_key_env for wish in list_wishes(spelt_out, "m", gateway)]
    assert names == ["OPENAI_API_KEY", NO_KEY, "OPENAI_API_KEY"]


def test_fallbacks_follow_in_order_each_for_its_causes() -> None:
    settings = ProviderSettings(
        fallback=(
            FallbackSettings(model="b", causes=("rate", "outage")),
            FallbackSettings(base_url="http://local/v1", causes=("refusal",)),
        )
    )
    _, second, third = list_wishes(settings, "a", {})
    assert (second.model, second.rank, second.opens_for) == ("b", 1, {Why.RATE, Why.OUTAGE})
    assert (third.model, third.rank, third.opens_for) == ("a", 2, {Why.REFUSAL})


def test_flex_that_may_step_up_has_the_default_lane_behind_it() -> None:
    flex = ProviderSettings(service_tier=ServiceTier.FLEX, flex_shortage="step_up")
    first, second = list_wishes(flex, "m", {})
    assert first.settings.service_tier is ServiceTier.FLEX
    assert second.settings.service_tier is ServiceTier.DEFAULT
    assert second.opens_for == {Why.NO_CAPACITY}
    assert len(list_wishes(ProviderSettings(service_tier=ServiceTier.FLEX), "m", {})) == 1


async def open_and_count(bench: Bench) -> int:
    opening = open_routes(
        bench.plan(), environ={}, monotonic=lambda: 0.0, threads=anyio.CapacityLimiter(1)
    )
    async with opening as routes:
        return len({id(route.gate) for route in routes.all})


async def test_lanes_of_one_key_and_model_share_what_they_are_allowed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.flags |= {
        "provider.base_url": "http://127.0.0.1:1/v1",
        "provider.model": "gpt-5.4-mini",
        "provider.service_tier": "flex",
        "provider.flex_shortage": "step_up",
    }
    assert await open_and_count(bench) == 1
    bench.flags["provider.fallback"] = [{"model": "gpt-5.4-nano"}]
    assert await open_and_count(bench) == 2


@pytest.mark.parametrize("cap", ["budget_usd", "budget_day_usd", "budget_month_usd"])
async def test_with_a_budget_a_model_without_a_price_is_asked_only_on_demand(
    tmp_path: Path, cap: str
) -> None:
    bench = Bench(tmp_path)
    bench.flags |= {
        "provider.base_url": "http://127.0.0.1:1/v1",
        "provider.fallback": [{"model": "my-llava"}],
    }
    assert await open_and_count(bench) == 2
    bench.flags[f"limits.{cap}"] = "1"
    with pytest.raises(ConfigurationError, match=r"my-llava.*--allow-unpriced"):
        await open_and_count(bench)
    bench.flags["limits.allow_unpriced"] = True
    assert await open_and_count(bench) == 2
