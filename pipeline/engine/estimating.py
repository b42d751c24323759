"""Looks over a library before anything is spent: lists, compares with the ledger, reads headers."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Final, TypeAlias

import anyio

from pipeline.costs.copies import estimate_copies
from pipeline.costs.habits import Band, exactly
from pipeline.costs.quote import Sample
from pipeline.costs.size_tally import SizeTally
from pipeline.domain.errors import ImageError
from pipeline.domain.images import ImageRef
from pipeline.domain.jobs import Reason
from pipeline.domain.outcomes import Cause
from pipeline.engine.heads import HeadReader, Look, PaidMarks, SeenKeys
from pipeline.ledger.history import History, Standing, judge
from pipeline.ledger.selection import Selection
from pipeline.sources.base import Source

Drawn: TypeAlias = tuple[int, Source, ImageRef]
"""An image with its place in the listing."""

_READ_AT_ONCE: Final = 16
_GROUP: Final = 500
_MOST_SIZES: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Tokens of a picture by width and height."""

    sent: Callable[[int, int], int]
    """In the size that is sent."""
    original: Callable[[int, int], int]
    """As its file has it; what the service would refuse counts as the largest it accepts."""
    encoded_bytes: Callable[[int], int]
    """Bytes of a picture that is encoded anew, by its pixels."""


