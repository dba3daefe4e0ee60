"""Recognises whether a tool's result is a table, and which. Pure.

A result is what it is: a table with its shape and place, or the exact text or JSON that it was, without a wrapper. The
work is bounded (bounds.py) but may take seconds for tens of megabytes: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.shapes import envelopes, json_rows
from broker_plane.shapes.bounds import are_few, size_of
from broker_plane.shapes.results import texts_of, wrapped_text
from broker_plane.shapes.schemas import is_table_schema
from broker_plane.shapes.table import KINDS, NEVER, Found, Opaque, Table, check_shape, joined, parse_shape
from broker_plane.shapes.texts import JSON, MEDIA_TYPES, PLAIN, is_json, parsed, read, refusal, unwrapped
from broker_plane.shapes.value_types import rows_of
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
_STRUCTURED = "structuredContent"
_SOFT = ("auto", "table")
_MAX_NOTE = 4096
"""Maximum length of a text beside structured content that is kept as a field; a longer one is its rendering."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A text of a result: its place, and what was beside it."""

    text: str
    path: str
    fields: dict[str, Any] = field(default_factory=dict)
    media_type: str = ""
    wrapped: bool = False
    """Whether it is a member of structured content."""

    def opaque(self, media_type: str) -> Opaque:
        try:
            return Opaque(self.text.encode(), self.media_type or media_type, self.fields, self.path)
        except UnicodeEncodeError:  # a lone surrogate, which UTF-8 does not have
            return Opaque(self.text.encode("utf-8", "surrogatepass"), _BINARY, self.fields, self.path)


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
        return _opaque(result, "auto")
    wrapped = wrapped_text(result)
    if wrapped is not None and are_few(wrapped[2]):
        text, member, fields = wrapped
        path = f"{_STRUCTURED}#/{envelopes.escaped(member)}" if member else _STRUCTURED
        return _of_text(_Part(text, path, fields, wrapped=True), wanted, types)
    structured, texts = result.get(_STRUCTURED), texts_of(result)
    if wanted in NEVER:
        return _opaque(result, wanted)
    if (table := _of_structured(structured, wanted, types, texts)) is not None:
        return table
    if len(texts) > 1 and (table := _of_blocks(texts, wanted, types)) is not None:
        return table
    if len(texts) == 1 and (structured is None or (isinstance(structured, dict) and are_few(structured))):
        found = _of_text(_Part(texts[0], "text", dict(structured or {})), wanted, types)
        return found if isinstance(found, Table) else _opaque(result, "auto")
    if wanted not in _SOFT:
        raise _not(wanted, refusal(wanted))
    return _opaque(result, "auto")


def recognise_text(text: str, *, media_type: str = "", shape: str = "auto", types: bool = True) -> Table | Opaque:
    """What a text is. The table keeps the text as its source. Arguments and errors are those of `recognise`.

    A media type of CSV, TSV or NDJSON is evidence; one of code or another format means that the text is not a table.
    """
    return _of_text(_Part(text, "text", media_type=media_type), check_shape(shape), types)


def recognise_value(value: Any, *, shape: str = "auto", types: bool = True) -> Table | None:
    """The table that a value parsed from JSON is; its path is a JSON pointer. Errors are those of `recognise`."""
    wanted = check_shape(shape)
    if wanted in NEVER:
        return None
    found = envelopes.table_in(value, wanted) if wanted in _SOFT else envelopes.forced(value, wanted)
    if found is not None:
        source = None if found.pointer in ("", "/result") and found.kind == "rows" else _json_of(value)
        return _table(found, types, f"#{found.pointer}" if found.pointer else "", source)
    if (wrapped := unwrapped(value)) is not None:
        text, name, beside = wrapped
        made = _of_text(_Part(text, f"#/{envelopes.escaped(name)}", beside, wrapped=True), wanted, types)
        return made if isinstance(made, Table) else None
    if wanted not in _SOFT:
        raise _not(wanted, refusal(wanted))
    return None


