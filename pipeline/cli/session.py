"""What nearly every verb begins with: the settings, the log, an open ledger."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.cli.options import OutputOptions, SettingsOptions
from pipeline.domain.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bootstrap.ledger import Ledger
    from pipeline.config.settings import LogSettings, Settings


def load(
    chosen: SettingsOptions, output: OutputOptions, flags: Mapping[str, object] | None = None
) -> "Settings":
    """Settings from everything the user said; the log is set up on the way.

    Raises:
        ConfigurationError: naming where, which key, which value and what is allowed.
    """
    from pipeline.config.loading import load_settings

    settings = load_settings(
        file=chosen.config,
        overrides=chosen.overrides or (),
        flags={**(flags or {}), "ledger.url": chosen.ledger, "log.level": choose_level(output)},
        environ=os.environ,
    )
    start_log(settings.log)
    return settings


def choose_level(output: OutputOptions) -> str | None:
    """Least level to log by -v and -q; None leaves it to the settings."""
    if output.verbose:
        return "debug" if output.verbose > 1 else "info"
    return "error" if output.quiet else None


def start_log(wanted: "LogSettings") -> None:
    """Send events where the settings say.

    Raises:
        UsageError: the log file cannot be opened.
    """
    from pipeline.observability import configure_logging

    try:
        if wanted.file:
            wanted.file.parent.mkdir(parents=True, exist_ok=True)
        configure_logging(wanted.level, wanted.format, wanted.file)
    except OSError as error:
        raise UsageError(f"log.file: cannot write {wanted.file}: {error.strerror}") from error


@asynccontextmanager
async def open_known_ledger(settings: "Settings") -> AsyncIterator["Ledger"]:
    """The ledger, which must be there already: looking at a mistyped address must not make one.

    Raises:
        UsageError: there is no ledger.
        EnvironmentFault: it cannot be opened, or is of another program version.
    """
    from pipeline.bootstrap.ledger import open_ledger

    await require_ledger(settings)
    async with open_ledger(settings) as ledger:
        yield ledger


async def require_ledger(settings: "Settings") -> None:
    """Make sure that there is a ledger, of any revision.

    Raises:
        UsageError: there is none.
        EnvironmentFault: it cannot be opened.
    """
    from pipeline.ledger.database import name_ledger, parse_ledger_url

    if await find_revision(settings) is None:
        raise UsageError(
            f"there is no ledger at {name_ledger(parse_ledger_url(settings.ledger.url))} yet: "
            "`tagpipe tag` makes it; --ledger or ledger.url names another"
        )


async def find_revision(settings: "Settings") -> str | None:
    """The revision of the ledger, None when there is none; looking makes nothing.

    Raises:
        UsageError: the address is no ledger's, or its driver is not installed.
        EnvironmentFault: it cannot be opened.
    """
    import anyio

    from pipeline.ledger.database import Database, parse_ledger_url
    from pipeline.ledger.schema import read_revision

    database = Database(parse_ledger_url(settings.ledger.url))
    if database.is_sqlite and not await anyio.Path(database.path).exists():
        return None
    async with database:
        return await read_revision(database)
