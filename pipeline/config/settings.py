"""Every knob on one page: default, unit, reason. Frozen once parsed.

``docs/configuration.md`` is generated from these models; a test keeps it equal.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline.domain.vision import ServiceTier


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error, not a shrug."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _check_http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        message = "must start with http:// or https://"
        raise ValueError(message)
    return url.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_check_http_url)]


def _check_variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # what was given is not repeated: it may well be the key
        message = "the name of an environment variable belongs here, such as OPENAI_API_KEY, never the key itself"
        raise ValueError(message)
    return name


VariableName = Annotated[str, AfterValidator(_check_variable_name)]


class LibrarySettings(Section):
    """Where the images are."""

    url: str | None = Field(None, description="Folder to tag when the command names none.")
    include: tuple[str, ...] = Field(
        (),
        description="Globs (`**/*.jpg`, `shoes/**`); when given, only matching paths are listed.",
    )
    exclude: tuple[str, ...] = Field(
        (), description="Globs that are left out; they win over `include`."
    )
    follow_symlinks: bool = Field(
        default=False, description="Follow links to files and folders; loops are cut either way."
    )
    hidden: bool = Field(
        default=False, description="List names that start with a dot (thumbnail caches live there)."
    )


class PreprocessSettings(Section):
    """Guards: what is refused before it is decoded."""

    max_bytes: int = Field(
        200_000_000, ge=1, description="Bytes of a file; a larger one is refused unread."
    )
    max_pixels: int = Field(
        250_000_000,
        ge=1,
        description="Width x height from the header; a larger one is refused undecoded (decompression bombs).",
    )
    min_side: int = Field(
        1, ge=1, description="Pixels; smaller pictures are skipped (1x1 trackers, spacers)."
    )
    threads: int = Field(
        0, ge=0, description="Threads that decode and encode; 0 means one per usable core."
    )


NO_KEY: Final = ""
"""In place of a variable's name: no key is sent."""


class EndpointSettings(Section):
    """A server and key beside the first; both are used, by what each has left."""

    base_url: HttpUrl | None = Field(None, description="Server; unset: the provider's.")
    api_key_env: VariableName | None = Field(
        None,
        description="Environment variable with the key; unset: the provider's on the same server, none on another.",
    )


FallbackCause = Literal["rate", "outage", "refusal", "invalid", "low_confidence", "no_capacity"]


def _check_tier_of_requests(tier: ServiceTier) -> ServiceTier:
    if tier is ServiceTier.BATCH:
        message = "batch is no lane of single requests; use auto, default, flex or priority"
        raise ValueError(message)
    return tier


RequestTier = Annotated[ServiceTier, AfterValidator(_check_tier_of_requests)]


class FallbackSettings(Section):
    """Who is asked when the one before cannot or will not answer."""

    model: str | None = Field(None, description="Model to ask; unset: the provider's.")
    base_url: HttpUrl | None = Field(None, description="Server; unset: the provider's.")
    api_key_env: VariableName | None = Field(
        None,
        description="Environment variable with the key; unset: the provider's on the same server, none on another.",
    )
    service_tier: RequestTier | None = Field(
        None, description="Lane to ask for; unset: the provider's."
    )
    causes: tuple[FallbackCause, ...] = Field(
        ("outage",),
        min_length=1,
        description="What leads here: `rate` (refused as too fast, or a wait of more than two seconds for the rate), `outage` (server down or failing to the last try), `refusal` (the model declined, or a filter stopped it), `invalid` (no usable answer to the last try), `low_confidence` (less sure than the profile's review_below), `no_capacity` (flex has no room).",
    )


