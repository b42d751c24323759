"""Runs of the real engine on a real ledger and real pictures, with a provider that is scripted."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import anyio
import anyio.lowlevel
import orjson

from pipeline.bootstrap.ledger import Ledger, open_ledger
from pipeline.bootstrap.plan import Plan, make_plan
from pipeline.bootstrap.tagging import open_tagging
from pipeline.config.loading import load_settings
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import FinishReason, VisionRequest, VisionResponse
from pipeline.engine.tagging import RunResult, Tagging

PROFILE = """
name: tiny
instructions: Say what it is.
fields:
  title: {type: text}
  keywords: {type: keywords, max: 5}
"""
ANSWER = {"title": "a picture", "keywords": ["one", "two"]}


def make_response(answer: object = ANSWER, **given: object) -> VisionResponse:
    values = {
        "text": orjson.dumps(answer).decode(),
        "finish": FinishReason.STOP,
        "usage": TokenUsage(input=1_000, output=50),
        "model": "gpt-4o-mini",
        **given,
    }
    return VisionResponse(**values)  # type: ignore[arg-type]


Script = Callable[[VisionRequest, int], Awaitable[VisionResponse]]


async def always_answer(_request: VisionRequest, _number: int) -> VisionResponse:
    return make_response()


@dataclass
class ScriptedProvider:
    """Answers as the script says; remembers what it was asked."""

    script: Script = always_answer
    asked: list[bytes] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    name: str = "scripted"
    reads_metadata: bool = False
    is_partial: bool = False

    async def ask(self, request: VisionRequest) -> VisionResponse:
        self.asked.append(request.image.fingerprint)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.lowlevel.checkpoint()
            return await self.script(request, len(self.asked))
        finally:
            self.in_flight -= 1


@dataclass
class Bench:
    """A library, a ledger and the settings to run them with."""

    folder: Path
    flags: dict[str, object] = field(default_factory=dict)
    profile: str = PROFILE

    @property
    def library(self) -> Path:
        return self.folder / "library"

    def put(self, name: str, data: bytes) -> Path:
        path = self.library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def plan(self) -> Plan:
        profile = self.folder / "tiny.yaml"
        profile.write_text(self.profile)
        self.library.mkdir(exist_ok=True)
        flags: Mapping[str, object] = {
            "profile": str(profile),
            "ledger.url": f"sqlite:///{self.folder}/ledger.db",
            "provider.model": "gpt-4o-mini",
            "limits.retry_base_s": 0.001,
            "exports": [{"format": "jsonl", "path": str(self.folder / "tags.jsonl")}],
            **self.flags,
        }
        settings = load_settings(file=None, overrides=(), flags=flags, environ={})
        return make_plan(settings, today=date(2026, 11, 21))

    @asynccontextmanager
    async def open(
        self, provider: ScriptedProvider | None, *, limit: int | None = None
    ) -> AsyncIterator[tuple[Tagging, Ledger]]:
        plan = self.plan()
        async with (
            open_ledger(plan.settings) as ledger,
            open_tagging(
                plan, ledger, [self.library], environ=os.environ, limit=limit, provider=provider
            ) as tagging,
        ):
            yield tagging, ledger

    async def run(
        self, provider: ScriptedProvider | None = None, *, limit: int | None = None
    ) -> RunResult:
        """One run to its end; a run that hangs fails the test.

        Without a provider of its own it asks whom the settings name.
        """
        with anyio.fail_after(60):
            async with self.open(provider, limit=limit) as (tagging, _):
                return await tagging.run()

    def records(self) -> list[dict[str, object]]:
        lines = (self.folder / "tags.jsonl").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines]
