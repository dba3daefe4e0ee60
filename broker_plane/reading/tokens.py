"""Budgets in tokens. A token counts as four bytes of UTF-8, for every model alike. Pure."""

from __future__ import annotations

TOKEN_BYTES = 4
DEFAULT_TOKENS = 2_000
MOST_TOKENS = 20_000
LEAST_TOKENS = 50


def tokens_of(text: str) -> int:
    """The number of tokens that `text` counts as."""
    return -(-len(text.encode("utf-8", "replace")) // TOKEN_BYTES)


def cut_text(text: str, most_bytes: int) -> str:
    """`text` if it has at most `most_bytes` bytes, else its beginning and a mark with the number of bytes left out."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most_bytes:
        return text
    kept = raw[: max(0, most_bytes)].decode("utf-8", "ignore")
    return f"{kept}…[{len(raw) - len(kept.encode()):,} more bytes]"
