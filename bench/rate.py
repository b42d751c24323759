"""How much of an allowed rate a run uses, and how often it is refused.

python bench/rate.py                  every case, on both servers; about 20 minutes
python bench/rate.py --only learned --depths 1 --servers simulator

A token bucket of 20 requests/s and 60,000 tokens/s, of 1 s and of 60 s depth, is asked about 2,000
pictures: with the limits configured (the server says nothing of them), learned from its headers,
halved in mid-run, and by two processes on one ledger with one key. The servers are the simulator
(headers as of admission, tokens counted per picture) and bench/mock.c (headers as of the answer,
a fixed 1,500 tokens a request). Share is the least time that the bucket allows over the time that
was taken, from the first request let in to the last.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image

BENCH = Path(__file__).resolve().parent
RUN = [sys.executable, str(BENCH.parent / "run.py")]
RATE, TOKENS = 20.0, 60_000.0
LATENCY_MS = 800
MODEL = "gpt-5.4-mini"
CASES = ("configured", "learned", "halved", "two")
MOCK_CASES = ("learned", "two")  # it forgets its counts when its limits are changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    server: str
    depth: float
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What the server saw."""

    requests: int
    refused: int
    admitted: int
    seconds: float
    answered: int


def make_pictures(folder: Path, count: int) -> None:
    """Small pictures, all different: a few colours of noise, enlarged."""
    folder.mkdir(parents=True)
    chance = random.Random(count)
    for number in range(count):
        noise = Image.frombytes("RGB", (8, 6), chance.randbytes(144))
        noise.resize((1024, 768)).save(folder / f"{number:05}.jpg", quality=70)


def fetch(url: str, body: Any = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data)) as reply:  # noqa: S310  our own
        found: dict[str, Any] = json.load(reply)
    return found


