"""``doctor``: looks before a run does, and says how to mend what is off."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.cli.faults import DONE, FAULT
from pipeline.cli.options import (
    LaneOptions,
    OutputOptions,
    QuestionOptions,
    Roots,
    ServerOptions,
    SettingsOptions,
)
from pipeline.cli.output import defuse, show, show_document
from pipeline.cli.session import find_revision, load
from pipeline.cli.verbs import run_async, verb
from pipeline.domain.errors import ConfigurationError, EnvironmentFault, PipelineError
from pipeline.domain.vision import ServiceTier

if TYPE_CHECKING:
    from datetime import date

    from pipeline.bootstrap.plan import Plan
    from pipeline.config.settings import ProviderSettings, Settings
    from pipeline.diagnosis import Finding, FolderFacts
    from pipeline.ledger.sums import Drift

_SIGNS: Final = {"good": "✓", "warning": "!", "bad": "✗"}
_STYLES: Final = {"good": "green", "warning": "yellow", "bad": "red"}
_FIRST_IMAGES: Final = 3
_EXTRAS: Final = (
    ("heic", "pillow_heif", "reads HEIC pictures"),
    ("ocr", "rapidocr", "lets the offline analyser read text"),
)


@verb
def doctor(
    *,
    question: QuestionOptions,
    server: ServerOptions,
    lane: LaneOptions,
    chosen: SettingsOptions,
    output: OutputOptions,
    paths: Roots = None,
) -> int:
    """Look at everything a run needs, and say how to mend what is off. Nothing is sent.

    Configuration, library, ledger, disk, key (whether it is there, never what it is), model
    (known, retired, priced), batches where they are wanted, extras, export folders. Give it the
    flags you will give to tag.

    Examples:
      tagpipe doctor
      tagpipe doctor ./photos --model gpt-5.4-mini
      tagpipe doctor ./photos --model gpt-5.4-mini --mode batch --finish-by 06:00
      tagpipe doctor -c nightly.yaml --json

    Exit codes: 0 a run can start (there may be warnings); 1 something must be mended first,
    or a bug; 2 usage.
    """
    from pipeline.diagnosis import bad, describe_findings

    try:
        flags = {**question.as_flags(), **server.as_flags(), **lane.as_flags()}
        settings = load(chosen, output, flags)
    except ConfigurationError as error:
        findings = [bad("configuration", str(error), "correct it; docs/configuration.md helps")]
    else:
        findings = list(_examine(settings, paths or [], chosen.config))
    if output.as_json:
        show_document(describe_findings(findings))
    else:
        _show_findings(findings)
    return FAULT if any(one.health == "bad" for one in findings) else DONE


def _show_findings(findings: "list[Finding]") -> None:
    from rich.text import Text

    from pipeline.cli.summary import make_table

    table = make_table()
    for one in findings:
        text = Text(defuse(one.text))
        if one.mend:
            text.append(f"\n→ {one.mend}", style="bold")
        table.add_row(Text(_SIGNS[one.health], style=_STYLES[one.health]), one.what, text)
    show(table)


def _examine(settings: "Settings", paths: list[Path], file: Path | None) -> "Iterator[Finding]":
    from importlib.util import find_spec

    from pipeline.config.loading import DEFAULT_FILE
    from pipeline.diagnosis import check_configuration, check_export, check_extra

    named = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    yield check_configuration(settings, file=None if named is None else str(named))
    yield from _examine_library(settings, paths)
    yield from _examine_ledger(settings)
    yield from _examine_plan(settings)
    for wanted in settings.exports:
        yield check_export(str(wanted.path), look_at_folder(wanted.path))
    for extra, module, purpose in _EXTRAS:
        yield check_extra(extra, purpose, is_installed=find_spec(module) is not None)


def _examine_library(settings: "Settings", paths: list[Path]) -> "Iterator[Finding]":
    from pipeline.bootstrap.listing import find_roots
    from pipeline.diagnosis import Finding, Health, bad

    if not paths and settings.library.url is None:
        yield Finding(
            health=Health.WARNING, what="library", text="none is configured",
            mend="name a folder (tagpipe tag ./photos) or set library.url",
        )  # fmt: skip
        return
    try:
        roots = find_roots(paths, settings)
    except ConfigurationError as error:
        yield bad("library", str(error))
        return
    for root in roots:
        try:
            yield _list_first(root, settings)
        except PipelineError as error:
            yield bad("library", str(error))


def _list_first(root: Path, settings: "Settings") -> "Finding":
    from pipeline.diagnosis import check_library
    from pipeline.sources.local import LocalSource

    names: list[str] = []

    async def look() -> int:
        async for refs in LocalSource(root, settings.library).scan():
            names.extend(Path(ref.uri).name for ref in refs)
            if len(names) > _FIRST_IMAGES:
                break
        return DONE

    run_async(look)
    return check_library(str(root), names[:_FIRST_IMAGES], has_more=len(names) > _FIRST_IMAGES)


def _examine_ledger(settings: "Settings") -> "Iterator[Finding]":
    from pipeline.diagnosis import FolderFacts, bad, check_disk, check_ledger
    from pipeline.ledger.database import name_ledger, parse_ledger_url
    from pipeline.ledger.schema import HEAD

    try:
        url = parse_ledger_url(settings.ledger.url)
        revision = _read_revision(settings)
    except EnvironmentFault as error:
        yield bad("ledger", str(error), "mend that, or name another with --ledger or ledger.url")
        return
    except PipelineError as error:
        yield bad("ledger", str(error), "name another with --ledger or ledger.url")
        return
    if url.get_backend_name() != "sqlite":
        # a server looks after its own disk
        facts = FolderFacts(exists=True, is_writable=True, free_bytes=0)
        yield check_ledger(name_ledger(url), revision, facts, head=HEAD)
        return
    path = Path(str(url.database))
    facts = look_at_folder(path)
    yield check_ledger(str(path), revision, facts, head=HEAD)
    yield check_disk(str(path.parent), facts)


def _read_revision(settings: "Settings") -> str | None:
    found: list[str | None] = []

    async def look() -> int:
        found.append(await find_revision(settings))
        return DONE

    run_async(look)
    return found[0]


def _examine_plan(settings: "Settings") -> "Iterator[Finding]":
    from datetime import UTC, datetime

    from pipeline.bootstrap.plan import make_plan
    from pipeline.diagnosis import Finding, Health, bad, check_model

    today = datetime.now(UTC).date()
    try:
        plan = make_plan(settings, today=today)
    except ConfigurationError as error:
        yield bad("profile", str(error))
        return
    good = partial(Finding, health=Health.GOOD)
    yield good(what="profile", text=f"{plan.profile.name}: {', '.join(plan.profile.fields)}")
    if plan.is_local:
        yield good(what="provider", text="the offline analyser: no key, no network, no cost")
        return
    yield from _examine_server(plan.settings.provider)
    yield check_model(plan.question.model, plan.spec, today=today, known=plan.table)
    yield from _examine_answer(plan)
    yield from _examine_batches(plan)
    yield from _examine_others(plan, today)
    yield from _examine_drift(plan)


def _examine_answer(plan: "Plan") -> "Iterator[Finding]":
    """What the model will look at, write and cost."""
    from pipeline.diagnosis import check_detail, check_prices, check_reasoning

    settings, profile, model = plan.settings.provider, plan.profile, plan.question.model
    detail = check_detail(profile.detail, plan.spec, api=settings.api)
    if detail is not None:
        yield detail
    if plan.spec is None:
        return
    tier = ServiceTier.BATCH if plan.asks_by_batch else settings.service_tier
    yield check_prices(model, plan.spec, tier=tier, detail=profile.detail)
    reasoning = check_reasoning(
        model,
        plan.spec,
        effort=settings.reasoning_effort,
        max_output_tokens=profile.max_output_tokens,
    )
    if reasoning is not None:
        yield reasoning


def _examine_batches(plan: "Plan") -> "Iterator[Finding]":
    """Whether batches can be packed, sent and ended in time, where they are wanted."""
    from datetime import datetime

    from pipeline.diagnosis import check_batch_folder, check_batch_server, check_finish_by
    from pipeline.engine.batch.packer import UNSENT_AT_ONCE
    from pipeline.providers.endpoint import choose_base_url

    if not plan.asks_by_batch:
        return
    wanted = plan.settings.batch
    try:
        host = choose_base_url(plan.settings.provider, os.environ).host or ""
    except ConfigurationError:
        return  # the server is told of elsewhere
    if (finding := check_batch_server(host)) is not None:
        yield finding
    yield check_batch_folder(
        str(wanted.folder),
        look_at_folder(wanted.folder / "a file"),
        needed_bytes=UNSENT_AT_ONCE * wanted.max_mb * 1_000_000,
    )
    if wanted.finish_by is not None:
        yield check_finish_by(wanted.finish_by, datetime.now().astimezone())


def _examine_others(plan: "Plan", today: "date") -> "Iterator[Finding]":
    """Servers beside the first, and whoever takes over."""
    from pipeline.bootstrap.routes import list_wishes
    from pipeline.diagnosis import check_model, check_prices

    first, *others = list_wishes(plan.settings.provider, plan.question.model, os.environ)
    for wish in others:
        server = (wish.settings.base_url, wish.settings.api_key_env)
        if server != (first.settings.base_url, first.settings.api_key_env):
            yield from _examine_server(wish.settings)
        spec = plan.table.find(wish.model)
        if wish.model != first.model:
            yield check_model(wish.model, spec, today=today, known=plan.table)
        tier = wish.settings.service_tier
        if spec is not None and (wish.model, tier) != (first.model, first.settings.service_tier):
            yield check_prices(wish.model, spec, tier=tier, detail=plan.profile.detail)


def _examine_drift(plan: "Plan") -> "Iterator[Finding]":
    """Whether earlier answers counted pictures as the model table does."""
    from pipeline.diagnosis import check_drift
    from pipeline.providers.model_names import is_same_model

    for drift in _read_drift(plan.settings):
        if is_same_model(drift.model_asked, drift.model_answered):
            spec = plan.table.find(drift.model_asked)
            finding = check_drift(drift.model_answered, drift.slope, spec)
            if finding is not None:
                yield finding


def _read_drift(settings: "Settings") -> "list[Drift]":
    """Nothing where there is no ledger that can be read: that is told of elsewhere."""
    from pipeline.ledger.database import Database, parse_ledger_url
    from pipeline.ledger.reading import LedgerReader
    from pipeline.ledger.schema import HEAD

    found: list[Drift] = []

    async def look() -> int:
        if await find_revision(settings) == HEAD:
            async with Database(parse_ledger_url(settings.ledger.url)) as database:
                found.extend(await LedgerReader(database).measure_drift())
        return DONE

    try:
        run_async(look)
    except PipelineError:
        return []
    return found


def _examine_server(settings: "ProviderSettings") -> "Iterator[Finding]":
    from pipeline.diagnosis import Finding, Health, bad
    from pipeline.providers.credentials import read_key
    from pipeline.providers.endpoint import choose_base_url

    try:
        url = choose_base_url(settings, os.environ)
    except ConfigurationError as error:
        yield bad("server", str(error))
        return
    yield Finding(health=Health.GOOD, what="server", text=str(url))
    try:
        key = read_key(settings, os.environ, host=url.host or "")
    except ConfigurationError as error:
        yield bad("key", str(error))
        return
    name = settings.api_key_env
    text = f"{name} is set" if key else f"{name} is not set; this server may not need it"
    yield Finding(health=Health.GOOD if key else Health.WARNING, what="key", text=text)


def look_at_folder(path: Path) -> "FolderFacts":
    """Facts of the folder that ``path`` is or will be in."""
    from pipeline.diagnosis import FolderFacts

    folder = path.absolute().parent
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    if path.exists():
        is_writable = is_writable and path.is_file() and os.access(path, os.W_OK)
    return FolderFacts(
        exists=folder.exists(),
        is_writable=is_writable,
        free_bytes=shutil.disk_usage(nearest).free,
    )
