"""What a file turned out to be, written beside its address."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, update

from pipeline.domain.images import ImageId, ImageInfo
from pipeline.ledger.prepared import Change
from pipeline.ledger.tables import images


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one file that was read."""

    sha256: bytes
    info: ImageInfo | None
    """None for a file whose header cannot be read."""


def write_facts(connection: Connection, found: Iterable[tuple[ImageId, Facts]]) -> None:
    """Put facts beside their images; what a header did not tell leaves what is known."""
    _WRITE_FACTS.run(
        connection,
        [
            {
                "image_id": image_id,
                "new_sha256": facts.sha256,
                "new_format": facts.info.format.value if facts.info else None,
                "new_width": facts.info.width if facts.info else None,
                "new_height": facts.info.height if facts.info else None,
            }
            for image_id, facts in found
        ],
    )


_WRITE_FACTS = Change(
    lambda _: (
        update(images)
        .where(images.c.id == bindparam("image_id"))
        .values(
            sha256=bindparam("new_sha256"),
            format=func.coalesce(bindparam("new_format"), images.c.format),
            width=func.coalesce(bindparam("new_width"), images.c.width),
            height=func.coalesce(bindparam("new_height"), images.c.height),
        )
    )
)
