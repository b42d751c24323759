"""The options that verbs share, each declared once, in the groups that verbs take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from pipeline.domain.vision import ServiceTier

_SETTINGS = "Settings"
_OUTPUT = "Output"
_QUESTION = "What is asked, and of whom"
_SERVER = "Server and bounds"
_FALLBACK_ON = ("outage", "rate", "refusal")
Roots: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH",
        help="Folders or image files; none means the library.url of the configuration.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOptions:
    """Where settings come from."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", rich_help_panel=_SETTINGS, show_default=False,
            help="YAML file with settings (default tagpipe.yaml in this folder, if there is one).",
        ),
    ] = None  # fmt: skip
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", rich_help_panel=_SETTINGS, show_default=False,
            help="Set any key, such as limits.max_attempts=3; repeatable, wins over the file.",
        ),
    ] = None  # fmt: skip
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger", metavar="URL", rich_help_panel=_SETTINGS, show_default=False,
            help="Where the truth is kept: a path or sqlite:///path (default var/ledger.db).",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """How much is told, and in what form."""

    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=_OUTPUT,
            help="One JSON document on stdout, text on stderr; after a fault it is "
            '{"error": {"kind", "message", "exit_code"}}.',
        ),
    ] = False  # fmt: skip
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, rich_help_panel=_OUTPUT, show_default=False, metavar="",
            help="Log more to stderr: -v events, -vv every detail and tracebacks.",
        ),
    ] = 0  # fmt: skip
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", rich_help_panel=_OUTPUT,
            help="No progress and no warnings on stderr; errors are still told.",
        ),
    ] = False  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionOptions:
    """What is asked, and of whom: together they decide what is stale."""

    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", rich_help_panel=_QUESTION, show_default=False,
            help="What to ask: a shipped profile by name, or a profile file (default general).",
        ),
    ] = None  # fmt: skip
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_QUESTION, show_default=False,
            help="Vision model to ask; without one the offline analyser answers, free of charge.",
        ),
    ] = None  # fmt: skip
    provider: Annotated[
        Literal["local", "openai"] | None,
        typer.Option(
            rich_help_panel=_QUESTION, show_default=False,
            help="Who answers: the offline analyser, or a server with OpenAI's API.",
        ),
    ] = None  # fmt: skip

    def as_flags(self) -> dict[str, object]:
        """Dotted settings keys to what was given."""
        return {
            "profile": self.profile,
            "provider.model": self.model,
            "provider.kind": self.provider,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Which server, and within what bounds."""

    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", rich_help_panel=_SERVER, show_default=False,
            help="Server to ask (default OPENAI_BASE_URL, else OpenAI).",
        ),
    ] = None  # fmt: skip
    api: Annotated[
        Literal["chat", "responses"] | None,
        typer.Option(
            rich_help_panel=_SERVER, show_default=False,
            help="Which of the server's interfaces to use (default chat).",
        ),
    ] = None  # fmt: skip
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD", rich_help_panel=_SERVER, show_default=False,
            help="Most dollars this run may spend, then it pauses; each run has its own.",
        ),
    ] = None  # fmt: skip
    budget_day: Annotated[
        str | None,
        typer.Option(
            metavar="USD", rich_help_panel=_SERVER, show_default=False,
            help="Most dollars all runs on this ledger may spend in a day (UTC) together.",
        ),
    ] = None  # fmt: skip
    budget_month: Annotated[
        str | None,
        typer.Option(
            metavar="USD", rich_help_panel=_SERVER, show_default=False,
            help="The same for a month.",
        ),
    ] = None  # fmt: skip
    allow_unpriced: Annotated[
        bool,
        typer.Option(
            "--allow-unpriced", rich_help_panel=_SERVER,
            help="Ask a model without a known price although there is a budget.",
        ),
    ] = False  # fmt: skip
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=_SERVER, show_default=False,
            help="Requests in flight at once, of this process (default 64).",
        ),
    ] = None  # fmt: skip
    rpm: Annotated[
        float | None,
        typer.Option(
            "--rpm", metavar="N", rich_help_panel=_SERVER, show_default=False,
            help="Requests a minute at most, of all runs on this ledger with one key "
            "(default: what the server's headers allow).",
        ),
    ] = None  # fmt: skip
    tpm: Annotated[
        float | None,
        typer.Option(
            "--tpm", metavar="N", rich_help_panel=_SERVER, show_default=False,
            help="Tokens a minute at most, pictures included.",
        ),
    ] = None  # fmt: skip
    service_tier: Annotated[
        ServiceTier | None,
        typer.Option(
            rich_help_panel=_SERVER, show_default=False,
            help="Lane to ask for: flex is slower, at half the price.",
        ),
    ] = None  # fmt: skip
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", rich_help_panel=_SERVER, show_default=False,
            help="Model to ask when the first is down, too busy or declines; repeatable, in order.",
        ),
    ] = None  # fmt: skip

    def as_flags(self) -> dict[str, object]:
        """Dotted settings keys to what was given."""
        return {
            "provider.base_url": self.base_url,
            "provider.api": self.api,
            "provider.service_tier": self.service_tier,
            "provider.fallback": self._list_fallbacks(),
            "limits.budget_usd": self.budget,
            "limits.budget_day_usd": self.budget_day,
            "limits.budget_month_usd": self.budget_month,
            "limits.allow_unpriced": self.allow_unpriced or None,
            "limits.max_concurrency": self.max_concurrency,
            "limits.requests_per_minute": self.rpm,
            "limits.tokens_per_minute": self.tpm,
        }

    def _list_fallbacks(self) -> list[dict[str, object]] | None:
        if not self.fallback:
            return None
        return [{"model": model, "causes": list(_FALLBACK_ON)} for model in self.fallback]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """One by one, or in batches."""

    mode: Annotated[
        Literal["live", "batch"] | None,
        typer.Option(
            rich_help_panel=_SERVER, show_default=False,
            help="batch: many requests in one file, answered within a day at half price; "
            "live: one by one in the default lane, whatever the configuration says.",
        ),
    ] = None  # fmt: skip
    finish_by: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", rich_help_panel=_SERVER, show_default=False,
            help="Be done by then (06:00, or 2026-11-22T06:00): batches first; what they would "
            "answer too late is asked one by one just in time.",
        ),
    ] = None  # fmt: skip
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait", rich_help_panel=_SERVER,
            help="Submit batches, collect those that are ready, and leave with exit code 4; "
            "the same command goes on.",
        ),
    ] = False  # fmt: skip

    def as_flags(self) -> dict[str, object]:
        """Dotted settings keys to what was given."""
        flags: dict[str, object] = {
            "batch.finish_by": self.finish_by,
            "batch.wait": False if self.no_wait else None,
        }
        if self.mode is not None:
            tier = ServiceTier.BATCH if self.mode == "batch" else ServiceTier.DEFAULT
            flags["provider.service_tier"] = tier
        return flags
