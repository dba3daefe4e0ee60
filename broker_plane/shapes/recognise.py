"""Recognises whether a tool's result is a table, and which. Pure.

A result is what it is: a table with its shape and place, or the exact text or JSON that it was, without a wrapper. The
work is bounded (bounds.py) but may take seconds for tens of megabytes: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.shapes import envelopes, json_rows
from broker_plane.shapes.bounds import MAX_FIELDS_BYTES
from broker_plane.shapes.results import texts_of, wrapped_text
from broker_plane.shapes.schemas import is_table_schema
from broker_plane.shapes.table import KINDS, NEVER, Found, Opaque, Table, check_shape, parse_shape
from broker_plane.shapes.texts import JSON, MEDIA_TYPES, NO_TABLE, PLAIN, is_json, parsed, read, refusal, unwrapped
from broker_plane.shapes.value_types import typed
from broker_plane.wire.exact_json import dumps

__all__ = [
    "KINDS",
    "Opaque",
    "Table",
    "is_table_schema",
    "parse_shape",
    "recognise",
    "recognise_text",
    "recognise_value",
]

_BINARY = "application/octet-stream"
_SOFT = ("auto", "table")
_MAX_NOTE = 4096


def recognise(result: Mapping[str, Any], *, shape: str = "auto", types: bool = True) -> Table | Opaque:
    """What a `CallToolResult` in its wire form is. Blocks other than text are no part of it.

    `shape` is one of KINDS; `table` for any of them, with less evidence for CSV; `text` or `json` for no table at all.
    Without `types`, texts stay texts.

    Raises:
        ConfigError: there is no such shape.
        TabularError: the result is not of this kind, and why.
    """
    wanted = check_shape(shape)
    if result.get("isError"):
        return _content(result, "text")
    wrapped = wrapped_text(result)
    if wrapped is not None and _size(wrapped[2]) <= MAX_FIELDS_BYTES:
        text, member, fields = wrapped
        path = f"structuredContent#/{envelopes.escaped(member)}" if member else "structuredContent"
        return _of_text(text, wanted, types, path=path, fields=fields, wrapped=True)
    structured, texts = result.get("structuredContent"), texts_of(result)
    if wanted in NEVER:
        return _content(result, wanted)
    if structured is not None and (table := _of_structured(structured, wanted, types, texts)) is not None:
        return table
    if len(texts) > 1 and (table := _of_blocks(texts, wanted, types)) is not None:
        return table
    if len(texts) == 1 and _size(structured) <= MAX_FIELDS_BYTES and not isinstance(structured, list):
        return _of_text(texts[0], wanted, types, path="text", fields=structured if isinstance(structured, dict) else {})
    if wanted not in _SOFT:
        raise _not(wanted, refusal(wanted))
    return _content(result, "auto")


def recognise_text(text: str, *, media_type: str = "", shape: str = "auto", types: bool = True) -> Table | Opaque:
    """What a text is. The table keeps the text as its source. Arguments and errors are those of `recognise`.

    A media type of CSV, TSV or NDJSON is evidence; one of code or another format means that the text is no table.
    """
    return _of_text(text, check_shape(shape), types, media_type=media_type)


def recognise_value(value: Any, *, shape: str = "auto", types: bool = True) -> Table | None:
    """The table that a value parsed from JSON is; its path is a JSON pointer. Errors are those of `recognise`."""
    wanted = check_shape(shape)
    if wanted in NEVER:
        return None
    found = envelopes.table_in(value) if wanted in _SOFT else envelopes.forced(value, wanted)
    if found is None and (wrapped := unwrapped(value)) is not None:
        text, name, beside = wrapped
        table = _of_text(text, wanted, types, path=f"#/{envelopes.escaped(name)}", fields=beside, wrapped=True)
        return table if isinstance(table, Table) else None
    if found is None and wanted not in _SOFT:
        raise _not(wanted, refusal(wanted))
    return None if found is None else _table(found, types, f"#{found.pointer}" if found.pointer else "")


def _of_text(
    text: str,
    wanted: str,
    types: bool,
    *,
    media_type: str = "",
    path: str = "text",
    fields: dict[str, Any] | None = None,
    wrapped: bool = False,
) -> Table | Opaque:
    beside = fields or {}
    if wanted in NEVER:
        if wanted == "json" and not is_json(text):
            raise _not("json", TabularError("it is not a JSON array or object"))
        return _opaque(text, media_type or (JSON if wanted == "json" else PLAIN), beside, path)
    try:
        reading = read(text, "auto" if wanted == "wrapped" and wrapped else wanted, media_type)
    except TabularError as error:
        raise _not(wanted, error) from error
    if reading is not NO_TABLE and wanted == "wrapped" and reading.found is None:
        raise _not(wanted, refusal(wanted))
    if reading.found is None:
        return _opaque(text, media_type or (JSON if reading.is_json else PLAIN), beside, path)
    found = reading.found
    kind = f"wrapped {found.kind}" if wrapped and not found.kind.startswith("wrapped") else found.kind
    place = path + (f"#{found.pointer}" if found.pointer.startswith("/") else found.pointer)
    source = _opaque(text, media_type or MEDIA_TYPES.get(found.kind.partition(" ")[0], JSON), beside, path)
    made = _table(found, types, place, kind=kind, source=source)
    outer = {json_rows.free(name, made.fields): member for name, member in beside.items()}
    return Table(kind, made.columns, made.rows, place, made.fields | outer, source)


def _of_structured(structured: Any, wanted: str, types: bool, texts: list[str]) -> Table | None:
    """The table that structured content is, beside a short text for people."""
    try:
        table = recognise_value(structured, shape=wanted, types=types)
    except TabularError:
        return None
    if table is None:
        return None
    fields = dict(table.fields)
    if len(texts) == 1 and 0 < len(texts[0]) <= _MAX_NOTE and "text" not in fields and not is_json(texts[0]):
        fields["text"] = texts[0]
    return Table(table.kind, table.columns, table.rows, f"structuredContent{table.path}", fields, table.source)


def _of_blocks(texts: list[str], wanted: str, types: bool) -> Table | None:
    """One object in each text block, which is how the Python SDK writes a list."""
    if wanted not in (*_SOFT, "rows", "records") or not all(text.lstrip()[:1] == "{" for text in texts):
        return None
    found = json_rows.rows([parsed(text) for text in texts])
    return None if found is None else _table(found, types, "content")


def _table(found: Found, types: bool, path: str, *, kind: str = "", source: Opaque | None = None) -> Table:
    rows = typed(found) if types else found.rows
    return Table(kind or found.kind, tuple(found.columns), rows, path, dict(found.fields), source)


def _content(result: Mapping[str, Any], wanted: str) -> Opaque:
    """The text or the JSON of a result that is not a table."""
    structured, text = result.get("structuredContent"), "\n".join(texts_of(result))
    size = _size(structured)
    if wanted != "json" and (structured is None or (text and size <= MAX_FIELDS_BYTES and size < len(text))):
        kind = JSON if wanted == "auto" and is_json(text) else PLAIN
        beside = structured if isinstance(structured, dict) and parsed(text) != structured else {}
        return _opaque(text, kind, beside, "text")
    if structured is None:
        if not is_json(text):
            raise _not("json", TabularError("it is not a JSON array or object"))
        return _opaque(text, JSON, {}, "text")
    if parsed(text) == structured:  # kept as it was written
        return _opaque(text, JSON, {}, "text")
    note = {"text": text} if 0 < len(text) <= _MAX_NOTE and not is_json(text) else {}
    return Opaque(dumps(structured), JSON, note, "structuredContent")


def _opaque(text: str, media_type: str, fields: dict[str, Any], path: str) -> Opaque:
    try:
        return Opaque(text.encode(), media_type, fields, path)
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 does not have
        return Opaque(text.encode("utf-8", "surrogatepass"), _BINARY, fields, path)


def _not(shape: str, error: TabularError) -> TabularError:
    return TabularError(f"The result is not {shape}: {error}. Choose another shape, or none to have it recognised")


def _size(value: Any) -> int:
    return len(dumps(value)) if value else 0
