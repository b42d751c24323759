"""Text in a picture, read by the optional OCR engine."""

from importlib.util import find_spec
from threading import Lock
from typing import Any

_LEAST_SIDE = 8
"""Pixels; no letter fits into less."""


class TextReader:
    """Reads text with rapidocr when the extra ``ocr`` is installed.

    The engine (three bundled networks, about a second to load) is made at the first picture
    that needs it, once, whichever thread comes first. It reads one picture at a time, because
    its detector keeps what belongs to the picture at hand on itself.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._engine: Any = None
        self._is_installed = all(find_spec(name) for name in ("rapidocr", "onnxruntime"))

    def read(self, data: bytes, *, shortest_side: int) -> str | None:
        """Lines from top to bottom; empty when there is no text, None without an engine."""
        if not self._is_installed:
            return None
        if shortest_side < _LEAST_SIDE:
            return ""
        with self._lock:
            if self._engine is None:
                self._engine = _make_engine()
            found = self._engine(data)
        return "\n".join(found.txts or ())


def _make_engine() -> Any:
    from rapidocr import RapidOCR

    # a second thread doubles the processor time it takes, mostly by waiting busily
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    return RapidOCR(params={"Global.log_level": "error", **threads})
