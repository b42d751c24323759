"""Globs in the manner of ``.gitignore``, many of them compiled to one expression."""

import re
from collections.abc import Sequence

from pipeline.domain.errors import ConfigurationError

_PIECE = re.compile(r"\*+|\?|\[!?[^/][^\]]*\]|.", re.DOTALL)


def compile_globs(globs: Sequence[str], *, setting: str) -> re.Pattern[str] | None:
    """One expression that fully matches what any of the globs matches; None for no globs.

    It is meant for paths relative to the root, with ``/`` between names and, for a folder,
    ``/`` at the end. A glob without ``/`` (but for one at the end) matches names at any depth,
    one with ``/`` starts at the root. ``*`` and ``?`` stay within a name, ``**`` as a whole name
    crosses folders, ``[a-z]`` and ``[!a-z]`` are one character, ``/`` at the end means a folder
    and all that is in it. Case matters.

    Raises:
        ConfigurationError: a glob is malformed; names ``setting`` and the glob.
    """
    if not globs:
        return None
    return re.compile("|".join(_translate_checked(glob, setting) for glob in globs), re.DOTALL)


def _translate_checked(glob: str, setting: str) -> str:
    expression = _translate(glob.removeprefix("./"))
    try:
        re.compile(expression)
    except re.error as error:
        raise ConfigurationError(
            f"{setting}: {glob!r} is not a valid glob ({error.msg}); "
            "allowed are *, **, ?, [a-z], [!a-z], and [[] for a bracket"
        ) from error
    return expression


def _translate(glob: str) -> str:
    *parents, last = glob.strip("/").split("/")
    anywhere = "" if "/" in glob.rstrip("/") else "(?:.*/)?"
    above = "".join("(?:.*/)?" if name == "**" else f"{_translate_name(name)}/" for name in parents)
    below = ".*" if last == "**" else _translate_name(last) + ("/.*" if glob[-1:] == "/" else "/?")
    return f"{anywhere}{above}{below}"


def _translate_name(name: str) -> str:
    return "".join(_translate_piece(found.group()) for found in _PIECE.finditer(name))


def _translate_piece(piece: str) -> str:
    if piece[0] == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece[0] == "[" and len(piece) > 1:
        return _translate_set(piece[1:-1])
    return re.escape(piece)


def _translate_set(members: str) -> str:
    is_negated = members[0] == "!" and len(members) > 1
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members[is_negated:])
    return f"(?!/)[{'^' if is_negated else ''}{escaped}]"
