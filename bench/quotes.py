"""Is the quote right? Photographs of many sizes, quoted and then asked about.

python bench/quotes.py FOLDER --count 2000            the quote against what the server bills
python bench/quotes.py FOLDER --speed 20000           how fast headers are read, and in what memory

FOLDER keeps the corpus. The first compares the quote of every model, detail and size with what
the simulator counts of each prepared picture, then two whole runs of `tag` with what it bills.
"""

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import anyio
from PIL import Image
from sqlalchemy import func, select

from pipeline.bootstrap.estimating import Comparing, EstimateOrder, estimate, make_survey
from pipeline.bootstrap.ledger import open_ledger
from pipeline.bootstrap.plan import Plan, choose_fit, make_plan
from pipeline.bootstrap.tagging import open_tagging
from pipeline.config.loading import load_settings
from pipeline.costs.image_tokens import image_tokens
from pipeline.costs.sending import count_base64_bytes
from pipeline.domain.usage import from_usd
from pipeline.domain.vision import Detail
from pipeline.ledger.tables import spends
from pipeline.preprocess.prepare import prepare_image
from pipeline.simulator.server import Simulator
from pipeline.simulator.sight import look_at

MODELS = ("gpt-4o", "gpt-4.1", "gpt-5", "gpt-4.1-mini", "gpt-5.4-mini", "gpt-5.6-luna")
DETAILS = (Detail.LOW, Detail.HIGH, Detail.ORIGINAL)
END_TO_END = ("gpt-4o", "gpt-5.6-luna")
TODAY = date(2026, 11, 21)
KEY = {"OPENAI_API_KEY": "sk-bench"}
SHARES = (("jpeg", 0.88), ("png", 0.06), ("webp", 0.06))
MOST_PIXELS = 12_000_000


@lru_cache(maxsize=1)
def load_sources() -> Sequence[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def choose_size(chance: random.Random) -> tuple[int, int]:
    """60 px to 12 MP, most of them snapshots and web pictures, some long strips."""
    longest = round(60 * (4_000 / 60) ** chance.random() ** 0.8)
    ratio = chance.choice((1.0, 4 / 3, 3 / 2, 16 / 9, chance.uniform(1, 2), chance.uniform(2, 12)))
    shortest = max(16, round(longest / ratio))
    size = (longest, shortest)
    return size if chance.random() < 0.65 else (shortest, longest)


def make_picture(number: int) -> tuple[bytes, str]:
    """A crop of a photograph, resized; no two alike."""
    chance = random.Random(number)
    source, (width, height) = chance.choice(load_sources()), choose_size(chance)
    scale = min(source.width / width, source.height / height) * chance.uniform(0.3, 1)
    across, down = max(1, width * scale), max(1, height * scale)
    left = chance.uniform(0, max(0, source.width - across))
    top = chance.uniform(0, max(0, source.height - down))
    box = (left, top, min(source.width, left + across), min(source.height, top + down))
    picture = source.resize((width, height), Image.Resampling.BILINEAR, box=box)
    kind = chance.choices([k for k, _ in SHARES], [s for _, s in SHARES])[0]
    if width * height > 2_000_000:
        kind = "jpeg"  # encoding the others takes seconds
    out, options = io.BytesIO(), dict[str, Any]()
    if kind == "jpeg":
        exif = Image.Exif()
        exif[0x0112] = chance.choice((1, 1, 1, 3, 6, 8))
        options = {"exif": exif, "quality": chance.choice((80, 90, 95))}
    picture.save(out, kind.upper(), **options)
    return out.getvalue(), kind.replace("jpeg", "jpg")


def make_corpus(folder: Path, count: int) -> None:
    marker = folder / f".made-{count}"
    if marker.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    load_sources()

    def make(number: int) -> None:
        data, ending = make_picture(number)
        place = folder / f"{number // 500:03}"
        place.mkdir(exist_ok=True)
        (place / f"{number:06}.{ending}").write_bytes(data)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(make, range(count)))
    marker.touch()


def list_pictures(folder: Path) -> Sequence[Path]:
    return [path for path in sorted(folder.rglob("*.*")) if path.is_file() and path.suffix]


def plan_for(model: str, place: Path, **flags: object) -> Plan:
    settings = load_settings(
        flags={
            "provider.model": model, "ledger.url": str(place / "ledger.db"), "exports": [], **flags,
        },
        environ={},
    )  # fmt: skip
    return make_plan(settings, today=TODAY)


async def quote(plan: Plan, folder: Path, **order: Any) -> dict[str, Any]:
    return await estimate(
        plan, None, [folder], make_survey(seed=0), environ=KEY, today=TODAY,
        order=EstimateOrder(sample_size=None, **order),
    )  # fmt: skip


