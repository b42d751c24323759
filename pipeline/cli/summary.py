"""How documents look to people: small tables, plain and calm."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import defuse
from pipeline.cli.progress import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.engine.tagging import RunResult


def make_table(*headings: str) -> Table:
    """A table without lines; headings only where there are any."""
    table = Table(box=None, show_header=bool(headings), padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def make_facts(facts: Iterable[tuple[str, str, str]]) -> Table:
    """Lines of a name, a figure and a remark; the figures stand flush right."""
    table = make_table()
    table.add_column(style="bold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, figure, remark in facts:
        table.add_row(name, figure, Text(remark, style="dim"))
    return table


def format_usd(amount: str | None) -> str:
    """Dollars of an exact decimal text, as people read them."""
    if amount is None:
        return "unknown"
    value = Decimal(amount)
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:,.6f}".rstrip("0")


def draw_result(result: "RunResult") -> list["RenderableType"]:
    """The closing summary of ``tag``."""
    document = result.document
    elapsed = format_duration(document["elapsed_s"])
    parts: list[RenderableType] = [
        f"run {document['run_id']}: {document['state']}, {elapsed}",
        make_facts(_facts_of_run(document)),
    ]
    parts += [
        f"{report.format}: {defuse(report.path)} ({report.records:,} records)"
        for report in result.exports
    ]
    return parts


def _facts_of_run(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    images, sent = document["images"], document["requests"]
    yield "seen", f"{images['seen']:,}", _describe_findings(document["scan"])
    yield "tagged", f"{images['tagged']:,}", ""
    remark = "the same picture was answered before" if images["reused"] else ""
    yield "reused", f"{images['reused']:,}", remark
    yield "failed", f"{images['failed']:,}", _describe_causes(document)
    if images["skipped"]:
        yield "skipped", f"{images['skipped']:,}", ""
    yield "pending", f"{images['pending'] + images['leased']:,}", ""
    yield from _facts_of_batches(document["batches"])
    yield (
        "requests",
        f"{sent['sent']:,}",
        _join(
            sent, ("retried", "retried"), ("rate_limited", "rate-limited"), ("repair", "repairs"),
            ("more_room", "with more room"), ("fallback", "by fallback"),
        ),
    )  # fmt: skip
    if document["substituted"] or document["downgraded"]:
        words = (("substituted", "by another model than asked"),
                 ("downgraded", "in another lane than asked"))  # fmt: skip
        yield "answers", "", _join(document, *words)
    if len(document["answers"]) > 1:
        for answer in document["answers"]:
            yield "answers", f"{answer['count']:,}", f"by {_name_lane(answer)}"
    yield from _facts_of_spend(document)
    yield from _facts_of_quote(document["quote"], document["estimate_usd"])
    if document["cache_saved_usd"] != "0":
        yield "saved", format_usd(document["cache_saved_usd"]), "by the server's prompt cache"
    yield from _facts_of_saving(document["saved"])
    yield "images/s", f"{document['images_per_s']:,.1f}", ""


def _facts_of_batches(batches: Mapping[str, int]) -> Iterable[tuple[str, str, str]]:
    if batches["over"]:
        yield "batches", f"{batches['over']:,}", "collected"
    if batches["open"]:
        yield "batches", f"{batches['open']:,}", "under way: the same command collects them"


def _name_lane(answer: Mapping[str, Any]) -> str:
    tier = answer["service_tier"]
    model: str = defuse(answer["model"])
    return f"{model} ({defuse(tier)})" if tier not in {None, "default"} else model


def _facts_of_spend(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    tokens = document["tokens"]
    if tokens["input"] or tokens["output"]:
        yield "tokens in", f"{tokens['input']:,}", _join(tokens, ("cached", "of them cached"))
        yield (
            "tokens out",
            f"{tokens['output']:,}",
            _join(tokens, ("reasoning", "of them reasoning")),
        )
    unpriced = document["unpriced_answers"]
    remark = f"and {unpriced:,} answers of a model without a known price" if unpriced else ""
    yield "cost", format_usd(document["cost_usd"]), remark


def _facts_of_quote(quote: Mapping[str, Any], estimate_usd: str) -> Iterable[tuple[str, str, str]]:
    """What was expected, and why the bill differs, in hundredths of what was expected."""
    quoted = Decimal(quote["quoted_usd"])
    if not quoted:
        if estimate_usd != "0":
            yield "estimate", format_usd(estimate_usd), "for what is under way"
        return
    parts = [
        f"{_GAPS.get(cause, cause)} {share}"
        for cause, amount in quote["causes"].items()
        if (share := format_share(Decimal(amount) / quoted)) != _NO_SHARE
    ]
    share = format_share(Decimal(quote["difference_usd"]) / quoted)
    because = f": {', '.join(parts)}" if parts else ""
    yield "quote", format_usd(quote["quoted_usd"]), f"difference {share}{because}"


def _facts_of_saving(saved: Mapping[str, int]) -> Iterable[tuple[str, str, str]]:
    """What right-sized pictures saved; nothing where they were sent as they are."""
    whole, tokens = saved["original_bytes"], saved["picture_tokens"]
    words = f"{tokens:,} picture tokens" if tokens > 0 else ""
    if saved["bytes"] > 0:
        sent, original = format_bytes(saved["sent_bytes"]), format_bytes(whole)
        remark = f"of the bytes ({sent} of {original} sent)" + (f" and {words}" if words else "")
        yield "saved", f"{100 * saved['bytes'] // whole} %", f"{remark} by {_RIGHT_SIZED}"
    elif words:
        yield "saved", f"{tokens:,}", f"picture tokens by {_RIGHT_SIZED}"


_RIGHT_SIZED = "sending right-sized pictures"
_NO_SHARE = "0.0 %"
_GAPS = {"follow_ups": "follow-ups", "tried_again": "tried again", "not_billed": "not billed"}


def format_share(share: Decimal) -> str:
    """A difference in hundredths, with its sign: ``+1.8 %``."""
    text = f"{100 * share:+.1f} %"
    return _NO_SHARE if text[1:] == _NO_SHARE else text.replace("-", "\N{MINUS SIGN}")


def format_bytes(count: int) -> str:
    """``730 B``, ``1.2 kB``, ``9.3 GB``: powers of a thousand."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:  # noqa: PLR2004  what rounds to a thousand is one of the next
            break
        size, unit = size / 1_000, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _describe_findings(scan: Mapping[str, int]) -> str:
    kinds = ("new", "changed", "returned", "moved", "gone", "stale")
    return _join(scan, *((kind, kind) for kind in kinds))


