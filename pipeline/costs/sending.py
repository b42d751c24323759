"""How many bytes go over the wire, before any picture was encoded."""

from bisect import bisect_left
from typing import Final, Literal

import orjson

from pipeline.domain.vision import Question

_BYTES_PER_KILOPIXEL: Final = (
    (1, 30), (30, 103), (50, 136), (75, 196), (85, 260), (90, 320), (95, 455), (100, 888),
)  # fmt: skip
"""Of a JPEG by quality, 4:2:0: the means over the two photographs of scikit-learn at 160 to 640
pixels. One picture may take half or twice as many; flat ones take far fewer."""
_WEBP_SHARE: Final = 0.75
"""Of what a JPEG of the same quality takes, of the same photographs."""
_PNG_BYTES_PER_KILOPIXEL: Final = 1_585
_FRAME_BYTES: Final = 600
"""Of a request beside words, schema and picture: keys, model, limits."""


def estimate_encoded_bytes(
    pixels: int, output: Literal["auto", "jpeg", "png", "webp"], quality: int
) -> int:
    """About how many bytes photographs with so many pixels take when they are encoded anew.

    Args:
        pixels: of all of them.
        output: the profile's ``image.format``; ``auto`` makes JPEG of photographs.
        quality: 1 to 100, of JPEG and WebP.
    """
    if output == "png":
        return pixels * _PNG_BYTES_PER_KILOPIXEL // 1000
    share = _WEBP_SHARE if output == "webp" else 1.0
    return round(pixels * _interpolate(quality) * share / 1000)


def _interpolate(quality: int) -> float:
    place = max(1, bisect_left(_BYTES_PER_KILOPIXEL, (quality, 0)))
    (left, low), (right, high) = _BYTES_PER_KILOPIXEL[place - 1], _BYTES_PER_KILOPIXEL[place]
    return low + (high - low) * (quality - left) / (right - left)


def count_base64_bytes(picture_bytes: int) -> int:
    """Bytes of pictures as they stand in a request: four for three."""
    return -(-picture_bytes // 3) * 4


def count_frame_bytes(question: Question) -> int:
    """About how many bytes a request has beside its picture."""
    words = orjson.dumps(question.instructions.encode(errors="replace").decode())
    return len(words) + len(question.schema) + _FRAME_BYTES
