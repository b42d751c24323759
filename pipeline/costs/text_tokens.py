"""Tokens of words: an estimate without a tokenizer, and a bound that holds for every one."""

REQUEST_TOKENS = 12
"""Around the words and the picture of one request: roles, separators and the reply's opening.
Measured with a trivial prompt (OpenAI community forum)."""

_QUARTERS_BY_LEAD_BYTE = (
    (bytes(range(0x80)), 1),  # Latin letters, digits, punctuation: about four to a token
    (bytes(range(0xC0, 0xE0)), 2),  # accents, Greek, Cyrillic, Hebrew, Arabic: about two
    (bytes(range(0xE0, 0xF0)), 4),  # Chinese, Japanese, Korean, Indic scripts: about one
    (bytes(range(0xF0, 0xF8)), 8),  # emoji: about two tokens each
)


def estimate_text_tokens(text: str | bytes) -> int:
    """About how many tokens a text has, a rule of thumb by its scripts.

    Args:
        text: words, or UTF-8 bytes such as a schema.
    """
    data = _to_bytes(text)
    quarters = sum(
        weight * (len(data) - len(data.translate(None, leads)))
        for leads, weight in _QUARTERS_BY_LEAD_BYTE
    )
    return -(-quarters // 4)


def most_text_tokens(text: str | bytes) -> int:
    """More tokens than this a text cannot have: byte-pair tokens cover one byte or more."""
    return len(_to_bytes(text))


def _to_bytes(text: str | bytes) -> bytes:
    # a lone surrogate has no UTF-8; it counts as a question mark
    return text.encode(errors="replace") if isinstance(text, str) else text
