"""Local paths as uris that any database, log and export can hold, and back."""

import os
from urllib.parse import quote, unquote_to_bytes

_SCHEME = "file://"


def to_uri(path: str) -> str:
    """The path itself; ``file://`` and percent-encoded when a name in it is not UTF-8."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        return _SCHEME + quote(os.fsencode(path))
    return path


def to_path(uri: str) -> str:
    """Undo ``to_uri``; a plain path stays what it is."""
    if uri.startswith(_SCHEME):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix(_SCHEME)))
    return uri


def uri_prefixes(folder: str) -> tuple[str, ...]:
    """What the uris of everything below a folder start with: a plain and an encoded form."""
    inside = os.path.join(folder, "")  # noqa: PTH118 - the root folder ends with a slash already
    return tuple(dict.fromkeys((to_uri(inside), _SCHEME + quote(os.fsencode(inside)))))
