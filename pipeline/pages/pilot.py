"""The page of a pilot: what the rest will cost, and the pictures beside their answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.pages.markup import document, element, foreign, inline_picture, row, text
from pipeline.pages.pilot_style import SCRIPT, STYLE

_GOOD: Final = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its name and a remark, all in words."""

    name: str
    figure: str
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePrice:
    """What the rest costs in one lane, in words."""

    lane: str
    low: str
    expected: str
    high: str
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumRow:
    """One stratum, in words but for its name."""

    name: str
    waiting: str
    sampled: str
    failed: str
    per_image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One picture and what became of it."""

    name: str
    """Below the library's root."""
    uri: str
    stratum: str
    state: str
    """``done``, ``failed`` or ``skipped``."""
    thumbnail: bytes | None
    """A JPEG; None where there is nothing to show."""
    fields: Mapping[str, Any]
    """The answer by field: text, numbers, truth values, lists of them, or None."""
    confidence: float | None
    needs_review: bool
    review: str
    tokens: str
    cost: str
    cause: str | None = None
    meaning: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotPage:
    """All that the page of a pilot says."""

    title: str
    lead: str
    """One sentence: how many images of how many."""
    command: str
    """What goes on with the rest."""
    figures: Sequence[Figure]
    lanes: Sequence[LanePrice]
    shares: Sequence[Figure]
    asked: Sequence[Figure]
    strata: Sequence[StratumRow]
    notes: Sequence[str]
    cards: Sequence[Card]


def render_pilot(page: PilotPage) -> str:
    """The page as HTML that needs nothing beside it."""
    body = element("header", _render_head(page)) + element("main", _render_main(page))
    return document(page.title, body, style=STYLE, script=SCRIPT)


def _render_head(page: PilotPage) -> str:
    command = element("code", text(page.command), dir="ltr")
    box = element("p", "To go on with the rest", class_="label") + element("pre", command)
    return (
        element("h1", text(page.title))
        + element("p", text(page.lead), class_="lead")
        + _render_figures(page.figures, "figures")
        + element("section", box, class_="command")
    )


def _render_main(page: PilotPage) -> str:
    panels = _render_lanes(page.lanes) + _render_facts("Of the rest, probably", page.shares)
    panels += _render_facts("What was asked", page.asked)
    notes = "".join(element("li", text(note)) for note in page.notes)
    return (
        element("div", panels, class_="panels")
        + _render_strata(page.strata)
        + (element("ul", notes, class_="notes") if notes else "")
        + _render_controls(page.cards)
        + element("div", "".join(map(_render_card, page.cards)), class_="cards", id="cards")
    )


def _render_figures(figures: Iterable[Figure], kind: str) -> str:
    cells = "".join(
        element(
            "div",
            element("dt", text(one.name))
            + element("dd", text(one.figure))
            + (element("dd", text(one.remark), class_="remark") if one.remark else ""),
        )
        for one in figures
    )
    return element("dl", cells, class_=kind)


def _render_facts(heading: str, facts: Sequence[Figure]) -> str:
    if not facts:
        return ""
    return element(
        "section", element("h2", text(heading)) + _render_figures(facts, "facts"), class_="panel"
    )


def _render_lanes(lanes: Sequence[LanePrice]) -> str:
    if not lanes:
        return ""
    head = row("th", ("Lane", "At least", "Expected", "At most"))
    rows = (
        row(
            "td",
            (
                text(lane.lane) + (element("small", text(lane.remark)) if lane.remark else ""),
                text(lane.low),
                element("strong", text(lane.expected)),
                text(lane.high),
            ),
        )
        for lane in lanes
    )
    table = element("table", element("thead", head) + element("tbody", "".join(rows)))
    heading = element("h2", "What the rest costs")
    return element("section", heading + table, class_="panel")


def _render_strata(strata: Sequence[StratumRow]) -> str:
    head = row("th", ("Stratum", "Waiting", "Sampled", "Failed", "Per image"))
    rows = (row("td", (foreign(one.name), *map(text, _list_cells(one)))) for one in strata)
    table = element("table", element("thead", head) + element("tbody", "".join(rows)))
    summary = element("summary", f"{len(strata):,} strata")
    return element("details", summary + element("div", table, class_="wide"), class_="strata")


def _list_cells(stratum: StratumRow) -> tuple[str, ...]:
    return stratum.waiting, stratum.sampled, stratum.failed, stratum.per_image


def _render_controls(cards: Sequence[Card]) -> str:
    names = sorted({card.stratum for card in cards})
    options = '<option value="">All strata</option>'
    options += "".join(element("option", text(name), value=name, dir="auto") for name in names)
    select = element("select", options, id="stratum", aria_label="Stratum")
    odd = sum(map(_is_odd, cards))
    toggle = f'<label><input type="checkbox" id="odd"> Only failed or to review ({odd:,})</label>'
    count = element("span", f"{len(cards):,} pictures", id="count")
    return element("div", element("h2", "Pictures") + select + toggle + count, class_="controls")


def _is_odd(card: Card) -> bool:
    return card.state != _GOOD or card.needs_review


def _render_card(card: Card) -> str:
    name = element("h3", foreign(card.name)) if card.name else ""
    uri = element("p", foreign(card.uri), class_="uri")
    content = _render_picture(card) + element(
        "div", name + _render_badges(card) + _render_outcome(card) + _render_foot(card) + uri
    )
    return element(
        "article",
        content,
        class_="odd" if _is_odd(card) else "good",
        data_stratum=card.stratum,
        data_odd="1" if _is_odd(card) else "",
    )


def _render_picture(card: Card) -> str:
    if card.thumbnail is None:
        return element("div", "no picture to show", class_="picture none")
    address = inline_picture(card.thumbnail, "image/jpeg")
    image = f'<img src="{address}" alt="{text(card.name)}" loading="lazy">'
    return element("div", image, class_="picture")


def _render_badges(card: Card) -> str:
    badges = []
    if card.state != _GOOD:
        badges.append(element("span", text(card.cause or card.state), class_="badge bad"))
    if card.needs_review:
        badges.append(element("span", "needs review", class_="badge"))
    elif card.review != "none":
        badges.append(element("span", text(card.review), class_="badge"))
    if card.confidence is not None:
        badges.append(element("span", f"confidence {card.confidence:.0%}", class_="badge quiet"))
    return element("p", " ".join(badges), class_="badges") if badges else ""


def _render_outcome(card: Card) -> str:
    if card.state != _GOOD:
        told = element("p", foreign(card.message), class_="message") if card.message else ""
        return element("p", text(card.meaning)) + told
    pairs = "".join(
        element("dt", text(name)) + element("dd", _render_value(value), dir="auto")
        for name, value in card.fields.items()
    )
    return element("dl", pairs, class_="answer")


def _render_value(value: Any) -> str:
    match value:
        case None | "" | []:
            return element("span", "nothing", class_="nothing")
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(element("span", foreign(str(one)), class_="tag") for one in value)
        case _:
            return text(str(value))


def _render_foot(card: Card) -> str:
    foot = element("span", text(card.tokens)) + element("span", text(card.cost), class_="cost")
    return element("p", foot, class_="foot")
