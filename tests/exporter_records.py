"""Records made to order for the tests of exporters."""

from datetime import UTC, datetime
from typing import Any

from pipeline.exporters.record import Record

_DEFAULTS: dict[str, Any] = {
    "image_id": 1,
    "uri": "/photos/a.jpg",
    "sha256": "0" * 64,
    "width": 4000,
    "height": 3000,
    "format": "jpeg",
    "profile": "product",
    "profile_version": 1,
    "model": "some-model",
    "status": "done",
    "tags": ("red", "shoe"),
    "fields": {},
    "confidence": 0.5,
    "review": "none",
    "input_tokens": 1000,
    "cached_tokens": 0,
    "output_tokens": 50,
    "cost_usd": "0.0021",
    "tagged_at": datetime(2025, 5, 1, 12, tzinfo=UTC),
    "cause": None,
    "message": None,
}


def make_record(**overrides: Any) -> Record:
    """One plain record, but for what the test is about."""
    return Record(**(_DEFAULTS | overrides))
