"""Reads a model table file into entries whose rows are still dated and not yet layered."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from pipeline.costs.data_file import Node, read_data_file
from pipeline.costs.rates import LongContext, Prices, Rates
from pipeline.costs.sizing import PatchRule, PatchSizing, Sizing, TileSizing
from pipeline.domain.vision import Detail, PromptCaching

_T = TypeVar("_T")

_LANES = ("flex", "batch", "priority", "ultrafast")
_WAYS_OF_CACHING = ("keyed", "marked")
_PICO_PER_DOLLAR_A_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated(Generic[_T]):
    """A value and the days it holds on, both ends included; None is open."""

    value: _T
    source: str
    first: date | None
    last: date | None

    def holds(self, on: date) -> bool:
        return (self.first or on) <= on <= (self.last or on)


Rows: TypeAlias = tuple[Dated[_T], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A sizing that models refer to by name."""

    sizing: Sizing
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one file says of one model; None where it says nothing."""

    node: Node
    like: Node | None
    sizing: Node | None
    multipliers: Rows[Fraction] | None
    prices: Rows[Prices] | None
    long_context: LongContext | None
    assumed: bool | None
    reasoning: bool | None
    caching: PromptCaching | None
    retired_on: date | None
    successor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file, checked value by value."""

    families: Mapping[str, Family]
    entries: Mapping[str, Entry]


def read_model_file(path: Path) -> ModelFile:
    """Parse and check one file of the shape that ``configs/models.yaml`` describes.

    Raises:
        ConfigurationError: names file, line, key, value and what is allowed.
    """
    sections = read_data_file(path).fields(optional=("sizing", "models"))
    return ModelFile(
        families=_read_each(sections.get("sizing"), _read_family),
        entries=_read_each(sections.get("models"), _read_entry),
    )


def _read_each(section: Node | None, read: Callable[[Node], _T]) -> dict[str, _T]:
    return {} if section is None else {k: read(node) for k, node in section.entries().items()}


def _read(node: Node | None, read: Callable[[Node], _T]) -> _T | None:
    return None if node is None else read(node)


def _read_entry(node: Node) -> Entry:
    keys = node.fields(
        optional=(
            *("like", "sizing", "multiplier", "prices", "long_context"),
            *("assumed", "reasoning", "caching", "retired_on", "successor"),
        )
    )
    return Entry(
        node=node,
        like=keys.get("like"),
        sizing=keys.get("sizing"),
        multipliers=_read(keys.get("multiplier"), _read_multipliers),
        prices=_read(keys.get("prices"), _read_prices),
        long_context=_read(keys.get("long_context"), _read_long_context),
        assumed=_read(keys.get("assumed"), Node.flag),
        reasoning=_read(keys.get("reasoning"), Node.flag),
        caching=_read(keys.get("caching"), _read_caching),
        retired_on=_read(keys.get("retired_on"), Node.day),
        successor=_read(keys.get("successor"), Node.text),
    )


def _read_caching(node: Node) -> PromptCaching:
    return PromptCaching(node.choice(_WAYS_OF_CACHING))


def _read_family(node: Node) -> Family:
    scheme = node.entries().get("scheme")
    if scheme is None:
        raise node.missing("scheme")
    if scheme.choice(("patches", "tiles")) == "patches":
        return _read_patches(node)
    return _read_tiles(node)


def _read_patches(node: Node) -> Family:
    keys = node.fields(required=("scheme", "low", "high"), optional=("original", "auto", "source"))
    levels = [level for level in ("low", "high", "original") if level in keys]
    auto = keys["auto"].choice(levels) if "auto" in keys else Detail.HIGH
    sizing = PatchSizing(
        low=_read_rule(keys["low"]),
        high=_read_rule(keys["high"]),
        original=_read(keys.get("original"), _read_rule),
        auto=Detail(auto),
    )
    return Family(sizing=sizing, source=_read_source(keys))


