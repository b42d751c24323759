"""Which lines of batches were charged for, and how often."""

from collections import Counter
from typing import Any


class LineBook:
    """One entry for each line with an answer, over all batches."""

    def __init__(self) -> None:
        self.billed: Counter[str] = Counter()
        """How often each custom id was charged for."""
        self._by_picture: dict[bytes, list[str]] = {}

    def add(self, custom_id: str, sha256: str | None) -> None:
        self.billed[custom_id] += 1
        if sha256:
            self._by_picture.setdefault(bytes.fromhex(sha256), []).append(custom_id)

    def find_custom_ids(self, sha256: str) -> list[str]:
        """Of the lines that were charged for a picture, oldest first."""
        return list(self._by_picture.get(bytes.fromhex(sha256), ()))

    def count_pictures(self) -> Counter[str]:
        """How often each picture was charged for, by its sha256 in hex."""
        return Counter({key.hex(): len(ids) for key, ids in self._by_picture.items()})

    def list_repeated(self) -> list[str]:
        """Custom ids that were charged for more than once."""
        return [custom_id for custom_id, times in self.billed.items() if times > 1]

    def list_repeated_pictures(self) -> list[str]:
        """Pictures that were charged for more than once, by their sha256 in hex."""
        return [key.hex() for key, ids in self._by_picture.items() if len(ids) > 1]

    def as_document(self) -> dict[str, Any]:
        return {
            "billed": self.billed.total(),
            "pictures": len(self._by_picture),
            "repeated": self.list_repeated(),
            "repeated_pictures": self.list_repeated_pictures(),
        }
