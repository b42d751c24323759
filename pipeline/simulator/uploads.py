"""Files that come in parts, in any order, and are put together at the end."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import anyio.to_thread

from pipeline.simulator.calendar import Calendar
from pipeline.simulator.errors import ApiError, bad_request, missing, wrong_value
from pipeline.simulator.files import BATCH_LIFETIME_SECONDS, Paper, Shelf, StoredFile
from pipeline.simulator.forms import read_lifetime, read_object, require_text

MAX_PART_BYTES: Final = 64 * 1024 * 1024
MAX_UPLOAD_BYTES: Final = 8 * 1024**3
LIFETIME_SECONDS: Final = 3600
"""From creation; what is not complete by then has expired (API reference, 2026-09)."""
PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_COPY_BYTES: Final = 1024 * 1024
_KNOWN: Final = frozenset({"bytes", "filename", "mime_type", "purpose", "expires_after"})


@dataclass(slots=True, kw_only=True)
class Upload:
    """One file on its way; moments are the server's, in seconds."""

    id: str
    filename: str
    purpose: str
    size: int
    """In bytes, as announced."""
    lifetime_seconds: float | None
    """Of the file to be."""
    created_at: float
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    parts: dict[str, Paper] = field(default_factory=dict)
    file: StoredFile | None = None

    @property
    def expires_at(self) -> float:
        return self.created_at + LIFETIME_SECONDS

    def as_document(self, calendar: Calendar) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.size,
            "created_at": calendar.tell(self.created_at),
            "expires_at": calendar.tell(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "file": self.file.as_document(calendar) if self.file else None,
        }


def choose_lifetime(purpose: str, asked_seconds: float | None) -> float | None:
    """How long a file lives: as asked, else for ever unless a batch is made of it."""
    if asked_seconds is None and purpose == "batch":
        return BATCH_LIFETIME_SECONDS
    return asked_seconds


def check_file(filename: str, purpose: str) -> None:
    """Refuse what no file may be called or be for.

    Raises:
        ApiError: 400.
    """
    if purpose not in PURPOSES:
        raise wrong_value("purpose", purpose, PURPOSES)
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise bad_request("Invalid file format for Batch API. Must be .jsonl")


class Uploads:
    """All uploads since the start or the last reset. Used on one event loop."""

    def __init__(self, shelf: Shelf, calendar: Calendar) -> None:
        self._shelf = shelf
        self._calendar = calendar
        self._uploads: dict[str, Upload] = {}
        # whoever ends an upload must not meet one whose parts are being put together
        self._ending = anyio.Lock()

    def create(self, body: bytes) -> Upload:
        """Begin one.

        Raises:
            ApiError: 400, it is not asked for as it must be.
        """
        document = read_object(body, known=_KNOWN)
        filename, purpose = (require_text(document, name) for name in ("filename", "purpose"))
        require_text(document, "mime_type")
        check_file(filename, purpose)
        upload = Upload(
            id=f"upload_{secrets.token_hex(16)}",
            filename=filename,
            purpose=purpose,
            size=_read_size(document),
            lifetime_seconds=choose_lifetime(purpose, read_lifetime(document, "expires_after")),
            created_at=self._calendar.now(),
        )
        self._uploads[upload.id] = upload
        return upload

    def find(self, upload_id: str) -> Upload:
        """Return one that is still pending.

        Raises:
            ApiError: 404, there is none; 400, it is over.
        """
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise ApiError(404, f"No such Upload object: {upload_id}", param="upload_id")
        if upload.status == "pending" and self._calendar.now() >= upload.expires_at:
            self._close(upload, "expired")
        if upload.status != "pending":
            raise bad_request(f"Upload {upload_id} is {upload.status}, not pending.")
        return upload

    def add_part(self, upload_id: str, paper: Paper) -> dict[str, Any]:
        """Keep a part; returns its document.

        Raises:
            ApiError: 404 or 400, the upload is over; the part is dropped.
        """
        try:
            upload = self.find(upload_id)
        except ApiError:
            paper.path.unlink(missing_ok=True)
            raise
        part_id = f"part_{secrets.token_hex(16)}"
        upload.parts[part_id] = paper
        return {
            "id": part_id,
            "object": "upload.part",
            "created_at": self._calendar.tell(self._calendar.now()),
            "upload_id": upload.id,
        }

    async def complete(self, upload_id: str, body: bytes) -> Upload:
        """Put the parts together, in the order asked for.

        Raises:
            ApiError: 404 or 400, it is not pending, or the parts are not what was announced.
        """
        document = read_object(body, known=frozenset({"part_ids", "md5"}))
        async with self._ending:
            upload = self.find(upload_id)
            upload.file = await self._join(upload, document)
            self._close(upload, "completed")
        return upload

    async def _join(self, upload: Upload, document: Mapping[str, Any]) -> StoredFile:
        parts = [part.path for part in _choose_parts(upload, document)]
        target = self._shelf.make_path()
        md5 = await anyio.to_thread.run_sync(_copy, parts, target)
        if document.get("md5") not in (None, md5):
            target.unlink(missing_ok=True)
            raise bad_request("The md5 checksum does not match the parts.", param="md5")
        return self._shelf.add(
            Paper(path=target, size=upload.size),
            filename=upload.filename,
            purpose=upload.purpose,
            lifetime_seconds=upload.lifetime_seconds,
        )

    async def cancel(self, upload_id: str) -> Upload:
        """Give one up.

        Raises:
            ApiError: 404 or 400, it is not pending.
        """
        async with self._ending:
            upload = self.find(upload_id)
            self._close(upload, "cancelled")
        return upload

    def clear(self) -> None:
        """Forget all."""
        for upload in self._uploads.values():
            _drop_parts(upload)
        self._uploads.clear()

    def _close(self, upload: Upload, status: Literal["completed", "cancelled", "expired"]) -> None:
        upload.status = status
        _drop_parts(upload)


def _drop_parts(upload: Upload) -> None:
    for paper in upload.parts.values():
        paper.path.unlink(missing_ok=True)
    upload.parts.clear()


def _read_size(document: Mapping[str, Any]) -> int:
    size = document.get("bytes")
    if size is None:
        raise missing("bytes")
    if not isinstance(size, int) or not 0 < size <= MAX_UPLOAD_BYTES:
        raise bad_request(
            f"Invalid 'bytes': expected an integer from 1 to {MAX_UPLOAD_BYTES}.",
            code="invalid_value",
            param="bytes",
        )
    return size


def _choose_parts(upload: Upload, document: Mapping[str, Any]) -> list[Paper]:
    ids = document.get("part_ids")
    if not isinstance(ids, list) or not ids:
        raise missing("part_ids")
    unknown = [name for name in ids if not isinstance(name, str) or name not in upload.parts]
    if unknown:
        raise bad_request(f"No such part of the upload: {unknown[0]}.", param="part_ids")
    parts = [upload.parts[part_id] for part_id in ids]
    size = sum(part.size for part in parts)
    if size != upload.size:
        raise bad_request(
            f"The parts have {size} bytes, but the upload was announced with {upload.size}.",
            param="part_ids",
        )
    return parts


def _copy(parts: Sequence[Path], target: Path) -> str:
    """Write the parts one after another; returns the md5 of the whole, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with target.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                while piece := file.read(_COPY_BYTES):
                    digest.update(piece)
                    whole.write(piece)
    return digest.hexdigest()
