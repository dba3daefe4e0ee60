"""The content of a tool result in its wire form: a text, perhaps within a wrapper, or structured content. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def texts_of(result: Result) -> list[str]:
    """The texts of the text blocks."""
    blocks = result.get("content")
    found = [block.get("text") for block in blocks if _is_text(block)] if isinstance(blocks, list) else []
    return [text for text in found if isinstance(text, str)]


def _is_text(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "text"


def wrapped_text(result: Result) -> tuple[str, str, dict[str, Any]] | None:
    """The text that the structured content merely wraps, as in `{"content": text}`, with its member's name (empty for
    the structured content itself), and the other members."""
    structured, texts = result.get("structuredContent"), texts_of(result)
    if isinstance(structured, str):
        return (structured, "", {}) if texts in ([], [structured]) else None
    if not isinstance(structured, dict):
        return None
    if not texts and len(structured) == 1 and isinstance(only := next(iter(structured.values())), str):
        return only, next(iter(structured)), {}
    text = "\n".join(texts)
    names = [name for name, value in structured.items() if text and value == text]
    if not names:
        return None
    return text, names[0], {name: value for name, value in structured.items() if name not in names}