@dataclass(slots=True)
class Survey:
    """What was found so far. Only the surveyor adds; others read."""

    sizes: SizeTally
    """Upright, of the pictures to be asked about."""
    seed: int
    listed: int = 0
    standings: Counter[Standing] = field(default_factory=Counter)
    """Images that nobody has to be asked about, by why."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """The others, by why they are to be asked about: before anything of them was read."""
    is_listing: bool = True
    looked_at: int = 0
    byte_sizes: int = 0
    """Different sizes in bytes of all candidates; only counted for a sample."""
    copies: int = 0
    """Files that look like one that was looked at before."""
    repeats: Counter[int] = field(default_factory=Counter)
    """Those by what they look like; only counted for a sample."""
    paid_copies: int = 0
    """Files that look like one that has its answer."""
    refused: Counter[Cause] = field(default_factory=Counter)
    picture_tokens: Counter[int] = field(default_factory=Counter)
    original_tokens: int = 0
    original_bytes: int = 0
    kept_bytes: int = 0
    """Of files whose pixels are passed on as they are."""
    encoded: int = 0
    """Pictures that are encoded anew."""
    encoded_bytes: int = 0
    """Of those, as photographs of their size take; no more than their files."""
    unlistable: list[str] = field(default_factory=list)
    has_forgotten_copies: bool = False
    """There were more pictures than can be compared with one another."""

    @property
    def candidates(self) -> int:
        """Images that the ledger gives no reason not to ask about."""
        return self.reasons.total()

    @property
    def is_sample(self) -> bool:
        """Whether some candidates were not looked at."""
        return self.looked_at < self.candidates

    @property
    def all_copies(self) -> Band:
        """Copies among all candidates, as far as can be told."""
        if not self.is_sample:
            return exactly(self.copies)
        return estimate_copies(
            self.candidates,
            self.byte_sizes,
            drawn=self.looked_at,
            repeats=[1 + count for count in self.repeats.values()],
        )

    @property
    def sample(self) -> Sample:
        copies, distinct = self.all_copies, self.looked_at - self.copies
        return Sample(
            picture_tokens=self.picture_tokens,
            looked_at=distinct,
            population=Band(
                expected=max(self.candidates - copies.expected, distinct),
                low=max(self.candidates - copies.high, distinct),
                high=max(self.candidates - copies.low, distinct),
            ),
        )


class Surveyor:
    """Fills a survey.

    Args:
        reader: looks at pictures.
        counting: tokens of their sizes.
        history: what the ledger knows; None: there is none, and nothing is paid yet.
        selection: what must be true of an image.
        sample_size: images whose headers are read at most, drawn at random; None for all.
    """

    def __init__(
        self,
        reader: HeadReader,
        counting: Counting,
        *,
        history: History | None,
        selection: Selection,
        sample_size: int | None,
    ) -> None:
        self._reader = reader
        self._count_sent = lru_cache(maxsize=_MOST_SIZES)(counting.sent)
        self._count_original = lru_cache(maxsize=_MOST_SIZES)(counting.original)
        self._encoded_bytes = counting.encoded_bytes
        self._history = history
        self._selection = selection
        self._sample_size = sample_size
        self._keys = SeenKeys()
        self._byte_sizes = SeenKeys()
        self._paid = PaidMarks()
        self._paid_keys = SeenKeys()

    async def survey(self, sources: Sequence[Source], survey: Survey) -> None:
        """List all sources and look at what is to be asked about, adding to ``survey``.

        Raises:
            EnvironmentFault: a source or the ledger is away.
        """
        if self._history is not None:
            async for marks in self._history.stream_paid():
                for size, version in marks:
                    self._paid.add(size, version)
        if self._sample_size is None:
            await self._look_at_paid(sources, lambda: _find_doubles(sources))
            async for group in self._list(sources, survey):
                await self._look_at(group, survey)
            survey.is_listing = False
        else:
            drawn = await self._draw(sources, survey, self._sample_size)
            survey.is_listing = False
            await self._look_at_paid(sources, lambda: _take_sizes(drawn))
            for group in _in_groups(drawn):
                await self._look_at(group, survey)
        survey.has_forgotten_copies = self._keys.is_full

    async def _look_at_paid(
        self,
        sources: Sequence[Source],
        find_sizes: Callable[[], Awaitable[Container[int]]],
    ) -> None:
        """Look at paid images with as many bytes as others have: copies of them cost nothing."""
        if self._paid.is_empty:
            return
        sizes = await find_sizes()
        for source in sources:
            async for refs in source.scan():
                alike = [ref for ref in refs if ref.size in sizes]
                judged = zip(alike, await self._judge(alike), strict=True)
                paid = [(0, source, ref) for ref, found in judged if found is Standing.PAID]
                for _, _, ref in paid:
                    self._paid.settle(ref)
                for look in await self._read(paid):
                    if isinstance(look, Look) and look.key is not None:
                        self._paid_keys.add(look.key)

    async def _draw(self, sources: Sequence[Source], survey: Survey, most: int) -> Sequence[Drawn]:
        """At most so many images, each as likely as any other (Vitter's algorithm R, 1985)."""
        chance, kept = random.Random(survey.seed), list[Drawn]()
        seen = 0
        async for group in self._list(sources, survey):
            for drawn in group:
                seen += 1
                survey.byte_sizes += _is_new_size(drawn[2], self._byte_sizes)
                if len(kept) < most:
                    kept.append(drawn)
                elif (place := chance.randrange(seen)) < most:
                    kept[place] = drawn
        # in the order of the listing: neighbours lie together on a disk
        return sorted(kept, key=itemgetter(0))

    async def _list(
        self, sources: Sequence[Source], survey: Survey
    ) -> AsyncIterator[Sequence[Drawn]]:
        """What is to be asked about, a chunk at a time."""
        covered: list[str] = []
        for source in sources:
            async for refs in source.scan():
                fresh = [ref for ref in refs if not _is_covered(ref.uri, covered)]
                first = survey.listed
                survey.listed += len(fresh)
                wanted = await self._choose(fresh, survey)
                yield [(first + place, source, fresh[place]) for place in wanted]
            covered += source.prefixes
            survey.unlistable += source.unlistable_prefixes

    async def _choose(self, refs: Sequence[ImageRef], survey: Survey) -> Sequence[int]:
        """Places of the images to be asked about; the others are counted."""
        wanted = []
        for place, found in enumerate(await self._judge(refs)):
            if found is Reason.NEW and self._paid.take(refs[place]):
                survey.standings[Standing.PAID] += 1
            elif isinstance(found, Reason):
                survey.reasons[found] += 1
                wanted.append(place)
            else:
                survey.standings[found] += 1
                if found is Standing.PAID:
                    self._paid.settle(refs[place])
        return wanted

    async def _judge(self, refs: Sequence[ImageRef]) -> Sequence[Standing | Reason]:
        if self._history is None:
            return [judge(ref, None, version_id=0, selection=self._selection) for ref in refs]
        return await self._history.judge(refs, self._selection)

    async def _look_at(self, group: Sequence[Drawn], survey: Survey) -> None:
        """Look at pictures and count them in their order."""
        for (_, _, ref), look in zip(group, await self._read(group), strict=True):
            self._count(ref, look, survey)

    async def _read(self, group: Sequence[Drawn]) -> Sequence[Look | ImageError]:
        """Read heads, several at once; the looks in the order of the group."""
        looks: list[Look | ImageError | None] = [None] * len(group)
        places = iter(range(len(group)))

        async def work() -> None:
            for place in places:
                _, source, ref = group[place]
                try:
                    looks[place] = await self._reader.look(source, ref)
                except ImageError as error:
                    looks[place] = error

        async with anyio.create_task_group() as readers:
            for _ in range(min(_READ_AT_ONCE, len(group))):
                readers.start_soon(work)
        return [look for look in looks if look is not None]

    def _count(self, ref: ImageRef, look: Look | ImageError, survey: Survey) -> None:
        survey.looked_at += 1
        if isinstance(look, ImageError):
            survey.refused[look.cause] += 1
        elif look.key is not None and look.key in self._paid_keys:
            survey.paid_copies += 1
        elif look.key is not None and not self._keys.add(look.key):
            survey.copies += 1
            if self._sample_size is not None:
                survey.repeats[look.key] += 1
        else:
            self._count_picture(ref, look, survey)

    def _count_picture(self, ref: ImageRef, look: Look, survey: Survey) -> None:
        seen, info = look.foresight, look.foresight.info
        survey.picture_tokens[self._count_sent(seen.width, seen.height)] += 1
        survey.original_tokens += self._count_original(info.width, info.height)
        survey.original_bytes += ref.size
        survey.sizes.add((info.width, info.height))
        if seen.keeps_pixels:
            survey.kept_bytes += ref.size
        else:
            survey.encoded += 1
            usual = self._encoded_bytes(seen.width * seen.height)
            survey.encoded_bytes += min(usual, ref.size)


def _is_covered(uri: str, prefixes: Sequence[str]) -> bool:
    """Whether a place that was listed before has the image: two may lie inside one another."""
    return any(
        uri.startswith(prefix) if prefix.endswith("/") else uri == prefix for prefix in prefixes
    )


def _is_new_size(ref: ImageRef, seen: SeenKeys) -> bool:
    """Whether it is no copy by its size in bytes; empty files are no copies of one another."""
    return not ref.size or seen.add(ref.size)


async def _take_sizes(drawn: Sequence[Drawn]) -> Container[int]:
    return {ref.size for _, _, ref in drawn}


async def _find_doubles(sources: Sequence[Source]) -> Container[int]:
    """Sizes in bytes that more than one listed file has."""
    seen, doubles = SeenKeys(), SeenKeys()
    for source in sources:
        async for refs in source.scan():
            for ref in refs:
                if ref.size and not seen.add(ref.size):
                    doubles.add(ref.size)
    return doubles


def _in_groups(drawn: Sequence[Drawn]) -> Iterator[Sequence[Drawn]]:
    rest = iter(drawn)
    while group := list(islice(rest, _GROUP)):
        yield group