def _of_text(part: _Part, wanted: str, types: bool) -> Table | Opaque:
    if wanted in NEVER:
        if wanted == "json" and not is_json(part.text):
            raise _not("json", TabularError("it is not a JSON array or object"))
        return part.opaque(JSON if wanted == "json" else PLAIN)
    try:
        reading = read(part.text, "auto" if wanted == "wrapped" and part.wrapped else wanted, part.media_type)
        if reading.found is None and wanted not in _SOFT:
            raise refusal(wanted)
    except TabularError as error:
        raise _not(wanted, error) from error
    found = reading.found
    if found is None:
        return part.opaque(JSON if reading.is_json else PLAIN)
    source = part.opaque(MEDIA_TYPES.get(found.kind.partition(" ")[0], JSON))
    path = part.path + (f"#{found.pointer}" if found.pointer.startswith("/") else found.pointer)
    table = _table(found, types, path, source)
    around = "wrapped " if part.wrapped and not found.kind.startswith("wrapped") else ""
    return replace(table, kind=around + found.kind, fields=joined(table.fields, part.fields))


def _of_structured(structured: Any, wanted: str, types: bool, texts: list[str]) -> Table | None:
    """The table that structured content is, beside a short text for people."""
    if structured is None:
        return None
    try:
        table = recognise_value(structured, shape=wanted, types=types)
    except TabularError:  # the text may be one
        return None
    if table is None:
        return None
    source = table.source
    if source is not None and source.path.startswith("#"):
        source = replace(source, path=_STRUCTURED + source.path)
    return replace(
        table, path=_STRUCTURED + table.path, fields=table.fields | _note(texts, table.fields), source=source
    )


def _of_blocks(texts: list[str], wanted: str, types: bool) -> Table | None:
    """One object in each text block, which is how the Python SDK writes a list."""
    if wanted not in (*_SOFT, "rows", "records") or not all(text.lstrip()[:1] == "{" for text in texts):
        return None
    found = json_rows.rows([parsed(text) for text in texts])
    return None if found is None else _table(found, types, "content", None)


def _table(found: Found, types: bool, path: str, source: Opaque | None) -> Table:
    return Table(found.kind, tuple(found.columns), rows_of(found, types=types), path, dict(found.fields), source)


def _opaque(result: Mapping[str, Any], wanted: str) -> Opaque:
    """The text or the JSON of a result that is not a table: the larger one, if they differ."""
    structured, texts = result.get(_STRUCTURED), texts_of(result)
    text = "\n".join(texts)
    value = parsed(text)
    if structured is None or (text and wanted != "json" and _are_equal(value, structured)):
        if wanted == "json" and not is_json(text):
            raise _not("json", TabularError("it is not a JSON array or object"))
        kind = JSON if wanted == "json" or (wanted == "auto" and is_json(text)) else PLAIN
        return _Part(text, "text").opaque(kind)
    size = size_of(structured)
    if text and wanted != "json" and (wanted == "text" or size < len(text)) and are_few(structured):
        beside = structured if isinstance(structured, dict) else {"structuredContent": structured}
        return _Part(text, "text", beside).opaque(JSON if wanted == "auto" and is_json(text) else PLAIN)
    if _are_equal(value, structured):
        return _Part(text, "text").opaque(JSON)  # as it was written
    return replace(_json_of(structured), fields=_note(texts, {}))


def _json_of(value: Any) -> Opaque:
    try:
        return Opaque(dumps(value), JSON, {}, _STRUCTURED)
    except RecursionError as error:
        raise TabularError("The result is nested too deeply to be written as JSON") from error


def _note(texts: list[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A short text for people that came with structured content."""
    if len(texts) != 1 or not 0 < len(texts[0]) <= _MAX_NOTE or "text" in fields or is_json(texts[0]):
        return {}
    return {"text": texts[0]}


def _are_equal(value: Any, structured: Any) -> bool:
    try:
        return bool(value == structured)
    except RecursionError:
        return False


def _not(shape: str, error: TabularError) -> TabularError:
    return TabularError(f"The result is not {shape}: {error}. Choose another shape, or none to have it recognised")
