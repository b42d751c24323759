"""Which images a pilot asks about: sorted into strata, some of each, the same for the same seed.

All of it is pure and keeps a count for each stratum and the sample, never the list it is drawn
from: that is gone through twice, once to count and once to draw.
"""

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from pipeline.domain.jobs import JobId

_KILOBYTE: Final = 1_024
_SIZE_LIMITS: Final = tuple(_KILOBYTE * 4**power for power in range(1, 8))
_SIZES: Final = (
    "under 4 kB", "4 to 16 kB", "16 to 64 kB", "64 to 256 kB", "256 kB to 1 MB",
    "1 to 4 MB", "4 to 16 MB", "over 16 MB",
)  # fmt: skip
_LONGEST_EXTENSION: Final = 8
_MOST_STRATA: Final = 2_000


class Stratum(NamedTuple):
    """Images that are alike from outside. A word that is empty does not tell them apart."""

    folder: str = ""
    """Below the library's root, without the last slash; ``.`` is the root itself."""
    size: str = ""
    extension: str = ""


@dataclass(frozen=True, slots=True)
class _Detail:
    """How finely images are told apart."""

    folders: int
    has_size: bool
    has_extension: bool


# The finest first; each tells apart no more than the one before. Folders are told apart as long as
# they can be: whoever looks at a pilot wants to see each department.
_WITH_FOLDERS: Final = (
    _Detail(folders=2, has_size=True, has_extension=True),
    _Detail(folders=1, has_size=True, has_extension=True),
    _Detail(folders=1, has_size=True, has_extension=False),
    _Detail(folders=1, has_size=False, has_extension=False),
)
# for libraries with a folder for each few pictures
_WITHOUT_FOLDERS: Final = (
    _Detail(folders=0, has_size=True, has_extension=True),
    _Detail(folders=0, has_size=True, has_extension=False),
    _Detail(folders=0, has_size=False, has_extension=False),
)


def stratify(path: str, size: int) -> Stratum:
    """The finest stratum of a file.

    Args:
        path: below the library's root, with slashes.
        size: of the file, in bytes.
    """
    *folders, name = path.split("/", 2)
    stem, _, extension = name.rpartition("/")[2].rpartition(".")
    is_named = bool(stem) and len(extension) <= _LONGEST_EXTENSION
    kind = extension.lower() if is_named else ""
    return Stratum("/".join(folders) or ".", _SIZES[bisect_right(_SIZE_LIMITS, size)], kind)


class Census:
    """Counts images by stratum, as finely as a sample can do justice to.

    How finely depends on what there is alone, not on the order in which it comes.

    Args:
        sample: how many images are to be drawn; on average two of each stratum are, at least.
    """

    def __init__(self, sample: int) -> None:
        most = min(max(1, sample // 2), _MOST_STRATA)
        self._ladders = [_Ladder(_WITH_FOLDERS, most), _Ladder(_WITHOUT_FOLDERS, most)]

    @property
    def counts(self) -> Counter[Stratum]:
        """Images by stratum."""
        return self._ladders[0].counts

    def add(self, stratum: Stratum) -> None:
        """Count one image, by its finest stratum."""
        for ladder in self._ladders:
            ladder.add(stratum)
        if self._ladders[0].is_exhausted:
            del self._ladders[0]

    def place(self, stratum: Stratum) -> Stratum:
        """The stratum under which an image of a finer one counts."""
        return self._ladders[0].place(stratum)


class _Ladder:
    """Counts in at most so many strata; where there are more, it goes a step down."""

    def __init__(self, details: Sequence[_Detail], most: int) -> None:
        self._details = list(details)
        self._most = most
        self.counts: Counter[Stratum] = Counter()

    @property
    def is_exhausted(self) -> bool:
        return not self._details

    def add(self, stratum: Stratum) -> None:
        self.counts[self.place(stratum)] += 1
        while self._details and len(self.counts) > self._most:
            self._step_down()

    def _step_down(self) -> None:
        del self._details[0]
        finer, self.counts = self.counts, Counter()
        if self._details:
            for stratum, count in finer.items():
                self.counts[self.place(stratum)] += count

    def place(self, stratum: Stratum) -> Stratum:
        detail = self._details[0]
        folders = stratum.folder.split("/")[: detail.folders]
        return Stratum(
            "/".join(folders),
            stratum.size if detail.has_size else "",
            stratum.extension if detail.has_extension else "",
        )


def allocate(counts: Mapping[Stratum, int], sample: int) -> dict[Stratum, int]:
    """How many images of each stratum to draw: ``sample`` together, or all there are.

    One of each, the rest in proportion to what is left, by largest remainder. Where there are
    more strata than images to draw, the largest strata have one each.
    """
    ranked = sorted((-count, stratum) for stratum, count in counts.items() if count)
    total = sum(counts.values())
    sample = min(sample, total)
    firsts = [stratum for _, stratum in ranked[:sample]]
    allocation = dict.fromkeys(firsts, 1)
    more, left = sample - len(firsts), total - len(ranked)
    if not more:
        return allocation
    remainders = {}
    for stratum in firsts:
        share, remainders[stratum] = divmod((counts[stratum] - 1) * more, left)
        allocation[stratum] += share
    missing = sample - sum(allocation.values())
    for stratum in sorted(firsts, key=lambda one: -remainders[one])[:missing]:
        allocation[stratum] += 1
    return allocation


class Draw:
    """Draws from each stratum the images whose hash of seed and path is lowest.

    So the sample does not depend on the order in which they come, nor on where the library lies,
    and a larger one of the same seed and stratum holds the smaller.
    """

    def __init__(self, allocation: Mapping[Stratum, int], *, seed: int) -> None:
        self._allocation = allocation
        self._key = str(seed).encode()
        self._drawn: dict[Stratum, list[tuple[int, str, JobId]]] = {one: [] for one in allocation}

    def add(self, stratum: Stratum, job: JobId, *, path: str, uri: str) -> None:
        """Offer one image; it stays if it is among the lowest so far.

        Args:
            stratum: under which it counts.
            job: of the image.
            path: below the library's root.
            uri: settles who comes first of two with one path in different libraries.
        """
        drawn = self._drawn.get(stratum)
        if drawn is None:
            return
        rank = blake2b(path.encode(errors="surrogatepass"), digest_size=16, key=self._key).digest()
        # the highest of those that were drawn stands first, so it leaves first
        entry = (-int.from_bytes(rank), uri, job)
        if len(drawn) < self._allocation[stratum]:
            heapq.heappush(drawn, entry)
        else:
            heapq.heappushpop(drawn, entry)

    def finish(self) -> dict[JobId, Stratum]:
        """The images that were drawn, each with its stratum, the strata in order."""
        return {
            job: stratum
            for stratum in sorted(self._drawn)
            for _, _, job in sorted(self._drawn[stratum], reverse=True)
        }
