"""The checks behind ``doctor``: facts in, findings out, each with the way to mend it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pipeline.config.complaints import show
from pipeline.config.settings import Settings
from pipeline.costs.drift import Slope, describe_drift
from pipeline.costs.models import ModelSpec, ModelTable
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.vision import Detail, ServiceTier
from pipeline.limits.finish import read_finish_by
from pipeline.providers.endpoint import is_azure_host, is_openai_host

MIN_FREE_BYTES: Final = 1_000_000_000
"""Room that a ledger, its write-ahead log and the exports of a night may need."""

RETIRES_SOON_DAYS: Final = 90

REASONING_RESERVE_TOKENS: Final = 25_000
"""Output that OpenAI's reasoning guide advises to leave free at first."""


class Health(StrEnum):
    """How a finding is meant."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    health: Health
    what: str
    """What was looked at: ``configuration``, ``library``, ``ledger``, …"""
    text: str
    mend: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """What was found of a folder, or of the nearest one above it that exists."""

    exists: bool
    is_writable: bool
    free_bytes: int


def _good(what: str, text: str) -> Finding:
    return Finding(health=Health.GOOD, what=what, text=text)


def _warn(what: str, text: str, mend: str) -> Finding:
    return Finding(health=Health.WARNING, what=what, text=text, mend=mend)


def bad(what: str, text: str, mend: str | None = None) -> Finding:
    """Something that would stop a run."""
    return Finding(health=Health.BAD, what=what, text=text, mend=mend)


def check_configuration(settings: Settings, *, file: str | None) -> Finding:
    """Which file counts, and what differs from the defaults."""
    changed = ", ".join(
        f"{key}={show(value)}"
        for key, value in list_changes(
            settings.model_dump(mode="json"), Settings().model_dump(mode="json")
        )
    )
    where = file or "no file"
    return _good("configuration", f"{where}; {f'set: {changed}' if changed else 'all defaults'}")


def list_changes(
    values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values that are not the default."""
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            yield from list_changes(value, default, f"{prefix}{key}.")
        elif value != default:
            yield prefix + key, value


def check_library(root: str, images: Sequence[str], *, has_more: bool) -> Finding:
    """What a first look into the library brought."""
    if not images:
        return _warn(
            "library",
            f"{root} holds no image that would be listed",
            "check library.url, library.include, library.exclude and library.hidden",
        )
    more = " and more" if has_more else ""
    return _good("library", f"{root}: {', '.join(images)}{more}")


def check_ledger(path: str, revision: str | None, folder: FolderFacts, *, head: str) -> Finding:
    """Whether the ledger can be used as it is."""
    if not folder.is_writable:
        return bad("ledger", f"{path} cannot be written", "change the permissions, or ledger.url")
    if revision is None:
        return _good("ledger", f"{path} will be made by the first run")
    if revision != head:
        return bad(
            "ledger",
            f"{path} has revision {revision}, this program needs {head}",
            "run tagpipe db backup -o FILE, then tagpipe db upgrade (or install the newer tagpipe)",
        )
    return _good("ledger", f"{path} opens, revision {revision}")


def check_disk(path: str, folder: FolderFacts) -> Finding:
    """Room for the ledger to grow."""
    free = f"{folder.free_bytes / 1e9:,.1f} GB free"
    if folder.free_bytes < MIN_FREE_BYTES:
        return bad("disk", f"{free} at {path}", "free at least 1 GB, or move the ledger")
    return _good("disk", f"{free} at {path}")


def check_export(path: str, folder: FolderFacts) -> Finding:
    """Whether an export can be written."""
    if not folder.is_writable:
        return bad("export", f"{path} cannot be written", "change the permissions, or exports")
    return _good("export", path if folder.exists else f"{path} (its folder will be made)")


def check_model(model: str, spec: ModelSpec | None, *, today: date, known: ModelTable) -> Finding:
    """What the model table says of the model: known, retired."""
    if spec is None:
        return _warn(
            "model",
            f"{model} is not in the model table ({len(known.names)} models): no prices are known, "
            "pictures are sent at 1024 pixels",
            "add a row in a file of your own and name it in models",
        )
    return _check_retirement(model, spec, today)


def _check_retirement(model: str, spec: ModelSpec, today: date) -> Finding:
    instead = f"change to {spec.successor}" if spec.successor else "choose another model"
    if spec.retired_on is None:
        return _good("model", f"{model} is in the model table")
    if spec.is_retired(today):
        return bad("model", f"{model} was retired on {spec.retired_on}", instead)
    if spec.retired_on - today <= timedelta(days=RETIRES_SOON_DAYS):
        return _warn("model", f"{model} retires on {spec.retired_on}", instead)
    return _good("model", f"{model} is in the model table; it retires on {spec.retired_on}")


