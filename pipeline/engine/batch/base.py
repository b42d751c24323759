"""What workers and pool see of a lane that takes pictures for later."""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Protocol

from pipeline.domain.errors import BatchesUnderWay
from pipeline.domain.jobs import ClaimedJob
from pipeline.domain.outcomes import Outcome
from pipeline.engine.shelf import Picture


class Entry(Enum):
    """Whether a picture is in a batch."""

    PACKED = auto()
    LEFT_OUT = auto()
    """No batch is filled any more."""


class Lane(Protocol):
    """What takes pictures for later."""

    @property
    def takes_more(self) -> bool:
        """Whether pictures go into batches."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is to be begun in this run, in no lane."""

    @property
    def is_busy(self) -> bool:
        """Whether waiting will bring news."""

    @property
    def outstanding(self) -> int:
        """Pictures in batches that are not over."""

    @property
    def expected(self) -> int:
        """Those of them that this run will bring to an end, and does not only find there."""

    async def add(self, job: ClaimedJob, picture: Picture, key: bytes) -> Outcome | Entry:
        """Bring a picture into a batch."""

    async def begin(self) -> None:
        """Take over what runs that are over have left; call it before anything is added."""

    def flush(self) -> None:
        """Nothing more comes for now: let go what is being filled."""

    async def run(self, on_news: Callable[[], Awaitable[None]]) -> None:
        """Look after all batches, until stopped; ``on_news`` when pictures may wait again."""

    def stop(self) -> None:
        """Leave the batches to the server and to the next run."""

    def hurry(self) -> None:
        """Pack nothing more and end what is under way: the rest is asked one by one."""

    async def close(self) -> None:
        """Give up what was never sent; call it when nobody adds any more."""

    def describe_rest(self) -> BatchesUnderWay | None:
        """Why the run ends although pictures wait for answers; None when none does."""


class NoLane:
    """For runs without batches."""

    takes_more = False
    is_closed = False
    is_busy = False
    outstanding = 0
    expected = 0

    async def add(self, _job: ClaimedJob, _picture: Picture, _key: bytes) -> Outcome | Entry:
        return Entry.LEFT_OUT

    async def begin(self) -> None:
        pass

    def flush(self) -> None:
        pass

    async def run(self, _on_news: Callable[[], Awaitable[None]]) -> None:
        pass

    def stop(self) -> None:
        pass

    def hurry(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def describe_rest(self) -> None:
        return None
