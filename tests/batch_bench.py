"""A library, a ledger and a simulator that works on batches quickly."""

from collections import Counter
from pathlib import Path

from engines import Bench
from pictures import jpeg

from pipeline.bootstrap.ledger import open_ledger
from pipeline.ledger.batches import list_live
from pipeline.ledger.upkeep import check_ledger
from pipeline.simulator.server import Simulator

QUICK = {"batch_seconds": 0.2, "batch_validating_s": 0.02, "batch_finalizing_s": 0.02}


def make_bench(folder: Path, simulator: Simulator, count: int = 12, **flags: object) -> Bench:
    bench = Bench(folder)
    bench.flags = {
        "provider.base_url": simulator.base_url,
        "provider.service_tier": "batch",
        "provider.model": "gpt-5.4-mini",
        "batch.folder": str(folder / "packs"),
        "batch.poll_s": 0.1,
        **{key.replace("__", "."): value for key, value in flags.items()},
    }
    for number in range(count):
        bench.put(f"{number:03}.jpg", jpeg(80 + number, 60, seed=number))
    return bench


async def check(bench: Bench) -> None:
    async with open_ledger(bench.plan().settings) as ledger:
        assert await check_ledger(ledger.database) == []
        assert await list_live(ledger.database) == []
    packs = bench.folder / "packs"
    assert not list(packs.glob("*"))


def bills(simulator: Simulator) -> Counter[str]:
    """Billed lines by picture."""
    return Counter(line["sha256"] for line in simulator.books.list_after(0) if line["is_billed"])
