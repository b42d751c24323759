"""The quote of a library is what a run over it then sends and is billed."""

import os
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engines import Bench
from pictures import NOT_IMAGES, encode, jpeg, photo, rotated, truncated

from pipeline.bootstrap.estimating import Comparing, EstimateOrder, estimate, make_survey
from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.jobs import Reason
from pipeline.domain.vision import Detail
from pipeline.ledger.selection import Selection
from pipeline.simulator.server import Simulator

pytestmark = pytest.mark.anyio

MODEL = "gpt-5.4-mini"
TODAY = date(2026, 11, 21)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, flags={"provider.model": MODEL})
    bench.library.mkdir()
    return bench


def fill(bench: Bench, count: int = 12) -> None:
    """Pictures of many sizes, copies, and files that are no pictures."""
    for number in range(count):
        bench.put(f"{number:03}.jpg", jpeg(90 + 131 * number, 700, seed=number))
    bench.put("turned.jpg", rotated(6))
    for kind in ("png", "webp", "gif"):
        bench.put(f"picture.{kind}", encode(photo(1700, 300), kind))
    bench.put("copy/one.jpg", jpeg(90, 700, seed=0))
    bench.put("copy/two.jpg", jpeg(90, 700, seed=0))
    bench.put("text.jpg", NOT_IMAGES["text"])
    bench.put("empty.jpg", b"")
    bench.put("cut.jpg", truncated(jpeg(800, 600), 0.01))


async def quote(bench: Bench, *, has_ledger: bool = True, **given: Any) -> dict[str, Any]:
    plan = bench.plan()
    seed, roots = given.pop("seed", 0), given.pop("roots", [bench.library])
    what = {"order": EstimateOrder(**given), "environ": os.environ, "today": TODAY}
    survey = make_survey(seed=seed)
    if not has_ledger:
        return await estimate(plan, None, roots, survey, **what)
    async with open_ledger(plan.settings) as ledger:
        return await estimate(plan, ledger, roots, survey, **what)


async def tag(bench: Bench, *, limit: int | None = None) -> tuple[dict[str, Any], int]:
    """The closing document of a run, and how many requests the server got."""
    async with Simulator() as server:
        bench.flags["provider.base_url"] = server.base_url
        result = await bench.run(limit=limit)
        del bench.flags["provider.base_url"]
        return dict(result.document), len(server.books.list_after(0))


async def test_the_quote_is_what_the_server_bills(bench: Bench) -> None:
    fill(bench)
    told = await quote(bench, has_ledger=False)
    assert not (bench.folder / "ledger.db").exists()
    done, requests = await tag(bench)
    assert told["images"] == requests
    assert told["input_tokens"] == done["tokens"]["input"]
    assert told["copies"] == done["images"]["reused"] == 2
    assert told["refused"] == done["causes"] == {"not_an_image": 1, "empty": 1, "corrupt": 1}
    band = told["cost_band_usd"]["standard"]
    assert Decimal(band["low"]) <= Decimal(done["cost_usd"]) <= Decimal(band["high"])


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5.6-luna", "gpt-5", "o4-mini"])
@pytest.mark.parametrize("detail", ["low", "high"])
async def test_every_scheme_is_quoted_to_the_token(bench: Bench, model: str, detail: str) -> None:
    bench.flags["provider.model"] = model
    bench.profile += f"detail: {detail}\n"
    fill(bench, 5)
    told = await quote(bench, has_ledger=False)
    done, requests = await tag(bench)
    assert (told["images"], told["input_tokens"]) == (requests, done["tokens"]["input"])


async def test_what_is_paid_costs_nothing_and_the_rest_is_what_is_left(bench: Bench) -> None:
    fill(bench)
    whole = await quote(bench)
    first, _ = await tag(bench, limit=5)
    rest = await quote(bench)
    second, requests = await tag(bench)
    assert rest["images"] == requests < whole["images"]
    assert rest["input_tokens"] == second["tokens"]["input"]
    assert whole["input_tokens"] == first["tokens"]["input"] + second["tokens"]["input"]
    nothing = await quote(bench)
    assert (nothing["images"], nothing["input_tokens"], nothing["bytes_to_send"]) == (0, 0, 0)
    assert nothing["cost_usd"]["standard"] == "0"
    assert (nothing["paid"], nothing["failed"], nothing["refused"]) == (18, 3, {})


