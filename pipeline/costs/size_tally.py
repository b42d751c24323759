"""How many pictures there are of each size, in memory that does not grow with the library."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeAlias

Size: TypeAlias = tuple[int, int]
"""Upright width and height, in pixels."""

MOST_SIZES: Final = 20_000


class SizeTally:
    """Counts sizes; when there are too many different ones, it keeps a random sample of pictures.

    Args:
        chance: decides which pictures are kept.
        most_sizes: different sizes that are counted; as many pictures are kept after that.
    """

    def __init__(self, chance: random.Random, *, most_sizes: int = MOST_SIZES) -> None:
        self._chance = chance
        self._most = most_sizes
        self._counts: Counter[Size] = Counter()
        self._kept: list[Size] | None = None
        self.pictures = 0

    @property
    def is_sample(self) -> bool:
        return self._kept is not None

    @property
    def sizes(self) -> Mapping[Size, int]:
        """Pictures of each size: all, or those of the sample."""
        return self._counts if self._kept is None else Counter(self._kept)

    def add(self, size: Size) -> None:
        self.pictures += 1
        if self._kept is not None:
            self._keep(self._kept, size)
            return
        self._counts[size] += 1
        if len(self._counts) > self._most:
            sizes, counts = list(self._counts), list(self._counts.values())
            self._kept = self._chance.sample(sizes, counts=counts, k=self._most)
            self._counts.clear()

    def _keep(self, kept: list[Size], size: Size) -> None:
        """Every picture so far is as likely to be kept (Vitter's algorithm R, 1985)."""
        place = self._chance.randrange(self.pictures)
        if place < self._most:
            kept[place] = size