def _read_rule(node: Node) -> PatchRule:
    keys = node.fields(optional=("max_patches", "max_side", "reject_above", "assumed"))
    limits = {key: value.whole(1) for key, value in keys.items() if key != "assumed"}
    return PatchRule(**limits, assumed="assumed" in keys and keys["assumed"].flag())


def _read_tiles(node: Node) -> Family:
    keys = node.fields(
        required=("scheme", "base", "per_tile", "max_side", "short_side"),
        optional=("low_side", "high_extra_square", "high_extra_oblong", "source"),
    )
    lengths = ("max_side", "short_side", "low_side")
    numbers = {
        key: value.whole(1 if key in lengths else 0)
        for key, value in keys.items()
        if key not in {"scheme", "source"}
    }
    return Family(sizing=TileSizing(**numbers), source=_read_source(keys))


def _read_multipliers(node: Node) -> Rows[Fraction]:
    return tuple(_read_multiplier(row) for row in node.rows())


def _read_multiplier(row: Node) -> Dated[Fraction]:
    if not row.is_section():
        return Dated(value=row.number(), source="", first=None, last=None)
    keys = row.fields(required=("value",), optional=("from", "until", "source"))
    return _date(keys, keys["value"].number())


def _read_prices(node: Node) -> Rows[Prices]:
    return tuple(_read_price(row) for row in node.rows())


def _read_price(row: Node) -> Dated[Prices]:
    keys = row.fields(
        required=("input", "output"),
        optional=("cached", "cache_write", *_LANES, "from", "until", "source"),
    )
    standard = _read_rates(keys)
    lanes = {lane: _read_lane(keys[lane], standard) for lane in _LANES if lane in keys}
    return _date(keys, Prices(standard=standard, source=_read_source(keys), **lanes))


def _read_lane(node: Node, standard: Rates) -> Rates:
    if node.is_section():
        return _read_rates(
            node.fields(required=("input", "output"), optional=("cached", "cache_write"))
        )
    factor = node.number()
    return Rates(
        input=_to_pico(node, standard.input * factor),
        cached=_to_pico(node, standard.cached * factor),
        cache_write=_to_pico(node, standard.cache_write * factor),
        output=_to_pico(node, standard.output * factor),
    )


def _read_rates(keys: Mapping[str, Node]) -> Rates:
    return Rates(
        input=_read_rate(keys["input"]),
        cached=_read_rate(keys.get("cached", keys["input"])),
        cache_write=_read_rate(keys.get("cache_write", keys["input"])),
        output=_read_rate(keys["output"]),
    )


def _read_rate(node: Node) -> int:
    return _to_pico(node, node.number() * _PICO_PER_DOLLAR_A_MILLION)


def _to_pico(node: Node, pico: Fraction) -> int:
    if pico.denominator != 1:
        raise node.fault("must give USD per million tokens with at most six decimals")
    return pico.numerator


def _read_long_context(node: Node) -> LongContext:
    keys = node.fields(required=("above", "input", "output"), optional=())
    return LongContext(
        above=keys["above"].whole(),
        input=keys["input"].number(),
        output=keys["output"].number(),
    )


def _date(keys: Mapping[str, Node], value: _T) -> Dated[_T]:
    first = _read(keys.get("from"), Node.day)
    last = _read(keys.get("until"), Node.day)
    if first and last and last < first:
        raise keys["until"].fault(f"must not be before from ({first})")
    return Dated(value=value, source=_read_source(keys), first=first, last=last)


def _read_source(keys: Mapping[str, Node]) -> str:
    return keys["source"].text() if "source" in keys else ""


def pick_row(layers: Iterable[Rows[_T]], on: date) -> Dated[_T] | None:
    """The row that holds: of the last layer that has one, the row that began last."""
    holding = [[row for row in layer if row.holds(on)] for layer in layers]
    best = next((rows for rows in reversed(holding) if rows), None)
    return max(best, key=lambda row: row.first or date.min) if best else None
