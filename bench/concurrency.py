"""How many at once a run settles on where the server tells no limits, and what that is worth.

python bench/concurrency.py                  every case; about 4 minutes
python bench/concurrency.py --pictures 3000 --cases 40/1/256

The simulator answers without rate headers. Up to its capacity, answers take as long as on an idle
server; beyond it they take longer by (in flight / capacity) to the power of the exponent, fixed
for each request when it arrives. A case is capacity / exponent / limits.max_concurrency. The best
possible is what the smaller of capacity and max_concurrency does at the latency of an idle server.

Found is what was in flight, on average, after slow start (the first 20 s) and before the last
pictures were sent: what drains then says nothing. Share is the throughput over the best possible,
in that time and from the first request let in to the last answer. Reached is when as many as the
best possible needs were in flight for the first time, and kept is their mean from then on.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rate import fetch, make_pictures, simulate, start_run

CASES = ("40/1/256", "40/1/64", "40/2/256", "40/2/64", "1000/1/64")
SLOW_START_SECONDS = 20.0
SAMPLE_SECONDS = 0.1
UNANSWERED = "none"  # the books' word for a request without a status
LATENCY_MS = 800.0
SIGMA = 0.5  # the simulator's lognormal
LEAST_SHARE = 0.6
"""Of the latency, the same for all: the rest is the median of what spreads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    capacity: int
    exponent: float
    most: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        capacity, exponent, most = text.split("/")
        return cls(capacity=int(capacity), exponent=float(exponent), most=int(most))

    @property
    def best_at_once(self) -> int:
        return min(self.capacity, self.most)

    @property
    def best_per_second(self) -> float:
        spread = math.exp(SIGMA**2 / 2)
        return self.best_at_once / (LATENCY_MS / 1000 * (LEAST_SHARE + (1 - LEAST_SHARE) * spread))

    def behave(self) -> dict[str, Any]:
        return {
            "rate_headers": False,
            "capacity": self.capacity,
            "overload_exponent": self.exponent,
            "latency_ms": LATENCY_MS * LEAST_SHARE,
            "latency_jitter_ms": LATENCY_MS * (1 - LEAST_SHARE),
            "latency_shape": "lognormal",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server's books say at one moment."""

    at: float
    """Seconds since the first request was seen."""
    requests: int
    answered: int
    in_flight: int
    refused: int
    given_up: int
    """The client left before the answer."""


class Watch:
    """Looks at the server's books ten times a second until the run is over."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._began: float | None = None
        self.samples: list[Sample] = []

    def follow(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._look()
            time.sleep(SAMPLE_SECONDS)
        self._look()

    def _look(self) -> None:
        books = fetch(f"{self._url}/__books")
        now = time.monotonic()
        if self._began is None:
            if not books["requests"]:
                return
            self._began = now
        statuses = books["by_status"]
        answers = statuses.get("200", 0) + statuses.get(UNANSWERED, 0)
        self.samples.append(
            Sample(
                at=now - self._began,
                requests=books["requests"],
                answered=books["pictures_answered"],
                in_flight=books["inflight"],
                refused=sum(statuses.values()) - answers,
                given_up=statuses.get(UNANSWERED, 0),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the samples of one run come to."""

    found: float
    share: float
    whole_share: float
    reached_at: float
    kept: float
    refused: int
    given_up: int

    @classmethod
    def draw(cls, case: Case, samples: Sequence[Sample], pictures: int) -> "Finding":
        sending = [sample for sample in samples if sample.requests < pictures]
        settled = [sample for sample in sending if sample.at >= SLOW_START_SECONDS]
        if len(settled) < 2:
            raise SystemExit("over before slow start is: take more pictures")
        last = next(sample for sample in samples if sample.answered == samples[-1].answered)
        reached = [sample for sample in sending if sample.in_flight >= 0.98 * case.best_at_once]
        since = reached[0].at if reached else math.inf
        best = case.best_per_second
        return cls(
            found=mean(sample.in_flight for sample in settled),
            share=measure_rate(settled[0], settled[-1]) / best,
            whole_share=measure_rate(samples[0], last) / best,
            reached_at=since,
            kept=mean(s.in_flight for s in sending if s.at >= since) if reached else 0.0,
            refused=samples[-1].refused,
            given_up=samples[-1].given_up,
        )


def measure_rate(first: Sample, last: Sample) -> float:
    return (last.answered - first.answered) / (last.at - first.at)


def measure(case: Case, library: Path, pictures: int) -> None:
    with tempfile.TemporaryDirectory() as folder, simulate(case.behave(), Path(folder)) as url:
        process = start_run(library, Path(folder), url, ["--max-concurrency", str(case.most)])
        watch = Watch(url)
        watch.follow(lambda: process.poll() is not None)
        document = json.loads(process.communicate()[0])
    finding = Finding.draw(case, watch.samples, pictures)
    print(describe(case, finding, document), flush=True)


def describe(case: Case, finding: Finding, document: dict[str, Any]) -> str:
    return (
        f"| {case.capacity} | {case.exponent:g} | {case.most} | {document['images']['done']:,} "
        f"| {finding.found:.1f} | {finding.share:.1%} | {finding.whole_share:.1%} "
        f"| {finding.reached_at:.1f} s | {finding.kept:.1f} "
        f"| {finding.refused} | {finding.given_up} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_500)
    parser.add_argument("--cases", default=",".join(CASES))
    given = parser.parse_args()
    print(
        "| capacity | exponent | most | done | found | share | whole | reached | kept | refused "
        "| given up |"
    )
    print("|---" * 11 + "|")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "pictures"
        make_pictures(library, given.pictures)
        for text in given.cases.split(","):
            measure(Case.parse(text), library, given.pictures)


if __name__ == "__main__":
    main()