def check_prices(model: str, spec: ModelSpec, *, tier: ServiceTier, detail: Detail) -> Finding:
    """Whether what this lane and detail will cost can be told."""
    lane = "" if tier is ServiceTier.AUTO else f" in service tier {tier}"
    if spec.prices is None or spec.prices.find(tier) is None:
        other = "set provider.service_tier: auto, or " if spec.prices else ""
        return _warn(
            "prices",
            f"no price is known for {model}{lane}: costs will show as unpriced, "
            "no budget can be kept",
            f"{other}add its prices in a file of your own and name it in models",
        )
    if spec.is_assumed(detail):
        return _warn(
            "prices",
            f"{model} is priced{lane}, but its prices or sizes at detail {detail} are not "
            "confirmed by the maker",
            "compare the first bill with tagpipe status",
        )
    return _good("prices", f"{model} is priced{lane}")


def check_reasoning(
    model: str, spec: ModelSpec, *, effort: str | None, max_output_tokens: int
) -> Finding | None:
    """Whether thinking nobody bounded may eat up the room for the answer; None if it cannot."""
    is_bounded = effort is not None or max_output_tokens >= REASONING_RESERVE_TOKENS
    if not spec.reasons or is_bounded:
        return None
    return _warn(
        "reasoning",
        f"what {model} thinks counts against the profile's max_output_tokens "
        f"({max_output_tokens:,}): answers may be cut, and are paid for",
        "set provider.reasoning_effort to the least the model takes, or a larger max_output_tokens",
    )


def check_detail(detail: Detail, spec: ModelSpec | None, *, api: str) -> Finding | None:
    """Whether the profile's detail can be asked for; None when nobody can know."""
    if spec is not None and not spec.offers(detail):
        return bad(
            "detail",
            f"{spec.name} does not know detail: {detail}",
            "use detail: high in the profile, or another model",
        )
    if detail is Detail.ORIGINAL and api == "chat":
        return bad(
            "detail", "detail: original needs the Responses API", "set provider.api to responses"
        )
    return None if spec is None else _good("detail", f"{detail} is offered")


def check_batch_folder(path: str, folder: FolderFacts, *, needed_bytes: int) -> Finding:
    """Whether the files of batches have room until the server has them.

    ``needed_bytes`` is what those take that lie there at the same time, when they are full.
    """
    if not folder.is_writable:
        return bad("batches", f"{path} cannot be written", "change the permissions or batch.folder")
    free, needed = f"{folder.free_bytes / 1e9:,.1f} GB", f"{needed_bytes / 1e9:,.1f} GB"
    if folder.free_bytes < needed_bytes:
        return _warn(
            "batches",
            f"{free} free at {path}: full batches may need {needed} at a time",
            "free some room, lower batch.max_mb, or name another batch.folder",
        )
    return _good("batches", f"{path} has room for {needed} of files on their way")


def check_batch_server(host: str) -> Finding | None:
    """Whether a server is known to take batches; None when it is."""
    if is_openai_host(host) or is_azure_host(host):
        return None
    return _warn(
        "batches",
        f"compatible servers seldom have a Batch API; nobody knows of {host}",
        "try it with --mode batch --limit 10; without --mode batch it is asked one by one",
    )


def check_finish_by(wanted: str, now: datetime) -> Finding:
    """Whether ``batch.finish_by`` can be read; ``now`` is aware, in local time."""
    try:
        moment = read_finish_by(wanted, now)
    except ConfigurationError as error:
        return bad("batches", str(error))
    hours, minutes = divmod(int((moment - now).total_seconds()) // 60, 60)
    when = moment.astimezone(now.tzinfo).strftime("%Y-%m-%d %H:%M")
    return _good("batches", f"all is to be done by {when}, in {hours} h {minutes:02} min")


def check_drift(model: str, slope: Slope, spec: ModelSpec | None) -> Finding | None:
    """Whether a model was seen to count other picture tokens than its formula; None if not.

    Args:
        model: that answered.
        slope: what was measured on its answers.
        spec: whose formula that was measured against.
    """
    told = describe_drift(model, slope, spec)
    return None if told is None else _warn("tokens", *told)


def check_extra(extra: str, purpose: str, *, is_installed: bool) -> Finding:
    """An optional package."""
    if is_installed:
        return _good("extra", f"{extra} is installed ({purpose})")
    return _warn(
        "extra", f"{extra} is not installed ({purpose})", f"pip install 'tagpipe[{extra}]'"
    )


def describe_findings(findings: Sequence[Finding]) -> list[dict[str, str | None]]:
    """The document of ``doctor --json``."""
    return [
        {"health": one.health, "what": one.what, "text": one.text, "mend": one.mend}
        for one in findings
    ]
