"""How large a picture is sent: functions from upright size to size to send. None enlarges."""

from collections.abc import Callable
from typing import TypeAlias

Fit: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Upright width and height, in pixels, to the width and height to send."""


def fit_longest_side(pixels: int) -> Fit:
    """The longest side becomes at most ``pixels``, in the same proportions."""

    def fit(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, pixels / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    return fit


def keep_size(width: int, height: int) -> tuple[int, int]:
    """As it is."""
    return width, height