class ProviderSettings(Section):
    """Who answers."""

    kind: Literal["local", "openai"] | None = Field(
        None,
        description="`local` measures offline; `openai` asks a vision model. Unset: `openai` when a model is named, else `local`.",
    )
    base_url: HttpUrl | None = Field(
        None,
        description="Server to ask; unset: `OPENAI_BASE_URL`, else OpenAI. Any compatible server works.",
    )
    api: Literal["chat", "responses"] = Field(
        "chat",
        description="`chat` (Chat Completions: every compatible server has it) or `responses` (needed for detail: original).",
    )
    model: str | None = Field(None, description="The model's name, as the server knows it.")
    api_key_env: VariableName = Field(
        "OPENAI_API_KEY",
        description="Name of the environment variable that holds the key; the key itself is never a setting.",
    )
    organization_env: str = Field(
        "OPENAI_ORG_ID", description="Environment variable with the organization, if any."
    )
    project_env: str = Field(
        "OPENAI_PROJECT_ID", description="Environment variable with the project, if any."
    )
    service_tier: ServiceTier = Field(
        ServiceTier.AUTO,
        description="Lane to ask for; `auto` sends none and takes the account's. `batch` packs many requests into one file, answered within a day at half price.",
    )
    flex_shortage: Literal["wait", "step_up"] = Field(
        "wait",
        description="When the flex lane has no room: `wait` and try again, or `step_up` to the default lane at full price.",
    )
    require_model: Literal["any", "exact"] = Field(
        "any",
        description="`exact`: an answer by another model than the one asked for does not count (a dated snapshot of the same model does). `any`: it counts, is recorded and shown.",
    )
    endpoints: tuple[EndpointSettings, ...] = Field(
        (), description="More servers or keys for the same model, used side by side."
    )
    fallback: tuple[FallbackSettings, ...] = Field(
        (), description="Who is asked instead, in order, each for the causes it allows."
    )
    prompt_cache: Literal["auto", "always", "never"] = Field(
        "auto",
        description="`auto`: keep the shared words in the server's prompt cache where that is known to save money (OpenAI and Azure); `always`: with any server, such as a gateway in front of these; `never`: send nothing about it.",
    )
    structured_output: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema",
        description="How the schema is asked for; step down for servers without strict schemas. Answers are validated here either way.",
    )
    output_limit: Literal["auto", "max_tokens", "max_completion_tokens"] = Field(
        "auto",
        description="Key that limits the output over `chat`; `auto`: max_completion_tokens for OpenAI and Azure, else max_tokens. A gateway in front of OpenAI's reasoning models needs max_completion_tokens.",
    )
    send_detail: bool = Field(
        default=True, description="Send `detail`; turn off for servers that reject the key."
    )
    temperature: float | None = Field(
        None, ge=0, le=2, description="Sampling temperature; unset: not sent."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        Field(
            None,
            description="Reasoning effort; unset: not sent. Not every model takes every value. Reasoning tokens count against the profile's max_output_tokens.",
        )
    )
    timeout_s: float = Field(
        120.0, gt=0, description="Seconds for one whole attempt; the flex lane gets at least 900."
    )
    connect_timeout_s: float = Field(10.0, gt=0, description="Seconds to open a connection.")
    first_byte_timeout_s: float | None = Field(
        None, gt=0, description="Seconds until the answer begins; unset: as long as timeout_s."
    )
    cut_stragglers: bool = Field(
        default=True,
        description="Cancel a request that takes several times as long as nearly all before it, and try again; it may be billed twice. Off: wait for timeout_s. Never in the flex lane.",
    )


class LimitSettings(Section):
    """Ceilings that hold whatever happens."""

    max_concurrency: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Requests in flight at once, by this process, over all servers.",
    )
    requests_per_minute: float | None = Field(
        None,
        gt=0,
        description="Requests a minute at most, for all runs on this ledger with the same key and model together; unset: what the server's headers allow.",
    )
    tokens_per_minute: float | None = Field(
        None,
        gt=0,
        description="Tokens a minute at most, pictures included; unset: what the server's headers allow.",
    )
    burst_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Seconds' worth of the two limits above that may be used at once; what the server's headers say of its own limits comes first.",
    )
    budget_usd: Decimal | None = Field(
        None,
        ge=0,
        description="Dollars this run may spend; reaching it pauses the run, resumable. The next run has a budget of its own.",
    )
    budget_day_usd: Decimal | None = Field(
        None, ge=0, description="Dollars all runs on this ledger may spend in a day (UTC) together."
    )
    budget_month_usd: Decimal | None = Field(
        None, ge=0, description="Dollars all runs on this ledger may spend in a month (UTC)."
    )
    allow_unpriced: bool = Field(
        default=False,
        description="Ask a model without a known price although there is a budget: its answers count as nothing.",
    )
    max_attempts: int = Field(
        6,
        ge=1,
        description="Tries for one image before it counts as failed; being refused as too fast is no try.",
    )
    retry_for_s: float = Field(
        86_400.0, gt=0, description="Seconds after its first try that an image may be tried again."
    )
    retry_base_s: float = Field(
        1.0, gt=0, description="Seconds before the first retry; doubles each time, with jitter."
    )
    retry_cap_s: float = Field(60.0, gt=0, description="Longest wait between two tries, seconds.")
    memory_mb: int = Field(
        256, ge=16, description="Megabytes of image data held at once, decoded pictures included."
    )


