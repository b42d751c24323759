"""Runs against several servers, models and lanes: who answers, who takes over, what is told."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from engines import Bench
from pictures import jpeg

from pipeline.bootstrap.ledger import open_ledger
from pipeline.ledger.runs import RunState
from pipeline.ledger.sums import Share
from pipeline.ledger.upkeep import check_ledger
from pipeline.simulator.behavior import Behavior, Outage
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

FIRST, SECOND = "gpt-5.4-mini", "gpt-5.4-nano"
UNSURE = """
name: tiny
instructions: Say what it is.
fields:
  title: {type: text}
confidence: self
review_below: 1.0
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, flags={"provider.model": FIRST})


@asynccontextmanager
async def servers(*behaviors: Behavior) -> AsyncIterator[list[Simulator]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Simulator(each)) for each in behaviors]


def put_pictures(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.put(f"{number:03}.jpg", jpeg(64, 48, seed=number))


async def read_ledger(bench: Bench) -> tuple[list[Share], int, dict[str, int]]:
    """The shares, what was spent in nano-dollars, and the requests that followed others."""
    async with open_ledger(bench.plan().settings) as ledger:
        assert await check_ledger(ledger.database) == []
        spending = await ledger.reader.sum_spending()
        steps = await ledger.reader.count_steps()
        return list(await ledger.reader.list_shares()), spending.cost_nanos, steps


def charged(*simulators: Simulator) -> int:
    return sum(sum(each.books.cost_nano.values()) for each in simulators)


async def test_equal_servers_are_used_side_by_side(bench: Bench) -> None:
    put_pictures(bench, 40)
    async with servers(Behavior(latency_ms=20), Behavior(latency_ms=20)) as (one, two):
        bench.flags |= {
            "provider.base_url": one.base_url,
            "provider.endpoints": [{"base_url": two.base_url}],
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 40
        assert one.books.requests + two.books.requests == 40
        assert min(one.books.requests, two.books.requests) >= 10


async def test_a_server_with_a_bad_key_is_left_alone_and_the_other_goes_on(bench: Bench) -> None:
    put_pictures(bench, 20)
    async with servers(Behavior(refuse_all=Outage.BAD_KEY), Behavior()) as (bad, good):
        bench.flags |= {
            "provider.base_url": bad.base_url,
            "provider.endpoints": [{"base_url": good.base_url}],
        }
        result = await bench.run()
        assert result.state is RunState.FINISHED
        assert result.document["images"]["done"] == 20
        assert bad.books.requests <= 4
        assert any("left alone" in text for text in result.document["warnings"])


async def test_when_a_server_is_down_the_fallback_takes_over_and_it_is_told(bench: Bench) -> None:
    put_pictures(bench, 30)
    async with servers(Behavior(reset=1), Behavior()) as (down, up):
        bench.flags |= {
            "provider.base_url": down.base_url,
            "provider.fallback": [{"base_url": up.base_url, "model": SECOND, "causes": ["outage"]}],
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 30
        assert any("left alone" in text for text in result.document["warnings"])
        assert down.books.requests <= 30
        shares, spent, _ = await read_ledger(bench)
        assert {(share.model_asked, share.answers) for share in shares} == {(SECOND, 30)}
        assert spent == charged(up)


async def test_when_every_server_has_its_own_trouble_the_run_pauses(bench: Bench) -> None:
    put_pictures(bench, 30)
    async with servers(Behavior(refuse_all=Outage.NO_CREDIT), Behavior(latency_ms=30)) as (
        poor,
        other,
    ):
        bench.flags |= {
            "provider.base_url": poor.base_url,
            "provider.endpoints": [{"base_url": other.base_url}],
        }
        async with bench.open(None) as (tagging, _), anyio.create_task_group() as group:

            async def take_the_other_away() -> None:
                while other.books.answered < 10:  # noqa: ASYNC110  the server tells nobody
                    await anyio.sleep(0.01)
                other.behavior = Behavior(refuse_all=Outage.BAD_KEY)

            group.start_soon(take_the_other_away)
            with anyio.fail_after(30):
                result = await tagging.run()
        assert result.state is RunState.PAUSED
        assert result.document["images"]["failed"] == 0
        other.behavior = Behavior()
        assert (await bench.run()).document["images"]["done"] == 30


async def test_a_fallback_in_trouble_never_stops_a_first_server_that_is_well(
    bench: Bench,
) -> None:
    put_pictures(bench, 40)
    lines = (f'{{"request": {number}, "fault": "refused"}}\n' for number in (3, 9, 15))
    plan = bench.folder / "plan.jsonl"
    plan.write_text("".join(lines))
    async with servers(Behavior(fault_plan=plan), Behavior(refuse_all=Outage.NO_MODEL)) as (
        well,
        ill,
    ):
        bench.flags |= {
            "provider.base_url": well.base_url,
            "provider.fallback": [
                {"base_url": ill.base_url, "model": SECOND, "causes": ["refusal"]}
            ],
        }
        result = await bench.run()
        assert result.state is RunState.FINISHED
        assert result.document["images"]["done"] >= 37
        assert any("left alone" in text for text in result.document["warnings"])


async def test_more_room_that_is_refused_as_too_fast_is_asked_for_again_alone(
    bench: Bench,
) -> None:
    put_pictures(bench, 1)
    plan = bench.folder / "plan.jsonl"
    plan.write_text(
        '{"request": 1, "fault": "cut_answer"}\n{"request": 2, "fault": "rate_limited"}\n'
        '{"request": 3, "fault": "rate_limited"}\n'
    )
    async with servers(Behavior(fault_plan=plan)) as (server,):
        bench.flags["provider.base_url"] = server.base_url
        result = await bench.run()
        assert result.document["images"]["done"] == 1
        _, spent, steps = await read_ledger(bench)
        assert (steps["more_room"], server.books.requests) == (3, 4)
        assert spent == charged(server)


async def test_a_key_goes_to_its_own_server_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(bench, 2)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-first")
    mine, theirs = Behavior(require_key="sk-planted-first", refused=1), Behavior()
    async with servers(mine, theirs) as (one, two):
        bench.flags |= {
            "provider.base_url": one.base_url,
            "provider.fallback": [{"base_url": two.base_url, "causes": ["refusal"]}],
        }
        assert (await bench.run()).document["images"]["done"] == 2
        two.behavior = Behavior(require_key="sk-planted-first")
        put_pictures(bench, 4)
        again = await bench.run()
        assert any("left alone" in text for text in again.document["warnings"])


async def test_a_refused_picture_is_asked_about_elsewhere_and_both_are_paid(bench: Bench) -> None:
    put_pictures(bench, 6)
    async with servers(Behavior(refused=1), Behavior()) as (prude, open_minded):
        bench.flags |= {
            "provider.base_url": prude.base_url,
            "provider.fallback": [
                {"base_url": open_minded.base_url, "model": SECOND, "causes": ["refusal"]}
            ],
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 6
        shares, spent, steps = await read_ledger(bench)
        assert {(share.model_asked, share.answers) for share in shares} == {(FIRST, 6), (SECOND, 6)}
        assert spent == charged(prude, open_minded)
        assert steps["fallback"] == 6
        assert {record["model"] for record in bench.records()} == {SECOND}


async def test_without_a_fallback_for_it_a_refusal_stays_one(bench: Bench) -> None:
    put_pictures(bench, 3)
    async with servers(Behavior(refused=1), Behavior()) as (prude, other):
        bench.flags |= {
            "provider.base_url": prude.base_url,
            "provider.fallback": [{"base_url": other.base_url, "causes": ["outage"]}],
        }
        result = await bench.run()
        assert result.document["causes"] == {"refused": 3}
        assert other.books.requests == 0


async def test_an_answer_that_is_not_sure_enough_is_asked_for_again_elsewhere(
    bench: Bench,
) -> None:
    put_pictures(bench, 5)
    bench.profile = UNSURE
    async with servers(Behavior(seed=1), Behavior(seed=2)) as (one, two):
        bench.flags |= {
            "provider.base_url": one.base_url,
            "provider.fallback": [
                {"base_url": two.base_url, "model": SECOND, "causes": ["low_confidence"]}
            ],
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 5
        _, spent, steps = await read_ledger(bench)
        assert spent == charged(one, two)
        assert steps["fallback"] == two.books.requests == 5
        assert {record["model"] for record in bench.records()} == {SECOND}


async def test_when_the_surer_model_fails_the_answer_there_was_is_kept(bench: Bench) -> None:
    put_pictures(bench, 4)
    bench.profile = UNSURE
    async with servers(Behavior(), Behavior(refused=1)) as (one, two):
        bench.flags |= {
            "provider.base_url": one.base_url,
            "provider.fallback": [
                {"base_url": two.base_url, "model": SECOND, "causes": ["low_confidence"]}
            ],
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 4
        _, spent, _ = await read_ledger(bench)
        assert spent == charged(one, two)
        assert {record["model"] for record in bench.records()} == {FIRST}
        assert {record["review"] for record in bench.records()} == {"needs_review"}


async def test_an_answer_that_breaks_the_schema_is_put_right_without_the_picture(
    bench: Bench,
) -> None:
    put_pictures(bench, 4)
    bench.profile += "repair: true\n"
    lines = (f'{{"request": {number}, "fault": "wrong_schema"}}\n' for number in range(1, 5))
    plan = bench.folder / "plan.jsonl"
    plan.write_text("".join(lines))
    async with servers(Behavior(fault_plan=plan)) as (server,):
        bench.flags["provider.base_url"] = server.base_url
        result = await bench.run()
        assert result.document["images"]["done"] == 4
        _, spent, steps = await read_ledger(bench)
        assert steps["repair"] == 4
        assert spent == charged(server)
        repairs = [line for line in server.books.log if line.sha256 is None]
        assert len(repairs) == 4


async def test_a_cut_answer_is_asked_for_once_more_with_more_room(bench: Bench) -> None:
    put_pictures(bench, 3)
    async with servers(Behavior(cut_answer=1, max_faults_per_picture=1)) as (server,):
        bench.flags["provider.base_url"] = server.base_url
        result = await bench.run()
        assert result.document["images"]["done"] == 3
        _, spent, steps = await read_ledger(bench)
        assert (steps["more_room"], server.books.requests) == (3, 6)
        assert spent == charged(server)


@pytest.mark.parametrize("require", ["any", "exact"])
async def test_another_model_that_answers_is_never_silent(bench: Bench, require: str) -> None:
    put_pictures(bench, 4)
    async with servers(Behavior(substituted=1, substitute_model=SECOND)) as (server,):
        bench.flags |= {"provider.base_url": server.base_url, "provider.require_model": require}
        result = await bench.run()
        document: dict[str, Any] = dict(result.document)
        assert document["substituted"] == 4
        assert document["answers"][0]["model"] == SECOND
        shares, spent, _ = await read_ledger(bench)
        assert [(s.model_asked, s.model_answered) for s in shares] == [(FIRST, SECOND)]
        assert spent == charged(server)
        wanted = {"any": {}, "exact": {"substituted": 4}}
        assert document["causes"] == wanted[require]


async def test_another_lane_that_answers_is_priced_as_it_is_and_told(bench: Bench) -> None:
    put_pictures(bench, 4)
    async with servers(Behavior(downgraded=1)) as (server,):
        bench.flags |= {
            "provider.base_url": server.base_url,
            "provider.service_tier": "priority",
        }
        result = await bench.run()
        assert result.document["downgraded"] == 4
        _, spent, _ = await read_ledger(bench)
        assert spent == charged(server)


async def test_a_flex_lane_without_room_steps_up_where_that_is_allowed(bench: Bench) -> None:
    put_pictures(bench, 4)
    async with servers(Behavior(flex_shortage=1)) as (server,):
        bench.flags |= {
            "provider.base_url": server.base_url,
            "provider.service_tier": "flex",
            "provider.flex_shortage": "step_up",
        }
        result = await bench.run()
        assert result.document["images"]["done"] == 4
        shares, spent, _ = await read_ledger(bench)
        assert {(s.tier_asked, s.tier_answered) for s in shares} == {("default", "default")}
        assert spent == charged(server)


async def test_a_flex_lane_without_room_is_waited_for_otherwise(bench: Bench) -> None:
    put_pictures(bench, 4)
    async with servers(Behavior(flex_shortage=1, max_faults_per_picture=2)) as (server,):
        bench.flags |= {"provider.base_url": server.base_url, "provider.service_tier": "flex"}
        result = await bench.run()
        assert result.document["images"]["done"] == 4
        shares, spent, _ = await read_ledger(bench)
        assert {(s.tier_asked, s.tier_answered) for s in shares} == {("flex", "flex")}
        assert spent == charged(server)


async def test_the_days_cap_holds_over_runs(bench: Bench) -> None:
    put_pictures(bench, 30)
    async with servers(Behavior()) as (server,):
        bench.flags |= {
            "provider.base_url": server.base_url,
            "limits.budget_day_usd": "0.006",
            "limits.max_concurrency": 8,
        }
        first = await bench.run()
        assert first.state is RunState.PAUSED
        assert "budget_day_usd" in str(first.pause)
        again = await bench.run()
        assert again.state is RunState.PAUSED
        assert 0 < charged(server) <= 6_000_000
        bench.flags["limits.budget_day_usd"] = "1"
        assert (await bench.run()).document["images"]["done"] == 30
        assert server.books.requests == 30