def compare_all(folder: Path, place: Path) -> bool:
    """Quoted picture tokens against those of every prepared picture, as the simulator sees it."""
    plan = plan_for(MODELS[0], place)
    comparing = Comparing(models=MODELS, details=DETAILS)
    document = anyio.run(partial(quote, plan, folder, comparing=comparing))
    rows = {(row["model"], row["detail"]): row for row in document["compare"]}
    jobs = [
        (model, detail, spec)
        for model in MODELS
        for detail in DETAILS
        if (spec := plan.table.find(model)) is not None and spec.offers(detail)
    ]
    billed: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    prepared = 0

    def count(path: Path) -> list[tuple[tuple[str, str], int]]:
        nonlocal prepared
        data, found = path.read_bytes(), []
        sizes: dict[tuple[int, int], tuple[int, int]] = {}
        for model, detail, spec in jobs:
            fit = choose_fit("auto", detail, spec, is_local=False)
            with Image.open(io.BytesIO(data)) as image:
                is_turned = image.getexif().get(0x0112, 1) >= 5
                upright = image.size[::-1] if is_turned else image.size
            wanted = fit(*upright)
            if wanted not in sizes:
                ready = prepare_image(data, replace(plan.options, fit=fit))
                sight = look_at(ready.data)
                sizes[wanted] = (sight.width, sight.height)
                prepared += 1
            found.append(((model, detail.value), image_tokens(spec, detail, *sizes[wanted])))
        return found

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in threads.map(count, list_pictures(folder)):
            billed.update(dict(found))
    print(f"{'model':14} {'detail':9} {'quoted picture tokens':>22} {'counted':>14}  pictures")
    for model, detail, _ in jobs:
        row = rows[model, detail.value]
        each = row["picture_tokens_each"]
        total = row["input_tokens"] - document["images"] * find_words(document)
        is_right = total == billed[model, detail.value]
        wrong[model, detail.value] += not is_right
        sign = "equal" if is_right else "WRONG"
        print(f"{model:14} {detail.value:9} {total:>22,} {billed[model, detail.value]:>14,}  "
              f"{each:,.1f} each, {sign}")  # fmt: skip
    print(f"{document['images']:,} images, {document['copies']:,} copies, "
          f"{prepared:,} pictures prepared")  # fmt: skip
    return not wrong.total()


def find_words(document: dict[str, Any]) -> int:
    """Tokens of the words, which are the same for every picture and model."""
    return int((document["input_tokens"] - document["picture_tokens"]) // document["images"])


async def run_whole(model: str, folder: Path, place: Path) -> bool:
    """A quote, a run of `tag`, and the quote of what a second library like it would cost."""
    async with Simulator() as simulator:
        plan = plan_for(model, place, **{"provider.base_url": simulator.base_url})
        before = await quote(plan, folder)
        began = time.monotonic()
        async with (
            open_ledger(plan.settings) as ledger,
            open_tagging(plan, ledger, [folder], environ=KEY) as tagging,
        ):
            result = await tagging.run()
            after = await estimate(
                plan, ledger, [folder], make_survey(seed=0), environ=KEY, today=TODAY,
                order=EstimateOrder(sample_size=None),
            )  # fmt: skip
            async with ledger.database.read() as connection:
                sent_bytes = await connection.scalar(select(func.sum(spends.c.sent_bytes))) or 0
        lines = simulator.books.list_after(0)
    base64_megabytes = count_base64_bytes(sent_bytes) / 1e6
    sent, failed = len(lines), result.document["images"]["failed"]
    tokens = result.document["tokens"]
    cost = from_usd(result.document["cost_usd"])
    low, high = (from_usd(before["cost_band_usd"]["standard"][end]) for end in ("low", "high"))
    expected = from_usd(before["cost_usd"]["standard"])
    is_right = (
        (before["images"], before["input_tokens"]) == (sent, tokens["input"])
        and low <= cost <= high
        and (after["images"], after["paid"]) == (0, before["listed"])
    )
    print(
        f"{model}: {before['images']:,} quoted, {sent:,} sent, {failed} failed; input "
        f"{before['input_tokens']:,} quoted, {tokens['input']:,} billed; output "
        f"{before['output_tokens']:,} quoted, {tokens['output']:,} billed; "
        f"${expected / 1e9:.6f} quoted ({low / 1e9:.6f} to {high / 1e9:.6f}), "
        f"${cost / 1e9:.6f} billed, off by {cost / expected - 1:+.1%}; bytes "
        f"{before['bytes_to_send'] / 1e6:.1f} MB quoted, {base64_megabytes:.1f} MB of pictures "
        f"sent; afterwards {after['images']} to ask, "
        f"{after['paid']:,} paid; {time.monotonic() - began:.0f} s: "
        f"{'right' if is_right else 'WRONG'}"
    )
    return is_right


def measure_speed(folder: Path, count: int) -> None:
    """Links to the corpus's files, each a listed image of its own, read by one process."""
    pictures = list_pictures(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        library = Path(scratch) / "library"
        for number in range(count):
            source = pictures[number % len(pictures)]
            place = library / f"{number // 1000:04}"
            place.mkdir(parents=True, exist_ok=True)
            os.link(source, place / f"{number:07}{source.suffix}")
        for words in (["--exact"], ["--sample-size", "2000"]):
            measure_command(library, Path(scratch), count, words)


def measure_command(library: Path, scratch: Path, count: int, words: list[str]) -> None:
    command = [
        "taskset", "-c", "0", sys.executable, Path(__file__).parent.parent / "run.py", "estimate",
        library, "--model", "gpt-5.4-mini", "--ledger", scratch / "none.db", "--json", "-q", *words,
    ]  # fmt: skip
    began = time.monotonic()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(list(map(str, command)), stdout=told)
        _, status, used = os.wait4(process.pid, 0)
        told.seek(0)
        document = json.load(told)
    wall = time.monotonic() - began
    looked = count if document["sample"] is None else document["sample"]["looked_at"]
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{' '.join(words)}: {count:,} files listed, {looked:,} headers in {wall:.1f} s on one "
        f"core ({looked / wall:,.0f}/s, {looked / wall * 60:,.0f} a minute; {cpu:.1f} s CPU), "
        f"peak {used.ru_maxrss / 1e3:.0f} MB, status {status}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--speed", type=int, default=0, metavar="FILES")
    given = parser.parse_args()
    began = time.monotonic()
    make_corpus(given.folder, given.count)
    print(f"{given.count:,} pictures in {given.folder}, {time.monotonic() - began:.0f} s")
    if given.speed:
        measure_speed(given.folder, given.speed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "run"
        is_right = compare_all(given.folder, place)
        for model in END_TO_END:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            is_right = anyio.run(run_whole, model, given.folder, place) and is_right
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
