"""How a quote looks to people."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from pipeline.cli.output import defuse
from pipeline.cli.progress import format_duration
from pipeline.cli.summary import format_usd, make_facts, make_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_LANES: Final = ("standard", "flex", "batch")
_UNITS: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MILLI: Final = Decimal("0.001")


def draw_quote(document: Mapping[str, Any]) -> list["RenderableType"]:
    """The result of ``estimate``."""
    model, detail = defuse(document["model"]), document["detail"]
    parts: list[RenderableType] = []
    if _is_free(document):
        parts.append("the offline analyser answers: free of charge, nothing is sent")
    else:
        parts.append(f"{model}, profile {document['profile']}, detail {detail}")
    parts.append(make_facts(_list_facts(document)))
    if document["compare"]:
        parts += ["", _draw_comparison(document["compare"])]
        if document["compare_is_sampled"]:
            parts.append("compared on a random sample of the pictures")
    parts += ["", Text(document["basis"], style="dim")]
    return parts


def _is_free(document: Mapping[str, Any]) -> bool:
    return document["batches"] is None


def _list_facts(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    yield from _list_images(document)
    if _is_free(document):
        return
    yield "tokens in", f"{document['input_tokens']:,}", _tell_input(document)
    yield "tokens out", f"{document['output_tokens']:,}", _tell_between(document["output_band"])
    for lane in _LANES:
        cost = document["cost_usd"][lane]
        remark = _tell_costs(document["cost_band_usd"][lane])
        yield lane, "not known" if cost is None else shorten_usd(cost), remark
    hours = document["hours"]
    yield "time", "not known" if hours is None else format_duration(hours * 3600), ""
    yield from _list_sending(document)


def _list_images(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    sample = document["sample"]
    waiting = {kind: count for kind, count in document["to_ask"].items() if count}
    yield "listed", f"{document['listed']:,}", ""
    if sample is None:
        remark = ", ".join(f"{count:,} {kind}" for kind, count in waiting.items())
    else:
        remark = f"between {sample['images_low']:,} and {sample['images_high']:,}, 95 % sure"
    yield "to ask", f"{document['images']:,}", remark
    if document["paid"]:
        yield "paid", f"{document['paid']:,}", "answered already, they cost nothing"
    if document["copies"]:
        yield "copies", f"{document['copies']:,}", "of pictures that are asked about once"
    refused = document["refused"]
    if refused:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in refused.items())
        yield "refused", f"{sum(refused.values()):,}", f"{causes}: not sent"
    if document["failed"]:
        yield "failed", f"{document['failed']:,}", "not asked again: tagpipe retry puts them back"
    if document["passed_over"]:
        yield "passed over", f"{document['passed_over']:,}", "not chosen by --only and --where"


def _tell_input(document: Mapping[str, Any]) -> str:
    pictures = document["picture_tokens"]
    saved = document["saved"]["tokens"]
    remark = f"{pictures:,} of them pictures"
    return f"{remark}; {saved:,} saved by sending smaller ones" if saved else remark


def _tell_between(band: Mapping[str, int]) -> str:
    return f"between {band['low']:,} and {band['high']:,}"


def _tell_costs(band: Mapping[str, str] | None) -> str:
    if band is None:
        return "not sold in this lane, or no known price"
    return f"between {shorten_usd(band['low'])} and {shorten_usd(band['high'])}"


def shorten_usd(amount: str) -> str:
    """Dollars as people read a quote: cents, or tenths of them below a dollar, rounded up."""
    value = Decimal(amount)
    if value >= 1:
        return format_usd(amount)
    return (
        format_usd(str(value.quantize(_MILLI, ROUND_UP)))
        if value >= _MILLI
        else (format_usd(amount))
    )


def _list_sending(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    saved = document["saved"]["bytes"]
    remark = f"{_format_bytes(saved)} less than the files themselves" if saved > 0 else ""
    yield "to send", _format_bytes(document["bytes_to_send"]), remark
    batches = document["batches"]
    if batches["count"] and document["cost_usd"]["batch"] is not None:
        waves = batches["waves"]
        remark = f"{waves:,} at the server one after the other, " if waves and waves > 1 else ""
        remark += f"within {batches['hours_at_most']:,} h"
        yield "batches", f"{batches['count']:,}", remark


def _format_bytes(count: int) -> str:
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"


def _draw_comparison(rows: Iterable[Mapping[str, Any]]) -> "Table":
    table = make_table("model", "detail", "size")
    for heading in ("tokens each", "tokens in", *_LANES):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        table.add_row(*_list_cells(row), style="bold" if row["is_cheapest"] else None)
    return table


def _list_cells(row: Mapping[str, Any]) -> Iterable[str]:
    yield from (defuse(row["model"]), row["detail"], row["size"])
    if not row["is_offered"]:
        yield from ("", "", "", "", "", "no such level")
        return
    yield f"{row['picture_tokens_each']:,.0f}"
    yield f"{row['input_tokens']:,}"
    for lane in _LANES:
        cost = row["cost_usd"][lane]
        yield "-" if cost is None else shorten_usd(cost)
    yield ", ".join(_remark_on(row))


def _remark_on(row: Mapping[str, Any]) -> Iterable[str]:
    if row["is_cheapest"]:
        yield "cheapest"
    if row["is_assumed"]:
        yield "assumed"
    if row["retired_on"]:
        yield f"{'retired' if row['is_retired'] else 'retires'} {row['retired_on']}"