async def test_what_was_moved_is_paid_for_already(bench: Bench) -> None:
    for number in range(5):
        bench.put(f"old/{number}.jpg", jpeg(640, 480, seed=number))
    await tag(bench)
    (bench.library / "old").rename(bench.library / "new")
    shutil.copy2(bench.library / "new/1.jpg", bench.library / "same.jpg")
    bench.put("more.jpg", jpeg(640, 480, seed=9))
    told = await quote(bench)
    assert (told["paid"], told["images"]) == (5, 2)
    await tag(bench)
    # neither its name nor its time is that of what it is a copy of
    bench.put("plain copy.jpg", (bench.library / "new/2.jpg").read_bytes())
    for sample_size in (None, 100):
        told = await quote(bench, sample_size=sample_size)
        assert (told["paid"], told["copies"], told["images"]) == (8, 0, 0)


# a sample is listed once: of what comes later nothing is known yet
@pytest.mark.parametrize(
    ("name", "sample_size"), [("0.bmp", None), ("2.bmp", None), ("2.bmp", 100)]
)
async def test_a_new_picture_with_size_and_time_of_a_paid_one_that_is_there_is_not_paid(
    bench: Bench, name: str, sample_size: int | None
) -> None:
    """As they come out of one archive."""
    paid = bench.put("1.bmp", encode(photo(64, 48, seed=1), "bmp"))
    await tag(bench)
    new = bench.put(name, encode(photo(64, 48, seed=2), "bmp"))
    assert new.stat().st_size == paid.stat().st_size
    shutil.copystat(paid, new)
    told = await quote(bench, sample_size=sample_size)
    assert (told["paid"], told["images"]) == (1, 1)
    _, requests = await tag(bench)
    assert requests == 1


async def test_a_changed_profile_makes_answers_stale_and_a_changed_file_too(bench: Bench) -> None:
    for number in range(4):
        bench.put(f"{number}.jpg", jpeg(640, 480, seed=number))
    await tag(bench)
    bench.put("1.jpg", jpeg(320, 200, seed=9))
    bench.put("new.jpg", jpeg(320, 200, seed=10))
    told = await quote(bench)
    assert told["to_ask"] == {"new": 1, "changed": 1, "stale": 0, "failed": 0}
    bench.profile += "detail: low\n"
    told = await quote(bench)
    assert told["to_ask"] == {"new": 1, "changed": 1, "stale": 3, "failed": 0}
    chosen = await quote(bench, selection=Selection(reasons=(Reason.STALE,), path="*/0.jpg"))
    assert (chosen["images"], chosen["passed_over"], chosen["paid"]) == (1, 4, 0)


async def test_earlier_answers_make_the_quote_better(bench: Bench) -> None:
    for number in range(40):
        bench.put(f"{number}.jpg", jpeg(64 + number, 48, seed=number))
    before = await quote(bench)
    await tag(bench, limit=30)
    after = await quote(bench)
    done, _ = await tag(bench)
    assert "the ledger has too few answers" in before["basis"]
    assert "the mean of 30 answers of this version" in after["basis"]
    assert "Words: as billed" in after["basis"]
    assert after["input_tokens"] == done["tokens"]["input"]
    assert before["hours"] is None
    assert after["hours"] > 0
    billed = done["tokens"]["output"]
    assert after["output_band"]["low"] <= billed <= after["output_band"]["high"]
    each = [told["output_tokens"] / told["images"] for told in (before, after)]
    assert abs(each[1] - billed / 10) < abs(each[0] - billed / 10)
    assert not any("thinks" in warning for warning in after["warnings"])


async def test_a_sample_is_scaled_and_says_how_sure_it_is(bench: Bench) -> None:
    for number in range(60):
        bench.put(f"{number:02}.jpg", jpeg(64 + 40 * (number % 9), 400, seed=number))
    exact = await quote(bench, sample_size=None)
    assert exact == await quote(bench, sample_size=60)
    some = await quote(bench, sample_size=30, seed=4)
    assert some == await quote(bench, sample_size=30, seed=4)
    assert some["sample"]["looked_at"] == 30
    assert some["images"] == 60
    assert "random sample of 30 of 60" in some["basis"]
    low, high = (Decimal(some["cost_band_usd"]["standard"][end]) for end in ("low", "high"))
    assert low <= Decimal(exact["cost_usd"]["standard"]) <= high
    others = {(await quote(bench, sample_size=30, seed=n))["input_tokens"] for n in range(5)}
    assert len(others) > 1


async def test_copies_outside_the_sample_are_not_quoted(bench: Bench) -> None:
    for number in range(20):
        for copy in range(6):
            bench.put(f"{number:02}/{copy}.jpg", jpeg(200 + number, 150, seed=number))
    exact, some = await quote(bench), await quote(bench, sample_size=40)
    assert (exact["images"], exact["copies"]) == (20, 100)
    assert abs(some["copies"] - 100) <= 5
    assert some["sample"]["images_low"] <= 20 <= some["sample"]["images_high"]