@contextmanager
def simulate(behavior: dict[str, Any], scratch: Path) -> Iterator[str]:
    """The simulator in a process of its own; its address, without the API's prefix."""
    path = scratch / "behavior.json"
    path.write_text(json.dumps(behavior))
    command = [*RUN, "simulate", "--port", "0", "--json", "--behavior", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        document = ""
        while process.stdout and not document.rstrip().endswith("}"):
            document += process.stdout.readline()
        yield json.loads(document)["base_url"].removesuffix("/v1")
        process.terminate()


class Simulated:
    """The simulator under the case's limits."""

    def __init__(self, case: Case, url: str) -> None:
        self._case, self.url = case, url

    @classmethod
    @contextmanager
    def open(cls, case: Case, scratch: Path) -> Iterator["Simulated"]:
        with simulate(cls.behave(case, RATE), scratch) as url:
            yield cls(case, url)

    @staticmethod
    def behave(case: Case, rate: float) -> dict[str, Any]:
        return {
            "requests_per_minute": int(rate * 60),
            "tokens_per_minute": int(TOKENS * rate / RATE * 60),
            "bucket_s": case.depth,
            "rate_headers": case.name != "configured",
            "latency_ms": LATENCY_MS * 0.6,
            "latency_jitter_ms": LATENCY_MS * 0.4,
            "latency_shape": "lognormal",
        }

    def halve(self) -> None:
        fetch(f"{self.url}/__behavior", self.behave(self._case, RATE / 2))

    def count(self) -> Count:
        books = fetch(f"{self.url}/__books")
        return Count(
            requests=books["requests"],
            refused=books["refused"],
            admitted=books["admitted"]["requests"],
            seconds=books["admitted"]["seconds"],
            answered=books["pictures_answered"],
        )


class Mocked:
    """bench/mock.c in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    @contextmanager
    def open(cls, case: Case, scratch: Path) -> Iterator["Mocked"]:
        program, port = scratch / "mock", 8917
        subprocess.run(["cc", "-O2", "-o", program, BENCH / "mock.c"], check=True)
        with subprocess.Popen([program, str(port)]) as process:
            time.sleep(0.3)
            url = f"http://127.0.0.1:{port}"
            fetch(
                f"{url}/__set?latency={LATENCY_MS}&rps={RATE}&tps={TOKENS}&cost=1500"
                f"&burst={case.depth}"
            )
            yield cls(url)
            process.kill()

    def count(self) -> Count:
        stats = fetch(f"{self.url}/__stats")
        return Count(
            requests=int(stats["requests"]),
            refused=int(stats["r429"]),
            admitted=int(stats["ok"]),
            # to the last answer: its latency is not of the bucket's making
            seconds=stats["span_s"] - LATENCY_MS / 1000,
            answered=int(stats["unique_ok"]),
        )


def start_run(
    library: Path, scratch: Path, url: str, options: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    command = [
        *RUN, "tag", str(library), "--model", MODEL, "--base-url", f"{url}/v1", "--json", "-q",
        "--profile", str(BENCH / "profile.yaml"), "--ledger", str(scratch / "ledger.db"),
        "--no-export", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OPENAI_API_KEY": "sk-bench"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def list_options(case: Case) -> list[str]:
    if case.name != "configured":
        return []
    rates = ["--rpm", str(RATE * 60), "--tpm", str(TOKENS * 60)]
    return [*rates, "--set", f"limits.burst_s={case.depth}"]


def measure(case: Case, library: Path) -> None:
    kind = Simulated if case.server == "simulator" else Mocked
    with (
        tempfile.TemporaryDirectory() as folder,
        kind.open(case, Path(folder)) as server,  # type: ignore[attr-defined]
    ):
        began = time.monotonic()
        processes = [
            start_run(library, Path(folder), server.url, list_options(case))
            for _ in range(2 if case.name == "two" else 1)
        ]
        halved_at = (
            watch(server, case) if case.name == "halved" and isinstance(server, Simulated) else None
        )
        documents = [json.loads(process.communicate()[0]) for process in processes]
        wall = time.monotonic() - began
        print(describe(case, server.count(), halved_at, documents), f"{wall:.1f} s |", flush=True)


def watch(server: Simulated, case: Case) -> float:
    """Halve the limits when half of what is over after the burst is through."""
    goal = (case.pictures + RATE * case.depth) / 2
    while (count := server.count()).admitted < goal:
        time.sleep(0.05)
    server.halve()
    return count.seconds


def find_least_seconds(case: Case, admitted: int, halved_at: float | None) -> float:
    """The time in which the bucket lets so many in, when none of it is left unused."""
    burst = RATE * case.depth
    if halved_at is None:
        return max(0.0, admitted - burst) / RATE
    rest = admitted - burst - RATE * halved_at
    return halved_at + rest / (RATE / 2)


def describe(
    case: Case, count: Count, halved_at: float | None, documents: Sequence[dict[str, Any]]
) -> str:
    least = find_least_seconds(case, count.admitted, halved_at)
    done = max(one["images"]["done"] for one in documents)
    split = " + ".join(str(one["requests"]["sent"]) for one in documents)
    return (
        f"| {case.name} | {case.server} | {case.depth:g} s | {done:,} of {case.pictures:,} "
        f"| {count.requests:,} ({split}) | {count.refused} ({count.refused / count.requests:.2%}) "
        f"| {least:.1f} s | {count.seconds:.1f} s | {least / count.seconds:.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--depths", default="1,60")
    parser.add_argument("--servers", default="simulator,mock")
    given = parser.parse_args()
    print(
        "| limits | server | depth | answered | requests | refused | least | taken | share | wall |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "pictures"
        make_pictures(library, given.pictures)
        for server in given.servers.split(","):
            for name in given.only.split(","):
                if server == "mock" and name not in MOCK_CASES:
                    continue
                for depth in map(float, given.depths.split(",")):
                    case = Case(name=name, server=server, depth=depth, pictures=given.pictures)
                    measure(case, library)


if __name__ == "__main__":
    main()
