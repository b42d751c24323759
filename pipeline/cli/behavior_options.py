"""The options of ``simulate`` that say how the server behaves, panel by panel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

_TIME = "How long it takes"
_LIMITS = "How much it allows: for each key and model"
_TOLD = "What it tells of that"
_RULES = "Which requests fail"
_REFUSALS = "How often it refuses: shares of all requests, from 0 to 1"
_FAILURES = "How often it breaks down: shares of all requests"
_BATCHES = "What becomes of batches"
_ANSWERS = "How often the answer is not what was asked for: shares of all requests"


def _share(words: str, panel: str) -> Any:
    return typer.Option(
        min=0, max=1, metavar="SHARE", show_default=False, help=words, rich_help_panel=panel
    )


def _per_minute(words: str) -> Any:
    return typer.Option(min=1, metavar="N", show_default=False, help=words, rich_help_panel=_LIMITS)


def _ms(words: str, panel: str) -> Any:
    return typer.Option(min=0, metavar="MS", help=words, rich_help_panel=panel)


def _seconds(words: str, least: float = 0) -> Any:
    return typer.Option(min=least, metavar="S", help=words, rich_help_panel=_BATCHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviorOptions:
    """How it answers: field by field those of the simulator's behaviour."""

    seed: Annotated[int, typer.Option(metavar="N", help="Decides answers, delays and faults.")] = 0
    require_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", show_default=False,
            help="The only key that is accepted: an invented one, for others can see it. "
            "Without it any key will do, and none.",
        ),
    ] = None  # fmt: skip
    retire: Annotated[
        bool, typer.Option("--retire", help="Retired models are unknown, as on the real server.")
    ] = False

    latency_ms: Annotated[float, _ms("Least time to an answer.", _TIME)] = 0.0
    latency_jitter_ms: Annotated[
        float,
        _ms("Added at random: at most this if uniform, half the time less if lognormal.", _TIME),
    ] = 0.0
    latency_shape: Annotated[
        Literal["uniform", "lognormal"],
        typer.Option(rich_help_panel=_TIME, help="How the random part is spread."),
    ] = "uniform"
    capacity: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_TIME, show_default=False,
            help="Requests at once beyond which all become slower (default: any number).",
        ),
    ] = None  # fmt: skip
    overload_exponent: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", rich_help_panel=_TIME,
            help="How much slower: (in flight / capacity) to this power.",
        ),
    ] = 1.0  # fmt: skip
    slow_body_ms: Annotated[float, _ms("Time a --slow-body takes to trickle in.", _TIME)] = 5000.0

    requests_per_minute: Annotated[int | None, _per_minute("Requests a minute.")] = None
    tokens_per_minute: Annotated[
        int | None, _per_minute("Tokens a minute: input and most output, drawn beforehand.")
    ] = None
    project_tokens_per_minute: Annotated[
        int | None, _per_minute("The same, told as the project's.")
    ] = None
    bucket_s: Annotated[
        float,
        typer.Option(
            min=0.001, metavar="S", rich_help_panel=_LIMITS,
            help="Seconds of the rate that may come at once.",
        ),
    ] = 60.0  # fmt: skip
    headers_at: Annotated[
        Literal["admission", "answer"],
        typer.Option(
            metavar="MOMENT", rich_help_panel=_TOLD,
            help="Of what moment the x-ratelimit headers tell: admission or answer.",
        ),
    ] = "admission"  # fmt: skip
    rate_headers: Annotated[
        bool, typer.Option(rich_help_panel=_TOLD, help="Whether limits and waits are told at all.")
    ] = True
    retry_after_ms: Annotated[
        int, _ms("Wait that --rate-limited and --tokens-limited ask for.", _TOLD)
    ] = 100

    refuse_all: Annotated[
        Literal["bad_key", "forbidden", "no_credit", "spend_limit", "no_model", "schema", "down"]
        | None,
        typer.Option(
            metavar="CAUSE", rich_help_panel=_RULES, show_default=False,
            help="Every one: bad_key, forbidden, no_credit, spend_limit, no_model, schema or down.",
        ),
    ] = None  # fmt: skip
    fault_plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_RULES, show_default=False,
            help='JSON lines {"picture": start of its sha256, "request": N, "time": N, "fault": '
            "name of a share}; they outrank the shares.",
        ),
    ] = None  # fmt: skip
    max_faults_per_picture: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", rich_help_panel=_RULES, show_default=False,
            help="Faults after which a picture is always answered (default: no end of them).",
        ),
    ] = None  # fmt: skip

    rate_limited: Annotated[float, _share("429 for requests, with a Retry-After.", _REFUSALS)] = 0.0
    tokens_limited: Annotated[float, _share("429 for tokens, with a Retry-After.", _REFUSALS)] = 0.0
    slow_down: Annotated[float, _share("429 slow_down.", _REFUSALS)] = 0.0
    flex_shortage: Annotated[float, _share("429 where flex was asked for.", _REFUSALS)] = 0.0
    no_quota: Annotated[float, _share("429 insufficient_quota.", _REFUSALS)] = 0.0
    credit_exhausted: Annotated[float, _share("429 credit_balance_exhausted.", _REFUSALS)] = 0.0
    organization_spend: Annotated[
        float, _share("429, the organization's spend limit.", _REFUSALS)
    ] = 0.0
    project_spend: Annotated[float, _share("429, the project's spend limit.", _REFUSALS)] = 0.0
    organization_usage: Annotated[
        float, _share("429, the organization's usage limit.", _REFUSALS)
    ] = 0.0

    server_error: Annotated[float, _share("500.", _FAILURES)] = 0.0
    bad_gateway: Annotated[float, _share("502, in HTML.", _FAILURES)] = 0.0
    overloaded: Annotated[float, _share("503.", _FAILURES)] = 0.0
    gateway_timeout: Annotated[float, _share("504, in HTML.", _FAILURES)] = 0.0
    error_in_200: Annotated[float, _share("An error under status 200.", _FAILURES)] = 0.0
    reset: Annotated[float, _share("The connection ends instead of an answer.", _FAILURES)] = 0.0
    hang: Annotated[float, _share("No answer ever comes.", _FAILURES)] = 0.0
    slow_body: Annotated[float, _share("The answer trickles.", _FAILURES)] = 0.0
    cut_body: Annotated[float, _share("The connection breaks within the answer.", _FAILURES)] = 0.0
    bad_body: Annotated[float, _share("The body is no JSON, under status 200.", _FAILURES)] = 0.0

    no_choices: Annotated[float, _share("Usage, but nothing said.", _ANSWERS)] = 0.0
    empty_answer: Annotated[float, _share("Null and empty where allowed.", _ANSWERS)] = 0.0
    bad_json: Annotated[float, _share("What the model says is no JSON.", _ANSWERS)] = 0.0
    wrong_schema: Annotated[float, _share("It does not fit the schema.", _ANSWERS)] = 0.0
    refused: Annotated[float, _share("The model declines to answer.", _ANSWERS)] = 0.0
    content_filter: Annotated[float, _share("Stopped by the content filter.", _ANSWERS)] = 0.0
    cut_answer: Annotated[float, _share("Ended by its length.", _ANSWERS)] = 0.0
    substituted: Annotated[float, _share("Another model answers.", _ANSWERS)] = 0.0
    substitute_model: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_ANSWERS, help="That other model.")
    ] = "gpt-5.4-nano"
    downgraded: Annotated[
        float, _share("The default tier answers though another was asked for.", _ANSWERS)
    ] = 0.0

    batch_validating_s: Annotated[float, _seconds("Least time to look one over.")] = 0.1
    batch_seconds: Annotated[float, _seconds("Least time to work on one, line by line.")] = 2.0
    batch_finalizing_s: Annotated[float, _seconds("From its last line to its files.")] = 0.1
    batch_cancelling_s: Annotated[float, _seconds("From the wish to cancel to its end.")] = 0.1
    batch_window_s: Annotated[
        float, _seconds("After which one expires, whatever it is told.", 0.001)
    ] = 86_400.0
    batch_line_errors: Annotated[
        float, _share("Lines with 500, besides the shares above.", _BATCHES)
    ] = 0.0
    stalled_batches: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", rich_help_panel=_BATCHES,
            help="The first so many stop on the way, until cancelled or expired.",
        ),
    ] = 0  # fmt: skip
    stalled_at: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="SHARE", rich_help_panel=_BATCHES,
            help="Share of its lines at which a stalled one stops.",
        ),
    ] = 0.5  # fmt: skip
    batch_enqueued_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", show_default=False, rich_help_panel=_BATCHES,
            help="Input tokens of a model in all that are not over (default: any number).",
        ),
    ] = None  # fmt: skip
    batch_creates_per_hour: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_BATCHES, help="Created within an hour."
        ),
    ] = 2000  # fmt: skip
    failed_batch_calls: Annotated[
        float, _share("503 to calls about files and batches.", _BATCHES)
    ] = 0.0
    lost_batch_creates: Annotated[
        float, _share("Created, but the connection ends instead of an answer.", _BATCHES)
    ] = 0.0
    lost_file_uploads: Annotated[
        float, _share("A file is kept, but the connection ends likewise.", _BATCHES)
    ] = 0.0
