"""``simulate``: the vision API as a server, for tests, demos and load."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.behavior_options import BehaviorOptions
from pipeline.cli.faults import DONE
from pipeline.cli.options import OutputOptions
from pipeline.cli.output import show, show_document
from pipeline.cli.session import choose_level
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import UsageError

if TYPE_CHECKING:
    from pipeline.simulator.behavior import Behavior
    from pipeline.simulator.server import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOptions:
    """Where it listens, and where the rest is written down."""

    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000
    behavior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", show_default=False,
            help="A shipped behaviour by name (rough-day, small-tier, says-nothing), or a YAML or "
            "JSON file with the options below as keys (latency_ms: 800); options outrank it.",
        ),
    ] = None  # fmt: skip


@verb
def simulate(
    *,
    context: typer.Context,
    address: AddressOptions,
    chosen: BehaviorOptions,
    output: OutputOptions,
) -> int:
    r"""Serve the vision API on this machine: answers without a model, without a key, for nothing.

    What it answers, how long it takes and what goes wrong follow from a seed. It counts what each
    request would have cost: see /__books and /__requests below its address. How it behaves can be
    changed while it serves: POST a JSON object with the keys of --behavior to /__behavior.

    Examples:
      tagpipe simulate
      tagpipe simulate --port 8001 --latency-ms 800 --latency-jitter-ms 300
      tagpipe simulate --rate-limited 0.1 --server-error 0.02 --seed 7
      tagpipe simulate --behavior small-tier --latency-ms 800
      tagpipe tag . --model gpt-5.4-mini --ledger var/trial.db \
        --base-url http://127.0.0.1:8000/v1

    A ledger of its own keeps what it answers apart from real answers.
    It serves until Ctrl-C. With --json the document has base_url and appears once it is ready.

    Exit codes: 0 ended by Ctrl-C; 1 the address cannot be listened on, or a bug; 2 usage.
    """
    from pipeline.config.settings import LogSettings
    from pipeline.observability import configure_logging

    configure_logging(choose_level(output) or LogSettings().level)
    given = {name: value for name, value in asdict(chosen).items() if _is_given(context, name)}
    behavior = _choose_behavior(address.behavior, given)
    return run_async(partial(_serve, behavior, address, output))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _choose_behavior(name: str | None, given: dict[str, Any]) -> "Behavior":
    from pydantic import ValidationError

    from pipeline.simulator.behavior import Behavior
    from pipeline.simulator.behavior_file import read_behavior

    written = read_behavior(name) if name else {}
    try:
        return Behavior.model_validate(written | given)
    except ValidationError as error:
        raise UsageError("; ".join(fault["msg"] for fault in error.errors())) from error


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
