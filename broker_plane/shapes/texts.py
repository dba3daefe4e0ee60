"""The table in a text: JSON, NDJSON, CSV, TSV, Markdown, Python's repr, HTML; also in a fence or a wrapper. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.shapes import delimited, envelopes, html_tables, markdown, ndjson, python_repr
from broker_plane.shapes.bounds import MAX_FIELDS_BYTES, MAX_LITERAL_TEXT, MAX_TEXT, MAX_VALUES, are_few
from broker_plane.shapes.table import Found
from broker_plane.wire.exact_json import MALFORMED, loads

UTF8 = "; charset=utf-8"
PLAIN, JSON = f"text/plain{UTF8}", "application/json"
MEDIA_TYPES = {
    "csv": f"text/csv{UTF8}",
    "tsv": f"text/tab-separated-values{UTF8}",
    "ndjson": "application/x-ndjson",
    "markdown": f"text/markdown{UTF8}",
    "fence": f"text/markdown{UTF8}",
    "repr": PLAIN,
    "html": f"text/html{UTF8}",
}
"""Of texts by the first word of their kind; the others are JSON."""

_BY_MEDIA_TYPE = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
_ANY = ("", "text/plain", "text/markdown", "application/json", "text/json", "application/octet-stream")
"""Media types of texts in which every shape is looked for."""

_FIRST = re.compile(r"\ufeff?\s*+(\S)")
_FENCE = re.compile(r"(`{3,}+|~{3,}+)[^\n`]*+\n")
_WRAPPERS = frozenset(
    ["content", "result", "text", "output", "stdout", "data", "body", "response", "csv", "markdown", "table", "message"]
)
_PARSERS: dict[str, Callable[[str], Found | None]] = {
    "ndjson": lambda text: ndjson.table(text, least=1),
    "markdown": markdown.table,
    "repr": python_repr.table,
    "html": html_tables.table,
}
_EXPECTED = {
    "rows": "it is not a JSON array of objects",
    "records": "it is not a JSON array of objects",
    "envelope": f"no single array of objects is in it, beside at most {MAX_FIELDS_BYTES} bytes of other members",
    "columns": "it has no columns and rows of as many values",
    "split": "it is not an object of columns, index and data",
    "pandas-table": "it is not an object of schema and data",
    "geojson": "it is not a FeatureCollection",
    "scalars": "it is not a JSON array of texts, numbers and booleans",
    "tuples": "it is not a JSON array of arrays of one length, of texts, numbers and booleans",
    "ndjson": "not every line is a JSON object",
    "markdown": "the whole text has to be one table with a line of dashes",
    "repr": f"it is not a Python list of dicts or of tuples of one length, up to {MAX_LITERAL_TEXT >> 20} MiB",
    "html": f"it has no table, or more than {MAX_LITERAL_TEXT >> 20} MiB",
    "fence": "the whole text has to be one code fence with a table in it",
    "wrapped": "it is not an object around a text that is a table",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The table of a text, if there is one, and whether the text is JSON."""

    found: Found | None
    is_json: bool = False


NO_TABLE = Reading(None)


def read(text: str, shape: str, media_type: str = "") -> Reading:
    """The table of a text.

    Raises:
        TabularError: `shape` is a kind that does not fit, and why.
    """
    if shape in ("auto", "table"):
        return _auto(text, media_type, relaxed=shape == "table")
    if len(text) > MAX_TEXT:
        raise TabularError(f"it has more than {MAX_TEXT} characters")
    if shape not in ("fence", "wrapped") and (inner := _without_fence(text)) is not None:
        return Reading(_around("fence", read(inner, shape).found))
    if shape in delimited.MARKS:
        return Reading(_forced_within(text, shape, delimited.declared))
    if shape in _PARSERS:
        return Reading(_forced_within(text, shape, _forced))
    if shape in ("fence", "wrapped"):
        reading = _auto(text, media_type)
        if reading.found is None or not reading.found.kind.startswith(shape):
            raise refusal(shape)
        return reading
    if (value := parsed(text)) is _NOTHING:
        raise TabularError("it is not JSON")
    if (found := envelopes.forced(value, shape)) is None:
        raise refusal(shape)
    return Reading(found, is_json=True)


def refusal(shape: str) -> TabularError:
    """The error for content that is not of the kind that was asked for."""
    return TabularError(_EXPECTED.get(shape, "it is something else"))