async def test_the_comparison_agrees_with_a_quote_of_its_own(bench: Bench) -> None:
    fill(bench, 6)
    comparing = Comparing(
        models=["gpt-4o", "my-llava"],
        details=[Detail.LOW, Detail.HIGH, Detail.ORIGINAL],
        sides=["auto", 512],
    )
    told = await quote(bench, has_ledger=False, comparing=comparing)
    rows = {(row["model"], row["detail"], row["size"]): row for row in told["compare"]}
    assert len(rows) == 18
    assert sum(row["is_cheapest"] for row in rows.values()) >= 1
    assert rows["gpt-4o", "original", "auto"]["is_offered"] is False
    assert rows["my-llava", "high", "512"]["cost_usd"]["standard"] is None
    assert rows[MODEL, "high", "auto"]["cost_usd"] == told["cost_usd"]
    bench.flags["provider.model"] = "gpt-4o"
    bench.profile += "detail: low\nimage: {max_side: 512}\n"
    own = await quote(bench, has_ledger=False)
    assert rows["gpt-4o", "low", "512"]["input_tokens"] == own["input_tokens"]
    assert rows["gpt-4o", "low", "512"]["cost_usd"] == own["cost_usd"]


async def test_places_inside_one_another_are_counted_once(bench: Bench) -> None:
    bench.put("a/1.jpg", jpeg(64, 48, seed=1))
    bench.put("2.jpg", jpeg(64, 48, seed=2))
    inner, single = bench.library / "a", bench.library / "2.jpg"
    for roots in ([bench.library, inner], [inner, bench.library], [single, bench.library, single]):
        told = await quote(bench, has_ledger=False, roots=roots)
        assert (told["listed"], told["images"]) == (2, 2)


async def test_a_retired_and_an_unknown_model_are_named(bench: Bench) -> None:
    bench.put("1.jpg", jpeg(64, 48))
    bench.flags["provider.model"] = "o4-mini"
    told = await quote(bench, has_ledger=False)
    assert (told["is_retired"], told["retired_on"]) == (True, "2026-10-23")
    assert any("was retired on 2026-10-23" in warning for warning in told["warnings"])
    others = Comparing(models=["gpt-4.1-nano", "gpt-4o"])
    rows = (await quote(bench, has_ledger=False, comparing=others))["compare"]
    assert [row["model"] for row in rows if row["is_cheapest"]] == ["gpt-4o"]
    bench.flags["provider.model"] = "gpt-5"
    told = await quote(bench, has_ledger=False)
    assert (told["is_retired"], told["successor"]) == (False, "gpt-5.6-sol")
    bench.flags["provider.model"] = "my-llava"
    told = await quote(bench, has_ledger=False)
    assert set(told["cost_usd"].values()) == {None}
    assert told["input_tokens"] > 0
    assert any("models:" in warning for warning in told["warnings"])


async def test_limits_tell_hours_and_batches(bench: Bench) -> None:
    for number in range(10):
        bench.put(f"{number}.jpg", jpeg(64 + number, 48, seed=number))
    bench.flags |= {
        "limits.requests_per_minute": 2,
        "batch.max_requests": 4,
        "batch.max_enqueued_tokens": 1_000,
    }
    told = await quote(bench, has_ledger=False)
    assert told["hours"] == pytest.approx(5 / 60, abs=1e-4)
    assert told["batches"]["count"] >= 3
    assert told["batches"]["waves"] == -(-told["input_tokens"] // 1_000)
    assert told["batches"]["hours_at_most"] == 24 * told["batches"]["waves"]


async def test_bytes_to_send_are_near_what_is_sent(bench: Bench) -> None:
    for number in range(20):
        bench.put(f"{number}.jpg", jpeg(400 + 90 * number, 900, seed=number, quality=95))
    told = await quote(bench, has_ledger=False)
    sizes = sum(path.stat().st_size for path in bench.library.iterdir())
    assert told["bytes_to_send"] + told["saved"]["bytes"] > sizes * 4 / 3
    assert told["saved"]["bytes"] >= 0
    assert told["saved"]["tokens"] == 0


async def test_a_small_side_saves_tokens(bench: Bench) -> None:
    bench.profile += "image: {max_side: 256}\n"
    bench.put("1.jpg", jpeg(1600, 1200))
    told = await quote(bench, has_ledger=False)
    shutil.rmtree(bench.library)
    bench.library.mkdir()
    bench.profile = bench.profile.replace("256", "original")
    bench.put("1.jpg", jpeg(1600, 1200))
    original = await quote(bench, has_ledger=False)
    assert told["saved"]["tokens"] == original["picture_tokens"] - told["picture_tokens"] > 0