def _describe_causes(document: Mapping[str, Any]) -> str:
    if not document["images"]["failed"]:
        return ""
    causes = ", ".join(f"{count:,} {cause}" for cause, count in document["causes"].items())
    return f"{causes or 'in earlier runs'}: see tagpipe errors"


def _join(counts: Mapping[str, int], *names: tuple[str, str]) -> str:
    return ", ".join(f"{counts[key]:,} {word}" for key, word in names if counts.get(key))


def draw_scan(document: Mapping[str, Any]) -> list["RenderableType"]:
    """The closing summary of ``scan``."""
    images, found = document["images"], document["scan"]
    kinds = ("new", "changed", "unchanged", "returned", "moved", "gone", "stale")
    facts = [("listed", f"{images['seen']:,}", "")]
    facts += [(kind, f"{found[kind]:,}", "") for kind in kinds]
    facts += [("pending", f"{images['pending']:,}", "tagpipe tag asks about these")]
    return [make_facts(facts)]


def draw_status(document: Mapping[str, Any]) -> list["RenderableType"]:
    """The ledger as it stands."""
    run = document["latest_run"]
    parts: list[RenderableType] = []
    if run is not None:
        parts.append(
            f"latest run {run['id']} ({run['verb']}): {run['state']}, profile {run['profile']} "
            f"version {run['version']}, {run['model']}, {format_duration(document['elapsed_s'])}"
        )
    parts.append(make_facts(_facts_of_ledger(document)))
    parts += [
        f"{export['format']}: {defuse(export['destination'])} ({export['records']:,} records)"
        for export in document["exports"]
    ]
    return parts


