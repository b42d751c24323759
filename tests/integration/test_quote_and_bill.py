"""Runs whose bill differs from the quote: the causes are named and add up to the difference."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engines import Bench
from pictures import jpeg
from sqlalchemy import func, select

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.usage import from_usd
from pipeline.insights import describe_status
from pipeline.ledger.tables import attempts
from pipeline.ledger.upkeep import check_ledger
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

MODEL, OTHER = "gpt-5.4-mini", "gpt-5.4-nano"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, flags={"provider.model": MODEL})
    for number in range(6):
        bench.put(f"{number}.jpg", jpeg(640, 480, seed=number))
    return bench


async def run_against(bench: Bench, behavior: Behavior) -> tuple[dict[str, Any], int]:
    """The closing document, and what the server charged."""
    async with Simulator(behavior) as server:
        bench.flags["provider.base_url"] = server.base_url
        result = await bench.run()
        async with open_ledger(bench.plan().settings) as ledger:
            assert await check_ledger(ledger.database) == []
            spending = await ledger.reader.sum_spending()
        charged = sum(server.books.cost_nano.values())
        assert spending.cost_nanos == charged
        return dict(result.document), charged


def fail_some(bench: Bench, fault: str, *requests: int) -> Behavior:
    """A server that answers but for these requests, counted from 1."""
    plan = bench.folder / "plan.jsonl"
    plan.write_text("".join(f'{{"request": {at}, "fault": "{fault}"}}\n' for at in requests))
    return Behavior(fault_plan=plan)


async def sum_follow_ups(bench: Bench) -> int:
    async with open_ledger(bench.plan().settings) as ledger, ledger.database.read() as connection:
        query = select(func.sum(attempts.c.cost_nanos)).where(attempts.c.step != "ask")
        return int((await connection.execute(query)).scalar_one())


def add_up(quote: Mapping[str, Any]) -> dict[str, Decimal]:
    """The causes, after the sums were checked."""
    causes = {cause: Decimal(amount) for cause, amount in quote["causes"].items()}
    difference = Decimal(quote["actual_usd"]) - Decimal(quote["quoted_usd"])
    assert Decimal(quote["difference_usd"]) == difference == sum(causes.values())
    assert "unquoted" not in causes
    return causes


async def test_a_clean_run_differs_by_its_tokens_alone(bench: Bench) -> None:
    document, charged = await run_against(bench, Behavior())
    causes = add_up(document["quote"])
    assert from_usd(document["quote"]["actual_usd"]) == charged
    assert document["quote"]["quoted_usd"] == document["estimate_usd"]
    assert set(causes) <= {"input", "output", "cache"}


async def test_another_model_is_named(bench: Bench) -> None:
    document, _ = await run_against(bench, Behavior(substituted=1, substitute_model=OTHER))
    assert add_up(document["quote"])["model"] < 0


async def test_another_lane_is_named(bench: Bench) -> None:
    bench.flags["provider.service_tier"] = "priority"
    document, _ = await run_against(bench, Behavior(downgraded=1))
    causes = add_up(document["quote"])
    assert causes["lane"] < 0
    assert "model" not in causes


async def test_cut_answers_and_what_followed_them_are_named(bench: Bench) -> None:
    document, charged = await run_against(bench, fail_some(bench, "cut_answer", 1, 3))
    causes = add_up(document["quote"])
    assert document["requests"]["more_room"] == 2
    assert from_usd(causes["follow_ups"]) == await sum_follow_ups(bench) > 0
    assert "output" in causes
    assert from_usd(document["quote"]["actual_usd"]) == charged


async def test_refused_tries_cost_nothing_and_are_no_difference(bench: Bench) -> None:
    document, _ = await run_against(bench, Behavior(rate_limited=1, max_faults_per_picture=1))
    causes = add_up(document["quote"])
    assert document["requests"]["retried"]
    assert set(causes) <= {"input", "output", "cache"}


async def test_what_failed_without_an_answer_was_quoted_and_not_billed(bench: Bench) -> None:
    bench.flags["limits.max_attempts"] = 1
    document, _ = await run_against(bench, fail_some(bench, "server_error", 6))
    assert document["images"]["failed"] == 1
    assert add_up(document["quote"])["not_billed"] < 0


async def test_answers_in_vain_make_the_next_try_one_too_many(bench: Bench) -> None:
    document, _ = await run_against(bench, fail_some(bench, "wrong_schema", 1, 3))
    assert document["images"]["done"] == 6
    assert add_up(document["quote"])["tried_again"] > 0


async def test_small_pictures_and_drift_are_told(bench: Bench) -> None:
    for number in range(6, 9):
        bench.put(f"{number}.jpg", jpeg(3_000, 2_400, seed=number))
    document, _ = await run_against(bench, Behavior())
    saved = document["saved"]
    assert saved["bytes"] == saved["original_bytes"] - saved["sent_bytes"]
    plan = bench.plan()
    files = sum(path.stat().st_size for path in bench.library.iterdir())
    assert saved["original_bytes"] == files
    async with open_ledger(plan.settings) as ledger:
        status = await describe_status(
            ledger.reader, scopes=None, profile=None, models=plan.table, now_ms=0
        )
    assert status["saved"] == saved
    [drift] = status["drift"]
    assert (drift["model"], drift["answers"]) == (MODEL, 9)
    assert drift["factor"] == pytest.approx(1, abs=0.01)
    assert not drift["is_telling"]


async def test_the_analyser_on_this_machine_has_nothing_to_compare(tmp_path: Path) -> None:
    bench = Bench(tmp_path, flags={"provider.kind": "local", "provider.model": None})
    bench.put("a.jpg", jpeg(64, 48))
    document = (await bench.run()).document
    assert document["quote"] == {
        "quoted_usd": "0", "actual_usd": "0", "difference_usd": "0", "causes": {},
    }  # fmt: skip
    assert not any(document["saved"].values())


async def test_a_second_run_quotes_what_the_first_one_taught(bench: Bench) -> None:
    shares = []
    async with Simulator() as server:
        bench.flags["provider.base_url"] = server.base_url
        for images in (range(6, 30), range(30, 40)):
            for number in images:
                bench.put(f"{number}.jpg", jpeg(90 + number, 60, seed=number))
            told = (await bench.run()).document["quote"]
            shares.append(abs(Decimal(told["difference_usd"]) / Decimal(told["quoted_usd"])))
    assert shares[1] < Decimal("0.1") < shares[0]
