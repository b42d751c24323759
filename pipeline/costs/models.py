"""What is known of each model on a given day: sizing, multiplier, prices, retirement."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from pipeline.config.complaints import suggest
from pipeline.config.paths import configs_folder
from pipeline.costs.model_file import Dated, Entry, Family, Rows, pick_row, read_model_file
from pipeline.costs.rates import LongContext, Prices
from pipeline.costs.sizing import PatchSizing, Sizing
from pipeline.domain.vision import Detail, PromptCaching

_T = TypeVar("_T")

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_FINE_TUNED = "ft:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model as of one day."""

    name: str
    """Of the table's row, which may be the base of the name that was asked for."""
    sizing: Sizing
    multiplier: Fraction
    """Tokens per patch; 1 for tiles."""
    prices: Prices | None
    """None when no price is known."""
    long_context: LongContext | None
    assumed: bool
    """True when the maker has not confirmed what stands here; show it beside every figure."""
    reasons: bool
    """Whether it thinks before it answers, in tokens that count as output."""
    caching: PromptCaching
    """How its prompt cache is best used: ``MARKED`` where writing to it is billed."""
    retired_on: date | None
    """Day it is, was or will be shut down; None when no day is announced."""
    successor: str | None
    """What the maker suggests instead."""
    sources: tuple[str, ...]
    """Where sizing, multiplier and prices were read."""

    def offers(self, detail: Detail) -> bool:
        """Whether the model knows the detail level; a server refuses one it does not know."""
        has_original = isinstance(self.sizing, PatchSizing) and self.sizing.original is not None
        return detail is not Detail.ORIGINAL or has_original

    def is_assumed(self, detail: Detail) -> bool:
        """Whether a quote at this detail level rests on a rule the maker does not state."""
        sizing = self.sizing
        return self.assumed or (isinstance(sizing, PatchSizing) and sizing.rule(detail).assumed)

    def is_retired(self, on: date) -> bool:
        return self.retired_on is not None and self.retired_on <= on


class ModelTable:
    """All models known on one day, found by the names that servers and settings use."""

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = dict(specs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._specs)

    def find(self, model: str) -> ModelSpec | None:
        """The model by its exact name, else its base.

        A dated snapshot (``gpt-4o-2024-08-06``) without a row of its own is its base. A fine-tuned
        model (``ft:gpt-4o-2024-08-06:team::id``) sizes as its base and has only prices that are
        listed for fine-tuned ones (``ft:gpt-4o-2024-08-06``), because its base's do not apply.

        Returns:
            None when the name is unknown; no guess is made from a likeness of names.
        """
        if model in self._specs:
            return self._specs[model]
        if model.startswith(_FINE_TUNED):
            return self._find_fine_tuned(model.split(":")[1])
        return self._specs.get(_SNAPSHOT_DATE.sub("", model))

    def _find_fine_tuned(self, base: str) -> ModelSpec | None:
        for name in (base, _SNAPSHOT_DATE.sub("", base)):
            if _FINE_TUNED + name in self._specs:
                return self._specs[_FINE_TUNED + name]
        spec = self.find(base)
        return replace(spec, name=_FINE_TUNED + spec.name, prices=None) if spec else None


def load_models(*extra: Path, on: date) -> ModelTable:
    """The shipped table with the user's files laid over it, as of a day.

    Args:
        *extra: files of the same shape; a later one wins over an earlier one.
        on: the day whose rows count, UTC.

    Raises:
        ConfigurationError: names file, line, key, value and what is allowed.
    """
    files = [read_model_file(path) for path in (configs_folder() / "models.yaml", *extra)]
    families: dict[str, Family] = {}
    layers: dict[str, list[Entry]] = {}
    for file in files:
        families.update(file.families)
        for name, entry in file.entries.items():
            layers.setdefault(name, []).append(entry)
    assembly = _Assembly(families, layers, on)
    return ModelTable({name: assembly.build(name) for name in layers})


class _Assembly:
    """Lays entries over one another, follows ``like``, and picks the rows that hold."""

    def __init__(
        self, families: Mapping[str, Family], layers: Mapping[str, Sequence[Entry]], on: date
    ) -> None:
        self._families = families
        self._layers = layers
        self._on = on

    def build(self, name: str) -> ModelSpec:
        own, all_layers = self._layers[name], self._with_bases(name)
        family = self._family(all_layers)
        multiplier = self._multiplier([e.multipliers for e in all_layers if e.multipliers])
        prices = pick_row(_since_cleared([e.prices for e in all_layers]), self._on)
        rows = (family, multiplier, prices)
        return ModelSpec(
            name=name,
            sizing=family.sizing,
            multiplier=multiplier.value if multiplier else Fraction(1),
            prices=prices.value if prices else None,
            long_context=_last([e.long_context for e in all_layers]),
            assumed=_last([e.assumed for e in all_layers]) or False,
            reasons=_last([e.reasoning for e in all_layers]) or False,
            caching=_last([e.caching for e in all_layers]) or PromptCaching.KEYED,
            retired_on=_last([e.retired_on for e in own]),
            successor=_last([e.successor for e in own]),
            sources=tuple(dict.fromkeys(row.source for row in rows if row and row.source)),
        )

    def _with_bases(self, name: str, seen: tuple[str, ...] = ()) -> list[Entry]:
        """The model's layers, after those of the model it is like."""
        own = list(self._layers[name])
        like = _last([entry.like for entry in own])
        if like is None:
            return own
        base = like.text()
        if base not in self._layers:
            raise like.fault(f"must be a model of the table; {suggest(base, self._layers)}")
        if base in (*seen, name):
            raise like.fault("must not lead back to the model itself")
        return [*self._with_bases(base, (*seen, name)), *own]

    def _family(self, layers: Sequence[Entry]) -> Family:
        wanted = _last([entry.sizing for entry in layers])
        if wanted is None:
            raise layers[-1].node.missing("sizing (or like)")
        family = self._families.get(wanted.text())
        if family is None:
            raise wanted.fault(suggest(wanted.text(), self._families))
        return family

    def _multiplier(self, layers: Sequence[Rows[Fraction]]) -> Dated[Fraction] | None:
        # what is dated is when a multiplier became known: before that, the first one known counts
        return pick_row(layers, self._on) or next((row for rows in layers for row in rows), None)


def _since_cleared(layers: Sequence[Rows[_T] | None]) -> list[Rows[_T]]:
    """Layers after the last one that is an empty list, which forgets all before it."""
    kept: list[Rows[_T]] = []
    for layer in layers:
        if layer is not None:
            kept = [*kept, layer] if layer else []
    return kept


def _last(values: Sequence[_T | None]) -> _T | None:
    return next((value for value in reversed(values) if value is not None), None)