def _facts_of_ledger(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    images, requests = document["images"], document["requests"]
    yield "images", f"{images['seen']:,}", ""
    for state in ("done", "failed", "skipped", "pending", "leased"):
        yield state, f"{images[state]:,}", _remark_on(state, document)
    batches = document["batches"]
    if batches["open"]:
        remark = f"{batches['answered']:,} answered; tagpipe batch list"
        yield "in batches", f"{batches['lines']:,}", remark
    yield "gone", f"{images['gone']:,}", ""
    yield "moved", f"{images['moved']:,}", ""
    yield "requests", f"{requests['sent']:,}", _join(requests, ("lost", "whose answer never came"))
    yield from _facts_of_spend(document)
    yield from _facts_of_periods(document)
    yield from _facts_of_cache(document["cache"])
    yield from _facts_of_saving(document["saved"])
    for model, count in document["models"].items():
        yield "answers", f"{count:,}", f"by {defuse(model)}"
    for share in document["shares"]:
        if remark := _remark_on_share(share):
            yield "other", f"{share['answers']:,}", remark
    for drift in document["drift"]:
        if drift["is_telling"]:
            share = format_share(Decimal(str(drift["factor"])) - 1)
            yield "drift", share, defuse(drift["remark"])


def _facts_of_periods(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    spent = document["spent"]
    if document["maybe_billed_usd"] != "0":
        yield (
            "maybe",
            format_usd(document["maybe_billed_usd"]),
            "at most, for requests whose answer never came",
        )
    if spent["month_usd"] != "0":
        yield "today", format_usd(spent["today_usd"]), "UTC"
        yield "month", format_usd(spent["month_usd"]), ""


def _facts_of_cache(cache: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    if cache["hit_share"] or cache["written_tokens"]:
        saved = Decimal(cache["saved_usd"])
        words = "saved" if saved >= 0 else "lost"
        remark = f"of the input; {words} {format_usd(str(abs(saved)))}"
        yield "cached", f"{cache['hit_share']:.1%}", remark


def _remark_on_share(share: Mapping[str, Any]) -> str:
    """What differs from what was asked for; nothing where all is as asked."""
    model, tier = share["model_answered"], share["tier_answered"]
    parts = []
    if share["is_substitute"]:
        parts.append(f"by {defuse(model)} in place of {defuse(share['model_asked'])}")
    if share["is_other_tier"]:
        by = "" if share["is_substitute"] else f"by {defuse(model)} "
        parts.append(f"{by}in the lane {defuse(tier)} in place of {defuse(share['tier_asked'])}")
    return ", ".join(parts)


def _remark_on(state: str, document: Mapping[str, Any]) -> str:
    if state == "pending":
        words = {"failed": "put back"}
        reasons = document["pending_by_reason"]
        return _join(reasons, *((reason, words.get(reason, reason)) for reason in reasons))
    if state == "leased" and document["batches"]["lines"]:
        return f"{document['batches']['lines']:,} of them in batches"
    return "see tagpipe errors" if state == "failed" and document["images"][state] else ""


def draw_failures(groups: Iterable[Mapping[str, Any]]) -> list["RenderableType"]:
    """Failures by cause, each with what it means and some examples."""
    parts: list[RenderableType] = []
    for group in groups:
        heading = Text(f"{group['count']:,} {group['cause']}", style="bold")
        parts.append(heading.append(f" ({group['state']}): {group['meaning']}", style="not bold"))
        parts += [
            f"    {defuse(example['uri'])}\n        {defuse(example['message'])}"
            for example in group["examples"]
        ]
    return parts
