"""``simulate``: the vision API as a server, for tests, demos and load."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import choose_level
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import UsageError

if TYPE_CHECKING:
    from pipeline.simulator.behavior import Behavior
    from pipeline.simulator.server import Simulator

_TIME = "How long it takes"
_FAULTS = "How often it fails: shares of all requests, from 0 to 1"


def _share(words: str) -> Any:
    return typer.Option(min=0, max=1, metavar="SHARE", help=words, rich_help_panel=_FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOptions:
    """Where it listens."""

    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000


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
    latency_ms: Annotated[
        float,
        typer.Option(min=0, metavar="MS", rich_help_panel=_TIME, help="Least time to an answer."),
    ] = 0.0
    latency_jitter_ms: Annotated[
        float,
        typer.Option(
            min=0, metavar="MS", rich_help_panel=_TIME,
            help="Added at random: at most this if uniform, half the time less if lognormal.",
        ),
    ] = 0.0  # fmt: skip
    latency_shape: Annotated[
        Literal["uniform", "lognormal"],
        typer.Option(rich_help_panel=_TIME, help="How the random part is spread."),
    ] = "uniform"
    retry_after_ms: Annotated[
        int,
        typer.Option(
            min=0, metavar="MS", rich_help_panel=_TIME,
            help="Wait that a rate-limited answer asks for.",
        ),
    ] = 100  # fmt: skip
    max_faults_per_picture: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", rich_help_panel=_FAULTS, show_default=False,
            help="Faults after which a picture is always answered (default: no end of them).",
        ),
    ] = None  # fmt: skip
    rate_limited: Annotated[float, _share("429, with a Retry-After.")] = 0.0
    server_error: Annotated[float, _share("500 and its kin.")] = 0.0
    cut_body: Annotated[float, _share("The connection breaks within the answer.")] = 0.0
    bad_json: Annotated[float, _share("The answer is no JSON.")] = 0.0
    hang: Annotated[float, _share("No answer ever comes.")] = 0.0
    refused: Annotated[float, _share("The model declines to answer.")] = 0.0
    wrong_schema: Annotated[float, _share("The answer does not fit the schema.")] = 0.0


@verb
def simulate(*, address: AddressOptions, chosen: BehaviorOptions, output: OutputOptions) -> int:
    r"""Serve the vision API on this machine: answers without a model, without a key, for nothing.

    What it answers, how long it takes and what goes wrong follow from a seed. It counts what each
    request would have cost: see /__books and /__requests below its address.

    Examples:
      tagpipe simulate
      tagpipe simulate --port 8001 --latency-ms 800 --latency-jitter-ms 300
      tagpipe simulate --rate-limited 0.1 --server-error 0.02 --seed 7
      tagpipe tag . --model gpt-5.4-mini --ledger var/trial.db \
        --base-url http://127.0.0.1:8000/v1

    A ledger of its own keeps what it answers apart from real answers.
    It serves until Ctrl-C. With --json the document has base_url and appears once it is ready.

    Exit codes: 0 ended by Ctrl-C; 1 the address cannot be listened on, or a bug; 2 usage.
    """
    from pydantic import ValidationError

    from pipeline.config.settings import LogSettings
    from pipeline.observability import configure_logging
    from pipeline.simulator.behavior import Behavior

    configure_logging(choose_level(output) or LogSettings().level)
    try:
        behavior = Behavior(**asdict(chosen))
    except ValidationError as error:
        raise UsageError("; ".join(fault["msg"] for fault in error.errors())) from error
    return run_async(partial(_serve, behavior, address, output))


async def _serve(behavior: "Behavior", address: AddressOptions, output: OutputOptions) -> int:
    import anyio

    from pipeline.cli.signals import obey_signals
    from pipeline.simulator.server import serve

    async with anyio.create_task_group() as around:

        def leave() -> str:
            around.cancel_scope.cancel()
            return "stopped"

        await around.start(obey_signals, (leave,))
        await serve(
            behavior,
            host=address.host,
            port=address.port,
            on_ready=partial(_announce, as_json=output.as_json),
        )
    return DONE


def _announce(simulator: "Simulator", *, as_json: bool) -> None:
    if as_json:
        show_document({"base_url": simulator.base_url})
        return
    show(
        f"ready: {simulator.base_url} (Ctrl-C ends it)",
        f"try: tagpipe tag ./photos --model gpt-5.4-mini --base-url {simulator.base_url} "
        "--ledger var/trial.db",
    )
