"""The door: reads the command line, hands over to the verb, ends with its exit code."""

import sys
from typing import Annotated, Any, Final

import typer

from pipeline import __version__
from pipeline.cli.batch import batch
from pipeline.cli.db import db
from pipeline.cli.demo import demo
from pipeline.cli.doctor import doctor
from pipeline.cli.errors import errors
from pipeline.cli.estimate import estimate
from pipeline.cli.export import export
from pipeline.cli.faults import INTERRUPTED, USAGE, report
from pipeline.cli.output import tell
from pipeline.cli.retry import retry
from pipeline.cli.scan import scan
from pipeline.cli.simulate import simulate
from pipeline.cli.status import status
from pipeline.cli.tag import tag
from pipeline.cli.verbs import flow

_HELP: Final = """\
Tag large image libraries with a vision model: nothing is lost, nothing is paid twice.

Examples:
  tagpipe demo                                     see it work, without a key
  tagpipe tag ./photos                             tag a folder, offline
  tagpipe estimate ./photos --model gpt-5.4-mini   what a model would cost
  tagpipe tag ./photos --model gpt-5.4-mini        ask it
  tagpipe status                                   what is done and paid

Exit codes: 0 all done; 1 a fault of the machine or a bug; 2 usage or configuration;
3 finished, but some images failed; 4 paused, the same command goes on; 130 interrupted.
"""

app = typer.Typer(
    name="tagpipe",
    rich_markup_mode="rich",
    invoke_without_command=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"tagpipe {__version__}")
        raise typer.Exit


@app.callback(help=flow(_HELP))
def describe(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - typer acts on it before it calls us
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)


for _panel, _verb in (
    ("Begin", demo),
    ("Begin", doctor),
    ("Work", estimate),
    ("Work", tag),
    ("Work", scan),
    ("Work", export),
    ("Look and mend", status),
    ("Look and mend", errors),
    ("Look and mend", retry),
    ("Tools", simulate),
):
    app.command(_verb.__name__, rich_help_panel=_panel)(_verb)
app.add_typer(batch, name="batch", rich_help_panel="Look and mend")
app.add_typer(db, name="db", rich_help_panel="Tools")


def main() -> None:
    """Read ``sys.argv``, run the verb, exit."""
    for stream in (sys.stdout, sys.stderr):
        # a file name that this terminal cannot show must not end the run
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # both are text files here
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        code: Any = app(arguments, prog_name="tagpipe", standalone_mode=False)
    except typer.TyperException as error:
        return _report_usage(error, as_json="--json" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code or 0


def _report_usage(error: typer.TyperException, *, as_json: bool) -> int:
    """What typer could not read, in its words, with the way to the help."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tagpipe"
    report(error.format_message(), error.exit_code, as_json=as_json)
    tell(f"try: {path} --help")
    return error.exit_code
