"""What a command is about: its places, what is asked of them, and listing them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from pipeline.bootstrap.clock import open_clock
from pipeline.bootstrap.ledger import Ledger
from pipeline.bootstrap.plan import Plan
from pipeline.config.settings import Settings
from pipeline.domain.errors import ConfigurationError
from pipeline.engine.producer import Place, Producer
from pipeline.engine.progress import Tally
from pipeline.engine.report import describe_run
from pipeline.engine.stages import Clock
from pipeline.ledger.candidates import Candidates
from pipeline.ledger.catalogue import Assignment
from pipeline.ledger.jobs import JobQueue, count_wanted
from pipeline.ledger.runs import ProfileVersion, RunState
from pipeline.ledger.selection import EVERYTHING, Selection
from pipeline.sources.local import LocalSource


async def assign(plan: Plan, ledger: Ledger, clock: Clock) -> Assignment:
    """The ledger's ids of what the plan asks."""
    version = ProfileVersion(
        name=plan.profile.name,
        fingerprint=plan.question.fingerprint,
        model=plan.question.model,
        definition=plan.profile.model_dump(mode="json"),
    )
    return await ledger.runs.assign(version, now_ms=clock.now_ms())


def find_roots(paths: Sequence[Path], settings: Settings) -> list[Path]:
    """The places a command is about: those it names, else the configured library.

    Raises:
        ConfigurationError: neither names one, or one is not there.
    """
    roots = list(paths) or (
        [Path(settings.library.url).expanduser()] if settings.library.url else []
    )
    if not roots:
        raise ConfigurationError(
            "no library: name a folder (tagpipe tag ./photos) or set library.url"
        )
    for root in roots:
        if not root.exists():
            raise ConfigurationError(f"{root} does not exist: name a folder or an image file")
    return roots


async def open_place(root: Path, settings: Settings, ledger: Ledger) -> Place:
    """A folder or file with its part of the ledger."""
    source = LocalSource(root, settings.library)
    is_single = await anyio.Path(root).is_file()
    scopes = await ledger.catalogue.open_scopes(source.prefixes, is_single=is_single)
    return Place(source=source, scopes=scopes)


async def scan(
    plan: Plan,
    ledger: Ledger,
    roots: Sequence[Path],
    tally: Tally,
    *,
    selection: Selection = EVERYTHING,
) -> dict[str, Any]:
    """List ``roots`` into the ledger, counting into ``tally``; nothing is read or sent.

    Returns:
        The run's document, as ``tag`` has it, and ``would_ask``: how many images ``tag`` would
        ask about with the same ``selection``.
    """
    clock = await open_clock(ledger.database)
    began = clock.monotonic()
    assignment = await assign(plan, ledger, clock)
    places = [await open_place(root, plan.settings, ledger) for root in roots]
    run = await ledger.runs.open("scan", assignment, now_ms=clock.now_ms())
    state, document = RunState.FAULT, dict[str, Any]()
    try:
        queue = JobQueue(ledger.database, run)
        await Producer(ledger.catalogue, queue, assignment, run).produce(places, tally, clock)
        state = RunState.FINISHED
        scopes = [scope for place in places for scope in place.scopes]
        counts = await ledger.reader.count_jobs(scopes, profile=plan.profile.name)
        document = describe_run(
            run, state, tally, counts=counts, elapsed_seconds=clock.monotonic() - began
        )
        document["would_ask"] = await count_wanted(
            ledger.database, scopes, assignment, selection, is_begun=False
        )
    except anyio.get_cancelled_exc_class():
        state = RunState.INTERRUPTED
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.runs.close(run, state, document, now_ms=clock.now_ms())
    return document


def find_candidates(
    ledger: Ledger,
    places: Sequence[Place],
    assignment: Assignment,
    selection: Selection,
    *,
    is_begun: bool,
) -> Candidates:
    """What a sample is drawn from."""
    scopes = [scope for place in places for scope in place.scopes]
    return Candidates(ledger.database, scopes, assignment, selection, is_begun=is_begun)
