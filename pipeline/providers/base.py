"""What every provider can do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from pipeline.domain.batches import BatchLine, BatchReport
from pipeline.domain.vision import VisionRequest, VisionResponse


class Provider(Protocol):
    """Answers one question about one picture. No loops, no retries, no database."""

    @property
    def name(self) -> str:
        """``openai`` or ``local``; stored with each attempt."""

    @property
    def reads_metadata(self) -> bool:
        """Whether the answer depends on more than the prepared bytes (EXIF camera, date)."""

    @property
    def is_partial(self) -> bool:
        """Whether it may leave fields empty (null) that the schema requires."""

    async def ask(self, request: VisionRequest) -> VisionResponse:
        """Send one request; return the billed answer, whatever it says.

        Raises:
            AskError: this request failed; the class says whether another try may help.
            RunPaused: every request would fail; the run must stop.
        """


class BatchDesk(Protocol):
    """Takes requests by the file. No loops, no retries, no database.

    Every call raises ``AskError`` when it failed (``TransientError`` where another try may help,
    with ``may_be_billed`` where it may have been heard all the same) or ``RunPaused`` when none
    would succeed.
    """

    @property
    def account(self) -> str:
        """Stands for server and key: only with the same one is a batch seen again."""

    @property
    def path(self) -> str:
        """What each line asks, such as ``/v1/chat/completions``."""

    def measure_line(self, request: VisionRequest) -> int:
        """At most so many bytes will its line have."""

    def write_line(self, custom_id: str, request: VisionRequest) -> tuple[bytes, ...]:
        """One request as a line of a batch's file, in pieces, with its line break."""

    async def upload(self, file: Path, *, name: str) -> str:
        """Bring a file to the server, as a stream; return the server's id of it."""

    async def find_files(self, name: str) -> list[str]:
        """The ids of all files that were uploaded under a name, oldest first."""

    async def delete_file(self, file_id: str) -> None:
        """Remove a file from the server; one that is gone is no error."""

    async def create(self, input_file: str, *, token: str) -> BatchReport:
        """Have the server work on a file. To be called once: a second call is a second bill."""

    async def read(self, remote_id: str) -> BatchReport:
        """How a batch stands."""

    def list_batches(self) -> AsyncIterator[BatchReport]:
        """All batches of the account, page by page; those of other programs, too."""

    async def cancel(self, remote_id: str) -> BatchReport:
        """Have the server end a batch; what is answered by then is delivered and billed."""

    def read_lines(self, file_id: str, *, model: str) -> AsyncIterator[BatchLine]:
        """The lines of an output or error file, as a stream.

        ``model`` was asked; it is taken for the one that answered where the server does not say.
        """
