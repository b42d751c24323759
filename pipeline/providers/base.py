"""What every provider can do."""

from typing import Protocol

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