class LedgerSettings(Section):
    """Where the truth is kept."""

    url: str = Field(
        "sqlite:///var/ledger.db",
        description="`sqlite:///path` (or a plain path), `postgresql://user:password@host/db`.",
    )
    lease_s: float = Field(
        120.0, gt=0, description="Seconds a claimed image stays ours without a sign of life."
    )
    group_ms: float = Field(
        10.0, ge=0, description="Milliseconds settles may gather before they are written together."
    )
    patience_s: float = Field(
        60.0,
        ge=0,
        description="Seconds a run waits while the ledger is away (locked, restarting, disk full) before it pauses, resumable.",
    )
    spool: Path | None = Field(
        None,
        description="Folder where paid answers wait when the ledger stays away; the next start settles them. Unset: beside a SQLite ledger, else `var/spool`.",
    )


class BatchSettings(Section):
    """The lane at half price: `provider.service_tier: batch`, or `--mode batch`."""

    folder: Path = Field(
        Path("var/batches"),
        description="Folder where a batch's file lies until the server has it; at most three at a time.",
    )
    max_mb: int = Field(
        190, ge=1, le=200, description="Megabytes of one batch's file; OpenAI takes 200."
    )
    max_requests: int = Field(
        50_000, ge=1, le=50_000, description="Requests in one batch; OpenAI takes 50,000."
    )
    max_enqueued_tokens: int | None = Field(
        None,
        ge=1,
        description="Input tokens that may wait at the server in all batches together, per model; unset: as many as it takes, found out by its refusals.",
    )
    poll_s: float = Field(
        60.0,
        gt=0,
        description="Most seconds between two looks at a batch; young ones are looked at sooner.",
    )
    wait: bool = Field(
        default=True,
        description="Stay until all batches have ended. Off (`--no-wait`): submit what the server takes, collect what is ready, leave; the same command goes on.",
    )
    finish_by: str | None = Field(
        None,
        description="Time (`06:00`, the next one to come, in local time; or `2026-11-22T06:00`) by which all should be done: what batches will not have answered by then is asked in the flex or the default lane, just in time.",
    )
    keep_files: bool = Field(
        default=False,
        description="Leave the uploaded files at the server (they expire by themselves) instead of deleting each when its batch has ended.",
    )


class ExportSettings(Section):
    """One file that is written at the end of `tag`."""

    format: Literal["csv", "json", "jsonl"] = Field(description="What to write.")
    path: Path = Field(description="Where to write it; replaced whole, never half.")
    status: tuple[Literal["done", "failed", "skipped", "pending"], ...] = Field(
        ("done", "failed", "skipped"), description="Which images to include."
    )


class LogSettings(Section):
    """What is told while it works."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="Least level that is logged; -v means info, -vv debug, -q error."
    )
    format: Literal["text", "json"] = Field("text", description="One line per event on stderr.")
    file: Path | None = Field(None, description="Append log lines to this file instead of stderr.")


_DEFAULT_EXPORTS = (
    ExportSettings(format="csv", path=Path("var/exports/tags.csv")),
    ExportSettings(format="jsonl", path=Path("var/exports/tags.jsonl")),
)


class Settings(Section):
    """All of it: one frozen value that a run is made from."""

    library: LibrarySettings = LibrarySettings()
    profile: str = Field(
        "general", description="Shipped profile by name, or path of a profile file."
    )
    models: tuple[Path, ...] = Field(
        (), description="Extra model tables that override or add rows, see `configs/models.yaml`."
    )
    preprocess: PreprocessSettings = PreprocessSettings()
    provider: ProviderSettings = ProviderSettings()
    limits: LimitSettings = LimitSettings()
    batch: BatchSettings = BatchSettings()
    ledger: LedgerSettings = LedgerSettings()
    exports: tuple[ExportSettings, ...] = Field(
        _DEFAULT_EXPORTS,
        description="Files written at the end of `tag`; an empty list writes none.",
    )
    log: LogSettings = LogSettings()
