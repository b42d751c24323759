"""Texts that match a regular expression: read once into parts, then written at random."""

import random
import re
import string
from collections.abc import Callable
from functools import lru_cache
from typing import Final

Part = Callable[[random.Random], str]
"""Writes one text that its piece of the expression matches."""

_LETTERS: Final = string.ascii_letters + string.digits
_WORD: Final = _LETTERS + "_"
_PRINTABLE: Final = _WORD + " .,:;!?+-*/=()[]{}<>@#$%&'\"~^|\\`"
_CLASSES: Final = {
    "d": string.digits,
    "w": _WORD,
    "s": " ",
    "D": string.ascii_letters,
    "W": " .,-",
    "S": _LETTERS,
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "f": "\f",
    "v": "\v",
}
_NOT_TEXT: Final = frozenset("bBAZzGkpPuUxXc0123456789")
_OPEN_END: Final = 3
"""Repeats drawn beyond the least where the expression sets no upper bound."""


@lru_cache(maxsize=256)
def read_pattern(pattern: str) -> Part:
    """Read an expression: literals, classes, groups, alternatives, repeats, outer anchors.

    Raises:
        ValueError: it uses something else, such as lookaround or back references.
    """
    reader = _Reader(pattern)
    part = reader.read_alternatives()
    if not reader.is_at_end():
        raise ValueError(f"unexpected {reader.peek()!r} at {reader.at}")
    _try_out(part, pattern)
    return part


def _try_out(part: Part, pattern: str) -> None:
    # what a part cannot know, such as an anchor inside a repeat, shows in a sample
    try:
        fits = all(re.search(pattern, part(random.Random(seed))) for seed in range(5))
    except re.error as error:
        raise ValueError(str(error)) from error
    if not fits:
        raise ValueError("no text could be made that it matches")


class _Reader:
    """Recursive descent over one expression."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def is_at_end(self) -> bool:
        return self.at >= len(self.pattern)

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        if self.is_at_end():
            raise ValueError("the expression ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def read_alternatives(self) -> Part:
        options = [self._read_sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self._read_sequence())
        return lambda chance: chance.choice(options)(chance)

    def _read_sequence(self) -> Part:
        parts: list[Part] = []
        while self.peek() not in ("", "|", ")"):
            sign = self.peek()
            if sign in "^$":
                self._skip_anchor()
            else:
                parts.append(self._read_repeat(self._read_atom()))
        return lambda chance: "".join(part(chance) for part in parts)

    def _skip_anchor(self) -> None:
        before, sign = self.pattern[: self.at], self.take()
        is_at_start = not before or before.endswith(("(", "(?:", "|"))
        is_before_end = self.peek() in ("", ")", "|")
        # in mid-sequence an anchor can never hold, and no text would match
        if not (is_at_start if sign == "^" else is_before_end):
            raise ValueError(f"{sign!r} within the expression")

    def _read_atom(self) -> Part:
        sign = self.take()
        if sign == "(":
            return self._read_group()
        if sign == "[":
            return _choose_from(self._read_class())
        if sign == "\\":
            return _choose_from(self._read_escape())
        if sign in "*+?{":
            raise ValueError(f"nothing to repeat at {self.at}")
        return _choose_from(_LETTERS if sign == "." else sign)

    def _read_group(self) -> Part:
        if self.peek() == "?":
            self.take()
            if self.take() != ":":
                raise ValueError("lookaround, flags and named groups are not supported")
        part = self.read_alternatives()
        if self.is_at_end() or self.take() != ")":
            raise ValueError("unclosed group")
        return part

    def _read_escape(self) -> str:
        sign = self.take()
        if sign in _NOT_TEXT:
            raise ValueError(f"escape \\{sign} is not supported")
        return _CLASSES.get(sign, sign)

    def _read_class(self) -> str:
        is_negated = self.peek() == "^"
        if is_negated:
            self.take()
        signs = ""
        while self.peek() != "]":
            signs += self._read_class_item()
        self.take()
        if is_negated:
            signs = "".join(sign for sign in _PRINTABLE if sign not in signs)
        if not signs:
            raise ValueError("an empty class matches nothing")
        return signs

    def _read_class_item(self) -> str:
        first = self.take()
        if first == "\\":
            return self._read_escape()
        if self.peek() != "-" or self.pattern[self.at + 1 : self.at + 2] in ("", "]"):
            return first
        self.take()
        last = self.take()
        if last == "\\" or last < first:
            raise ValueError(f"bad range {first}-{last}")
        return "".join(map(chr, range(ord(first), ord(last) + 1)))

    def _read_repeat(self, part: Part) -> Part:
        sign = self.peek()
        if sign not in ("*", "+", "?", "{"):
            return part
        self.take()
        least, most = self._read_bounds() if sign == "{" else _REPEATS[sign]
        if self.peek() == "?":
            self.take()
        if most < least:
            raise ValueError("a repeat whose bounds are crossed")
        return lambda chance: "".join(part(chance) for _ in range(chance.randint(least, most)))

    def _read_bounds(self) -> tuple[int, int]:
        end = self.pattern.find("}", self.at)
        least, comma, most = self.pattern[self.at : end].partition(",")
        if end < 0 or not least.isdecimal() or not (most == "" or most.isdecimal()):
            raise ValueError("a repeat must be {n}, {n,} or {n,m}")
        self.at = end + 1
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else int(least) + _OPEN_END


_REPEATS: Final = {"*": (0, _OPEN_END), "+": (1, 1 + _OPEN_END), "?": (0, 1)}


def _choose_from(signs: str) -> Part:
    return lambda chance: chance.choice(signs)
