"""``tag --sample``: some images first, and what the others would come to."""

import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipeline.cli.faults import DONE, FAULT, IMAGES_FAILED, INTERRUPTED, report
from pipeline.cli.options import OutputOptions
from pipeline.cli.output import defuse, show, show_document, tell
from pipeline.cli.verbs import run_async
from pipeline.domain.errors import EnvironmentFault, UsageError
from pipeline.domain.usage import to_usd
from pipeline.domain.vision import ServiceTier

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.bootstrap.ledger import Ledger
    from pipeline.bootstrap.plan import Plan
    from pipeline.cli.tag import ExtentOptions
    from pipeline.config.settings import Settings
    from pipeline.engine.findings import Findings
    from pipeline.engine.projection import Interval, Projection
    from pipeline.engine.sampling import Pilot, Sample
    from pipeline.engine.tagging import RunResult
    from pipeline.ledger.selection import Selection

_PANEL: Final = "A pilot first"
_MOST: Final = 10_000
_WITH_VALUE: Final = ("--sample", "--seed", "--sample-page")
_FLAGS: Final = ("--sample-export",)
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)\S*@")
_HOUR_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotOptions:
    """Whether to ask about a sample only, and which."""

    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=_MOST, rich_help_panel=_PANEL, show_default=False,
            help="Ask only about N of the images, from every folder, size and type, and project "
            "what the rest will cost. The answers are kept.",
        ),
    ] = None  # fmt: skip
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=2**63 - 1, rich_help_panel=_PANEL,
            help="Another seed draws other images.",
        ),
    ] = 0  # fmt: skip
    sample_page: Annotated[
        Path,
        typer.Option(
            metavar="FILE", rich_help_panel=_PANEL,
            help="Where to write the page with the pictures beside their answers.",
        ),
    ] = Path("var/pilot.html")  # fmt: skip
    sample_export: Annotated[
        bool,
        typer.Option(
            "--sample-export", rich_help_panel=_PANEL,
            help="Write the configured exports after the pilot, too.",
        ),
    ] = False  # fmt: skip

    @property
    def skips_exports(self) -> bool:
        """Whether the configured exports are left as they are."""
        return self.sample is not None and not self.sample_export


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What the user said, understood."""

    plan: "Plan"
    roots: Sequence[Path]
    selection: "Selection"
    wanted: PilotOptions
    output: OutputOptions

    @property
    def count(self) -> int:
        return self.wanted.sample or 0


def answer_at_once(settings: "Settings") -> "Settings":
    """The settings of a pilot: nobody waits a day for a page, so it asks one by one."""
    is_batch = settings.provider.service_tier is ServiceTier.BATCH
    tier = ServiceTier.DEFAULT if is_batch else settings.provider.service_tier
    provider = settings.provider.model_copy(update={"service_tier": tier})
    batch = settings.batch.model_copy(update={"finish_by": None})
    return settings.model_copy(update={"provider": provider, "batch": batch})


def start_pilot(  # noqa: PLR0917  what the user said, group by group
    plan: "Plan",
    roots: Sequence[Path],
    selection: "Selection",
    wanted: PilotOptions,
    extent: "ExtentOptions",
    output: OutputOptions,
) -> int:
    """Ask about a sample, or count what it would be; return the exit code.

    Raises:
        UsageError: there is a limit, too.
        EnvironmentFault: the page has no place.
    """
    from pipeline.bootstrap.pilot import require_writable

    if extent.limit is not None:
        raise UsageError("--sample and --limit contradict: --sample N asks about N images itself")
    order = _Order(plan=plan, roots=roots, selection=selection, wanted=wanted, output=output)
    if extent.dry_run:
        return run_async(partial(_preview, order))
    require_writable(wanted.sample_page)
    return run_async(partial(_run, order))


async def _preview(order: _Order) -> int:
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.bootstrap.pilot import preview_sample
    from pipeline.cli.scan import scan_roots

    plan, roots, selection, output = order.plan, order.roots, order.selection, order.output
    document = await scan_roots(plan, roots, selection, is_quiet=output.quiet)
    if document is None:
        report("interrupted", INTERRUPTED, as_json=output.as_json)
        return INTERRUPTED
    async with open_ledger(plan.settings) as ledger:
        sample = await preview_sample(
            plan, ledger, roots, selection, count=order.count, seed=order.wanted.seed
        )
    _show_preview(document, sample, order)
    return DONE


def _show_preview(document: Mapping[str, Any], sample: "Sample", order: _Order) -> None:
    count, strata, waiting = len(sample.drawn), len(sample.waiting), sum(sample.waiting.values())
    if order.output.as_json:
        pilot = {"would_sample": count, "waiting": waiting, "strata": strata,
                 "seed": order.wanted.seed}  # fmt: skip
        show_document({**document, "dry_run": True, "pilot": pilot})
        return
    show(
        f"{document['images']['seen']:,} images listed; of {waiting:,} that would be asked about, "
        f"the pilot takes {count:,} from {strata:,} strata. Nothing was sent."
    )


async def _run(order: _Order) -> int:
    from pipeline.bootstrap.ledger import open_ledger
    from pipeline.engine.sampling import Pilot

    pilot = Pilot(count=order.count, seed=order.wanted.seed)
    findings = page_fault = None
    async with open_ledger(order.plan.settings) as ledger:
        result = await _ask(order, ledger, pilot)
        if result is not None and pilot.sample is not None and pilot.sample.drawn:
            findings = await _read_findings(order, ledger, pilot, pilot.sample)
            page_fault = await _write_page(order, ledger, findings)
    if result is None:
        report("interrupted", INTERRUPTED, as_json=order.output.as_json)
        return INTERRUPTED
    _tell(result, page_fault, order)
    page = None if page_fault else str(order.wanted.sample_page)
    code = _exit_code_of(result, page_fault)
    if order.output.as_json:
        _show_json(result, findings, page, code=code, seed=order.wanted.seed)
    else:
        show(*_draw(result, findings, page))
    return code


def _exit_code_of(result: "RunResult", page_fault: str | None) -> int:
    """A pause or an interruption comes first, as it does before exports."""
    from pipeline.cli.tag import exit_code_of_run

    code = exit_code_of_run(result)
    return FAULT if page_fault and code in (DONE, IMAGES_FAILED) else code


async def _ask(order: _Order, ledger: "Ledger", pilot: "Pilot") -> "RunResult | None":
    """Run the pilot under watch; None when left early."""
    from pipeline.bootstrap.tagging import open_tagging
    from pipeline.cli.progress import Bounds
    from pipeline.cli.watching import watch_tagging

    plan, selection = order.plan, order.selection
    bounds = Bounds(budget_usd=plan.settings.limits.budget_usd, is_selective=True)
    async with open_tagging(
        plan, ledger, order.roots, environ=os.environ, selection=selection, pilot=pilot
    ) as tagging:
        result = await watch_tagging(tagging, bounds, is_quiet=order.output.quiet)
    pilot.asked_seconds = time.monotonic() - pilot.drawn_at
    return result


async def _read_findings(
    order: _Order, ledger: "Ledger", pilot: "Pilot", sample: "Sample"
) -> "Findings":
    from pipeline.engine.findings import read_findings

    tier = order.plan.settings.provider.service_tier.value
    return await read_findings(ledger.reader, pilot, sample, spec=order.plan.spec, tier=tier)


async def _write_page(order: _Order, ledger: "Ledger", findings: "Findings") -> str | None:
    """Write the page; why it could not be, if so: what was paid for is kept all the same."""
    from pipeline.bootstrap.pilot import Draft, write_pilot_page

    draft = Draft(command=write_command(sys.argv), seed=order.wanted.seed)
    path = order.wanted.sample_page
    try:
        await write_pilot_page(order.plan, ledger, order.roots, findings, draft=draft, path=path)
    except EnvironmentFault as fault:
        return str(fault)
    return None


def _tell(result: "RunResult", page_fault: str | None, order: _Order) -> None:
    for text in result.document["warnings"]:
        tell(f"warning: {text}")
    if result.pause is not None:
        tell(f"paused: {result.pause}")
    for text in (*result.export_errors, *([page_fault] if page_fault else [])):
        tell(f"error: {text}")
    if order.wanted.skips_exports and not order.output.quiet:
        tell("a pilot writes no exports; --sample-export does")


def _show_json(
    result: "RunResult", findings: "Findings | None", page: str | None, *, code: int, seed: int
) -> None:
    from pipeline.cli.tag import describe_result

    pilot = None if findings is None else describe_findings(findings, page, seed=seed)
    show_document({**describe_result(result), "pilot": pilot, "exit_code": code})


def describe_findings(findings: "Findings", page: str | None, *, seed: int) -> dict[str, Any]:
    """The ``pilot`` of ``tag --sample --json``; money as decimal texts, None without a price.

    ``waiting`` counts what waited before the pilot, ``rest`` what is left: the projection is
    about the rest, and None where no image was brought to an end.
    """
    from pipeline.bootstrap.pilot import name_stratum

    projection, count = findings.projection, len(findings.images)
    is_known = findings.has_price and bool(count)
    return {
        "page": page,
        "seed": seed,
        "drawn": findings.drawn,
        "sampled": count,
        "waiting": projection.images + count,
        "rest": projection.images,
        "per_image_usd": _to_usd(findings.cost_nanos / count) if is_known else None,
        "projected_usd": _describe_usd(projection.cost_nanos) if is_known else None,
        "lanes_usd": {lane: _describe_usd(cost) for lane, cost in findings.lanes.items()},
        "projected_tokens": _describe_tokens(projection) if count else None,
        "shares": _describe_shares(projection) if count else None,
        "hours": None if findings.seconds is None else round(findings.seconds / _HOUR_SECONDS, 4),
        "strata": [
            {
                "name": name_stratum(one.stratum),
                "waiting": one.waiting,
                "sampled": one.sampled,
                "failed": one.failed,
                "cost_usd": _to_usd(one.cost_nanos) if findings.has_price else None,
            }
            for one in findings.strata
        ],
        "command": write_command(sys.argv),
    }


def _describe_tokens(projection: "Projection") -> dict[str, Any]:
    return {
        "input": _describe_interval(projection.input_tokens),
        "output": _describe_interval(projection.output_tokens),
    }


def _describe_shares(projection: "Projection") -> dict[str, Any]:
    return {
        "free": _describe_interval(projection.free),
        "failed": _describe_interval(projection.failed),
        "refused": _describe_interval(projection.refused),
        "needs_review": _describe_interval(projection.needs_review),
    }


def _describe_usd(cost: "Interval") -> dict[str, str | None]:
    ends = {"low": cost.low, "expected": cost.expected, "high": cost.high}
    return {name: None if nanos is None else _to_usd(nanos) for name, nanos in ends.items()}


def _to_usd(nanos: float) -> str:
    return to_usd(round(nanos))


def _describe_interval(found: "Interval") -> dict[str, float | None]:
    ends = {"low": found.low, "expected": found.expected, "high": found.high}
    return {name: None if value is None else round(value, 4) for name, value in ends.items()}


def _draw(
    result: "RunResult", findings: "Findings | None", page: str | None
) -> list["RenderableType"]:
    from pipeline.cli.summary import draw_result

    parts = draw_result(result)
    if findings is None:
        return [*parts, "nothing waits that a pilot could ask about"]
    parts += ["", *_draw_projection(findings), ""]
    if page is not None:
        parts.append(f"open {defuse(page)} to see the pictures beside their answers")
    return [*parts, f"go on: {defuse(write_command(sys.argv))}"]


def _draw_projection(findings: "Findings") -> Iterable["RenderableType"]:
    from pipeline.cli.summary import make_table
    from pipeline.pages.figures import write_duration, write_usd

    rest, count = findings.projection.images, len(findings.images)
    if not count:
        yield f"no image of the pilot has its answer: what the {rest:,} that wait take is unknown"
        return
    yield f"pilot of {count:,} images; {rest:,} still wait and will take, with 95 %:"
    table = make_table("lane", "at least", "expected", "at most")
    for column in table.columns[1:]:
        column.justify = "right"
    lanes = findings.lanes or {"cost": findings.projection.cost_nanos}
    for lane, cost in lanes.items():
        ends = (cost.low, cost.expected, cost.high) if findings.has_price else (None,) * 3
        table.add_row(lane, *map(write_usd, ends))
    yield table
    yield f"time at this pace: {write_duration(findings.seconds)}"


def write_command(arguments: Sequence[str]) -> str:
    """The command line that asks about the rest, quoted for a shell; passwords are left out.

    Args:
        arguments: of the pilot, the program's own name first.
    """
    program, *words = arguments
    kept = [_PASSWORD.sub(r"\1***@", word) for word in _drop_pilot(words)]
    return shlex.join([*_name_program(program), *kept])


def _name_program(program: str) -> list[str]:
    match Path(program).name:
        case "__main__.py":
            return ["python", "-m", "pipeline"]
        case name if name.endswith(".py"):
            return ["python", program]
        case name:
            return [name]


def _drop_pilot(words: Sequence[str]) -> Iterable[str]:
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield word
            yield from rest
        elif word in _WITH_VALUE:
            next(rest, None)
        elif word.partition("=")[0] not in (*_WITH_VALUE, *_FLAGS):
            yield word
