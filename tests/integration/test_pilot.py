"""A run that asks about a sample, and what it says of the rest."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from engines import Bench, ScriptedProvider, make_response
from pictures import jpeg

from pipeline.bootstrap.ledger import open_ledger
from pipeline.bootstrap.tagging import open_tagging
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import FinishReason, VisionRequest, VisionResponse
from pipeline.engine.findings import Findings, read_findings
from pipeline.engine.sampling import Pilot
from pipeline.engine.tagging import RunResult

pytestmark = pytest.mark.anyio

SIDES = (64, 96, 160, 240)


async def answer_by_size(request: VisionRequest, _number: int) -> VisionResponse:
    """A larger picture costs more, and how much is said of it differs."""
    pixels = request.image.width * request.image.height
    words = 20 + request.image.fingerprint[0] // 4
    return make_response(usage=TokenUsage(input=300 + pixels // 10, output=words))


async def decline(request: VisionRequest, number: int) -> VisionResponse:
    if request.image.width < SIDES[1]:
        return make_response(text="", finish=FinishReason.REFUSAL)
    return await answer_by_size(request, number)


@asynccontextmanager
async def open_pilot(
    bench: Bench, pilot: Pilot, provider: ScriptedProvider, *more_roots: Path
) -> AsyncIterator[tuple[RunResult, Findings | None]]:
    """A pilot run to its end, and what it found."""
    plan = bench.plan()
    with anyio.fail_after(60):
        async with open_ledger(plan.settings) as ledger:
            roots = [bench.library, *more_roots]
            async with open_tagging(
                plan, ledger, roots, environ={}, pilot=pilot, provider=provider
            ) as tagging:
                result = await tagging.run()
            findings = None
            if pilot.sample is not None:
                findings = await read_findings(
                    ledger.reader, pilot, pilot.sample, spec=plan.spec, tier="default"
                )
            yield result, findings


async def run_pilot(
    bench: Bench, count: int, provider: ScriptedProvider | None = None, *more: Path, **given: Any
) -> Findings:
    pilot = Pilot(count=count, **given)
    provider = provider or ScriptedProvider(answer_by_size)
    async with open_pilot(bench, pilot, provider, *more) as (_, findings):
        assert findings is not None
        return findings


def fill(bench: Bench, count: int = 240) -> Bench:
    """Pictures of several sizes; each department has its own mixture."""
    rng = random.Random(7)
    for number in range(count):
        department = rng.choice(("shoes", "hats", "shirts"))
        side = rng.choice(SIDES if department == "shoes" else SIDES[:2])
        bench.put(f"{department}/{number:03}.jpg", jpeg(side, side, seed=number))
    return bench


async def test_only_the_sample_is_asked_about_and_then_only_the_rest(tmp_path: Path) -> None:
    bench, provider = fill(Bench(tmp_path), 40), ScriptedProvider(answer_by_size)
    findings = await run_pilot(bench, 10, provider)
    assert len(findings.images) == findings.drawn == len(provider.asked) == 10
    assert findings.projection.images == 30
    again = ScriptedProvider(answer_by_size)
    result = await bench.run(again)
    assert len(again.asked) == 30
    assert not set(again.asked) & set(provider.asked)
    assert result.document["images"]["done"] == 40


async def test_nothing_is_asked_before_all_is_listed(tmp_path: Path) -> None:
    bench, pilot = fill(Bench(tmp_path), 20), Pilot(count=5)

    async def check(request: VisionRequest, number: int) -> VisionResponse:
        assert pilot.sample is not None
        assert sum(pilot.sample.waiting.values()) == 20
        return await answer_by_size(request, number)

    async with open_pilot(bench, pilot, ScriptedProvider(check)) as (result, _):
        assert result.document["images"]["tagged"] == 5


@pytest.mark.parametrize("seed", range(3))
async def test_the_projection_holds_what_the_rest_then_costs(tmp_path: Path, seed: int) -> None:
    bench = fill(Bench(tmp_path))
    findings = await run_pilot(bench, 40, seed=seed)
    rest = await bench.run(ScriptedProvider(answer_by_size))
    truth = float(rest.document["cost_usd"]) * 1e9
    cost = findings.projection.cost_nanos
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low <= truth <= cost.high
    assert cost.high - cost.low < 0.7 * truth
    tokens = findings.projection.input_tokens
    assert tokens.low is not None
    assert tokens.high is not None
    assert tokens.low <= rest.document["tokens"]["input"] <= tokens.high
    assert findings.lanes["batch"].expected == pytest.approx(cost.expected / 2)


async def test_each_department_is_seen(tmp_path: Path) -> None:
    findings = await run_pilot(fill(Bench(tmp_path), 60), 6)
    folders = {one.stratum.folder for one in findings.strata if one.sampled}
    assert folders == {"shoes", "hats", "shirts"}


async def test_a_sample_larger_than_what_waits_is_all_of_it(tmp_path: Path) -> None:
    findings = await run_pilot(fill(Bench(tmp_path), 7), 50)
    assert (len(findings.images), findings.projection.images) == (7, 0)
    assert findings.projection.cost_nanos.high == 0
    assert (await run_pilot(Bench(tmp_path), 50)).images == ()


async def test_copies_and_broken_files_of_a_sample_are_told_as_free(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(4):
        bench.put(f"{number}.jpg", jpeg(64, 64))
    bench.put("broken.jpg", b"")
    findings = await run_pilot(bench, 5)
    assert [one.measured.cost_nanos > 0 for one in findings.images].count(True) == 1
    assert findings.projection.free.expected == pytest.approx(0.8)
    assert findings.projection.failed.expected == pytest.approx(0.2)


async def test_refusals_are_told_apart_from_other_failures(tmp_path: Path) -> None:
    findings = await run_pilot(fill(Bench(tmp_path), 40), 20, ScriptedProvider(decline))
    refused = [one for one in findings.images if one.measured.is_refused]
    assert 0 < len(refused) < 20
    assert {one.record.cause for one in refused} == {"refused"}
    assert findings.projection.refused.expected > 0


async def test_what_an_earlier_version_cost_is_not_counted(tmp_path: Path) -> None:
    bench = fill(Bench(tmp_path), 12)
    first = await bench.run(ScriptedProvider(answer_by_size))
    bench.profile = bench.profile.replace("Say what it is.", "Say what you see.")
    findings = await run_pilot(bench, 12)
    assert findings.cost_nanos == float(first.document["cost_usd"]) * 1e9
    assert sum(one.usage.input for one in findings.images) == first.document["tokens"]["input"]


@pytest.mark.parametrize(("model", "has_price"), [("gpt-4o-mini", True), ("my-llava", False)])
async def test_a_model_without_a_price_that_was_asked_before_hides_no_price(
    tmp_path: Path, model: str, has_price: bool
) -> None:
    bench = fill(Bench(tmp_path), 6)

    async def answer_as(name: str) -> VisionResponse:
        return make_response(model=name)

    await bench.run(ScriptedProvider(lambda *_: answer_as("my-llava")))
    bench.profile = bench.profile.replace("Say what it is.", "Say what you see.")
    findings = await run_pilot(bench, 6, ScriptedProvider(lambda *_: answer_as(model)))
    assert findings.has_price is has_price
    assert (findings.cost_nanos > 0) is has_price
    assert bool(findings.lanes) is has_price


async def test_a_pilot_that_pauses_projects_from_what_ended(tmp_path: Path) -> None:
    bench = fill(Bench(tmp_path, flags={"limits.budget_usd": "0.004"}), 40)
    async with open_pilot(bench, Pilot(count=20), ScriptedProvider(answer_by_size)) as found:
        result, findings = found
    assert result.state == "paused"
    assert findings is not None
    assert 0 < len(findings.images) < findings.drawn == 20
    assert findings.projection.images == 40 - len(findings.images)
    cost = findings.projection.cost_nanos
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low < cost.expected < cost.high


async def test_an_image_that_two_roots_list_is_drawn_once(tmp_path: Path) -> None:
    bench = fill(Bench(tmp_path), 20)
    findings = await run_pilot(bench, 20, None, bench.library / "shoes")
    assert len(findings.images) == len({one.image.uri for one in findings.images}) == 20