def unwrapped(value: Any) -> tuple[str, str, dict[str, Any]] | None:
    """The only text in an object, with its member's name and the other members: scalars only, and few."""
    if not isinstance(value, dict):
        return None
    texts = [name for name, member in value.items() if isinstance(member, str)]
    if len(value) > 1:
        texts = [name for name in texts if name.lower() in _WRAPPERS]
    if len(texts) != 1:
        return None
    name = texts[0]
    beside = {other: member for other, member in value.items() if other != name}
    if any(isinstance(member, dict | list) for member in beside.values()) or not are_few(beside):
        return None
    return value[name], name, beside


def parsed(text: str) -> Any:
    """The value of a JSON array or object; `_NOTHING` for any other text."""
    first = _FIRST.match(text)
    if first is None or first[1] not in "[{" or len(text) > MAX_TEXT:
        return _NOTHING
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        return _NOTHING
    try:
        return loads(text.removeprefix("\ufeff"))
    except MALFORMED:
        return _NOTHING


def is_json(text: str) -> bool:
    """Whether a text is a JSON array or object."""
    return parsed(text) is not _NOTHING


_NOTHING = object()


def _auto(text: str, media_type: str, *, relaxed: bool = False) -> Reading:
    kind = media_type.lower().partition(";")[0].strip()
    first = _FIRST.match(text)
    if first is None or len(text) > MAX_TEXT:
        return NO_TABLE
    if kind in _BY_MEDIA_TYPE:
        return Reading(_tried(text, _BY_MEDIA_TYPE[kind]))
    if kind not in _ANY and not kind.endswith("+json"):
        return NO_TABLE
    text = text.removeprefix("\ufeff")
    if first[1] in "[{":
        if (value := parsed(text)) is not _NOTHING:
            return Reading(_in_value(value, "table" if relaxed else "auto"), is_json=True)
        return Reading(ndjson.table(text) if first[1] == "{" else python_repr.table(text))
    if (inner := _without_fence(text)) is not None:
        return Reading(_around("fence", _auto(inner, "").found))
    found = markdown.table(text) or delimited.sniffed(text)
    if found is None and relaxed:
        found = _tried(text, "csv") or _tried(text, "tsv")
        found = found if found is not None and len(found.columns) > 1 else None
    return Reading(found)


def _tried(text: str, kind: str) -> Found | None:
    if kind == "ndjson":
        return ndjson.table(text, least=1)
    try:
        return delimited.declared(text.removeprefix("\ufeff"), kind)
    except TabularError:
        return None


def _in_value(value: Any, shape: str) -> Found | None:
    """The table of a JSON value, or that of the text which the value is around."""
    found = envelopes.table_in(value, shape)
    if found is not None or (wrapped := unwrapped(value)) is None:
        return found
    text, name, beside = wrapped
    inner = _around("wrapped", _auto(text, "").found)
    return None if inner is None else inner.below(f"/{envelopes.escaped(name)}", beside)


def _around(around: str, found: Found | None) -> Found | None:
    """The table in a fence or wrapper; one level of each counts."""
    if found is None or found.kind.partition(" ")[0] == around:
        return None
    return replace(found, kind=f"{around} {found.kind}")


def _without_fence(text: str) -> str | None:
    """The content of the code fence that is the whole text (CommonMark, section 4.5)."""
    body = text.strip("\ufeff \t\r\n")
    opening = _FENCE.match(body)
    if opening is None:
        return None
    mark, start = opening[1], opening.end()
    inner = body[start : -len(mark)]
    if body[start - 1 :].endswith(f"\n{mark}") and f"\n{mark}" not in f"\n{inner}":
        return inner
    return None


def _forced_within(text: str, shape: str, parse: Callable[[str, str], Found]) -> Found:
    """The table of a text, or of the text within a JSON wrapper."""
    wrapped = unwrapped(parsed(text)) if shape != "ndjson" else None
    if wrapped is None:
        return parse(text.removeprefix("\ufeff"), shape)
    inner, name, beside = wrapped
    found = parse(inner, shape)
    return replace(found, kind=f"wrapped {found.kind}").below(f"/{envelopes.escaped(name)}", beside)


def _forced(text: str, shape: str) -> Found:
    if (found := _PARSERS[shape](text)) is None:
        raise refusal(shape)
    return found
