"""The server dies in mid-run and another takes over, until the first is back."""

import time
from pathlib import Path

from command_line import read_books

from drills.audit import conclude
from drills.server import open_server
from drills.stage import DONE_BUT_SOME_FAILED, Plan, open_stage, wait_until
from drills.verdict import Scale, Verdict

_AWAY_SECONDS = 3.0


def run(kind: str, folder: Path, scale: Scale) -> Verdict:
    """The run goes on by itself and says so; the short form ends before the return."""
    latency_ms = scale.pick(100, 300)
    latency = ("--latency-ms", latency_ms, "--latency-jitter-ms", latency_ms)
    with open_server(folder, *latency) as second:
        plan = Plan(
            pictures=scale.pick(120, 800),
            latency_ms=latency_ms,
            settings=(_ask_instead(second.base_url),),
        )
        with open_stage(kind, folder, plan) as stage:
            stage.others = (second,)
            process = stage.start()
            stage.wait_for_answers(plan.pictures // 10, process)
            stage.server.kill()
            killed = time.monotonic()
            wait_until(lambda: read_books(second.base_url)["requests"] > 0, "the second is asked")
            gap = time.monotonic() - killed
            time.sleep(_AWAY_SECONDS)
            stage.server.start()
            done = stage.finish(process)
            stage.expect(done, DONE_BUT_SOME_FAILED, when="the run through the outage")
            warnings = done.document.get("warnings", [])
            stage.demand(
                any("left alone" in text for text in warnings), f"nobody was told: {warnings}"
            )
            returned = int(read_books(stage.base_url)["requests"])
            stage.demand(scale.is_short or returned > 0, "the first was never asked again")
            taken = int(read_books(second.base_url)["requests"])
            told = f"second asked after {gap:.1f} s: {taken} times; first again {returned}"
            return conclude(stage, "fallback", kills=1, remark=lambda _: told)


def _ask_instead(base_url: str) -> str:
    return f'provider.fallback=[{{"base_url": "{base_url}", "causes": ["outage"]}}]'
