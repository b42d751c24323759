"""HTML from text of strangers: everything is escaped, nothing can steer the page."""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Final

# Control characters, and those that turn the direction of what follows: a name may not
# rearrange the words around it.
_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def text(value: str) -> str:
    """Text as it is to be read, in quotes of an attribute, too."""
    mended = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return escape(_STEERING.sub("\N{REPLACEMENT CHARACTER}", mended), quote=True)


def foreign(value: str) -> str:
    """Text of strangers between words of ours, in whatever direction it is written."""
    return f"<bdi>{text(value)}</bdi>"


def element(name: str, content: str, **attributes: str) -> str:
    """An element around markup; the attributes' values are text.

    ``class_`` is written for ``class``, ``data_odd`` for ``data-odd``.
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    written = "".join(f' {names[key]}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>"


def row(name: str, cells: Iterable[str]) -> str:
    """A row of a table; the cells are markup, the first one of a body row is its heading."""
    first, *rest = cells
    head = f'<{"th" if name == "td" else name} scope="{"row" if name == "td" else "col"}">'
    others = "".join(f"<{name}>{cell}</{name}>" for cell in rest)
    return f"<tr>{head}{first}</th>{others}</tr>"


def inline_picture(data: bytes, media_type: str) -> str:
    """A picture as an address that holds it."""
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def document(title: str, body: str, *, style: str, script: str) -> str:
    """A whole page that may load nothing and run nothing but this style and script."""
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _hash(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
