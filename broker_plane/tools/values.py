"""Values that are not tables, as opaque bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.shapes.recognise import recognise_text, recognise_value
from broker_plane.shapes.table import Table
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.tools.frameworks import ToolResult
from broker_plane.tools.returned import wire_value

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
PREVIEW_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class LargeValue:
    """The bytes of a body, their media type, and its beginning for the model."""

    raw: bytes
    media_type: str
    preview: str


def weight_of(made: ToolResult) -> int:
    """Bytes of a plain result's texts and structured content."""
    structured = 0 if made.structured is None else len(exact_json_bytes(made.structured))
    return structured + sum(len(text.encode(errors="replace")) for text in _texts(made))


def large_value_of(value: Any, made: ToolResult) -> LargeValue | None:
    """The body of a value that is too large: text as it is, anything else as the JSON of its plain result.

    None if the result has images or other blocks, which stay where they are.
    """
    texts = _texts(made)
    if len(texts) < len(made.content):
        return None
    if isinstance(value, str):
        return LargeValue(value.encode(errors="surrogatepass"), TEXT, value[:PREVIEW_CHARACTERS])
    if made.structured is None:
        text = "\n".join(texts)
        return LargeValue(text.encode(errors="surrogatepass"), TEXT, text[:PREVIEW_CHARACTERS])
    only = made.structured.get("result") if set(made.structured) == {"result"} else None
    raw = exact_json_bytes(made.structured if only is None else only)
    return LargeValue(raw, JSON, raw[: 4 * PREVIEW_CHARACTERS].decode(errors="ignore")[:PREVIEW_CHARACTERS])


def _texts(made: ToolResult) -> list[str]:
    blocks = (block if isinstance(block, dict) else vars(block) for block in made.content)
    return [block["text"] for block in blocks if block.get("type") == "text"]


def rows_in(value: Any) -> list[Any]:
    """The rows of a value of which columns were requested: those of the table that it contains (docs/shapes.md), or
    the value itself as the only one.
    """
    if isinstance(value, str):
        found: Any = recognise_text(value)
    else:
        viewed = wire_value(value)
        found = recognise_value(viewed) if isinstance(viewed, dict) else None
    return found.rows if isinstance(found, Table) else [value]
