"""Whatever goes wrong: a cap is never passed by what the server truly charged."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from unittest.mock import patch

import anyio
from engines import PROFILE, Bench
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from pictures import jpeg

from pipeline.bootstrap.ledger import open_ledger
from pipeline.domain.errors import BudgetExhausted
from pipeline.domain.jobs import JobState
from pipeline.engine.tagging import RunResult
from pipeline.ledger.sums import Spending
from pipeline.ledger.upkeep import check_ledger
from pipeline.simulator.behavior import Behavior
from pipeline.simulator.server import Simulator

ASKED, CHEAPER = "gpt-5.4-mini", "gpt-5.4-nano"
TIMEOUT_SECONDS = 0.75
"""Short, since every hung request waits for it; several times what an answer takes here."""
FLEX_SECONDS = "pipeline.providers.transport._LEAST_FLEX_SECONDS"
USUAL_NANOS = 700_000
"""About what one request costs here: caps are drawn in multiples of it."""
AMPLE_NANOS = 10_000_000_000
TIGHT_PROFILE = f"{PROFILE}max_output_tokens: 60\n"
"""With pictures of some size: what a request costs is then not far from its worst, or caps would
hold by their margin alone."""
FAULTS = (
    "rate_limited",
    "server_error",
    "cut_body",
    "reset",
    "refused",
    "wrong_schema",
    "cut_answer",
    "substituted",
    "downgraded",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Nano-dollars; None for no cap."""

    run: int | None = None
    day: int | None = None

    @property
    def are_ample(self) -> bool:
        return all(cap is None or cap >= AMPLE_NANOS for cap in (self.run, self.day))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A library, a server, and one or two runs."""

    caps: tuple[Caps, ...]
    pictures: int = 12
    at_once: int = 8
    tier: str = "auto"
    faults: tuple[tuple[str, float], ...] = ()
    hang: float = 0.0
    most_faults: int | None = 1
    repairs: bool = True
    require_model: str = "any"
    seed: int = 0

    def behave(self) -> Behavior:
        return Behavior(
            seed=self.seed,
            latency_ms=2,
            latency_jitter_ms=10,
            retry_after_ms=5,
            substitute_model=CHEAPER,
            max_faults_per_picture=self.most_faults,
            hang=self.hang,
            **dict(self.faults),  # type: ignore[arg-type]
        )

    def make_bench(self, folder: Path, base_url: str) -> Bench:
        flags: dict[str, object] = {
            "provider.model": ASKED,
            "provider.base_url": base_url,
            "provider.service_tier": self.tier,
            "provider.timeout_s": TIMEOUT_SECONDS,
            "provider.require_model": self.require_model,
            "limits.max_concurrency": self.at_once,
            "limits.max_attempts": 3,
            "limits.retry_cap_s": 0.01,
        }
        profile = TIGHT_PROFILE + ("repair: true\n" if self.repairs else "")
        bench = Bench(folder, flags=flags, profile=profile)
        for number in range(self.pictures):
            bench.put(f"{number:03}.jpg", make_picture(number))
        return bench


@lru_cache
def make_picture(number: int) -> bytes:
    return jpeg(800, 600, seed=number)


tiny_to_ample = st.one_of(
    st.floats(0.1, 3).map(lambda times: int(times * USUAL_NANOS)),
    st.floats(3, 60).map(lambda times: int(times * USUAL_NANOS)),
    st.just(AMPLE_NANOS),
)


@st.composite
def caps_of_runs(draw: st.DrawFn) -> tuple[Caps, ...]:
    """Of one run, or of two, of which the second has the same or more."""
    kind = draw(st.sampled_from(["run", "day", "both"]))
    run = draw(tiny_to_ample) if kind != "day" else None
    day = draw(tiny_to_ample) if kind != "run" else None
    caps = [Caps(run=run, day=day)]
    if draw(st.booleans()):
        more = draw(st.sampled_from([1, 1, 2, 10]))
        caps.append(Caps(run=run and run * more, day=day and day * more))
    return tuple(caps)


stories = st.builds(
    Story,
    caps=caps_of_runs(),
    pictures=st.integers(5, 25),
    at_once=st.integers(1, 16),
    tier=st.sampled_from(["auto", "flex", "priority"]),
    faults=st.dictionaries(st.sampled_from(FAULTS), st.floats(0.05, 0.22), max_size=4).map(
        lambda shares: tuple(shares.items())
    ),
    hang=st.sampled_from([0.0, 0.0, 0.1]),
    most_faults=st.sampled_from([1, 2, None]),
    repairs=st.booleans(),
    require_model=st.sampled_from(["any", "exact"]),
    seed=st.integers(0, 1_000),
)


def today() -> date:
    return datetime.now(UTC).date()


def to_dollars(nanos: int | None) -> str | None:
    return None if nanos is None else str(Decimal(nanos) / 10**9)


async def read_ledger(bench: Bench) -> Spending:
    async with open_ledger(bench.plan().settings) as ledger:
        assert await check_ledger(ledger.database) == []
        return await ledger.reader.sum_spending()


async def wait_until_booked(server: Simulator) -> None:
    """A request whose client has left is booked a moment after it has."""
    with anyio.fail_after(10):
        while server.books.inflight:  # noqa: ASYNC110  the server tells nobody
            await anyio.sleep(0.005)


def check_end(result: RunResult, caps: Caps, pictures: int) -> None:
    if caps.are_ample:
        assert not isinstance(result.pause, BudgetExhausted)
    if result.pause is None:
        settled = (JobState.DONE, JobState.FAILED, JobState.SKIPPED)
        assert sum(result.counts[state] for state in settled) == pictures
    event(f"ended: {type(result.pause).__name__}")


async def play(story: Story) -> None:
    # in the flex lane a request that hangs would be waited for a quarter of an hour
    with tempfile.TemporaryDirectory() as folder, patch(FLEX_SECONDS, TIMEOUT_SECONDS):
        async with Simulator(story.behave()) as server:
            bench, began = story.make_bench(Path(folder), server.base_url), today()
            charged = 0
            for caps in story.caps:
                bench.flags |= {
                    "limits.budget_usd": to_dollars(caps.run),
                    "limits.budget_day_usd": to_dollars(caps.day),
                }
                result = await bench.run()
                await wait_until_booked(server)
                before, charged = charged, sum(server.books.cost_nano.values())
                days = 1 + (today() - began).days
                assert caps.run is None or charged - before <= caps.run
                assert caps.day is None or charged <= caps.day * days
                spending = await read_ledger(bench)
                assert spending.cost_nanos == server.books.delivered.cost_nano
                assert spending.maybe_billed_nanos >= server.books.undelivered.cost_nano
                check_end(result, caps, story.pictures)


AMPLE = Caps(run=AMPLE_NANOS, day=AMPLE_NANOS)
TIGHT = Caps(run=5 * USUAL_NANOS, day=8 * USUAL_NANOS)
TIGHT_DAY = Caps(day=9 * USUAL_NANOS)
TIGHT_RUN = Caps(run=12 * USUAL_NANOS)
LOSSES = (("reset", 0.4), ("cut_body", 0.2))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(story=stories)
@example(story=Story(caps=(AMPLE,)))
@example(story=Story(caps=(TIGHT, TIGHT), at_once=16, faults=LOSSES))
@example(story=Story(caps=(TIGHT_RUN,), pictures=25, tier="priority", faults=LOSSES))
@example(story=Story(caps=(TIGHT_DAY, TIGHT_DAY), at_once=16, pictures=25, tier="priority"))
@example(story=Story(caps=(TIGHT,), tier="priority", faults=(("cut_answer", 0.6),)))
def test_no_cap_is_ever_passed_and_every_cent_is_on_record(story: Story) -> None:
    anyio.run(partial(play, story))
