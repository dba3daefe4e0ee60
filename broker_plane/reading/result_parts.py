"""The parts of a small result that stand for a large one, within budgets in tokens whatever its width. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_plane.reading.tokens import TOKEN_BYTES, cut_text
from broker_plane.shapes.bounds import MAX_FIELDS_BYTES
from broker_plane.tabular.json_values import json_bytes

PREVIEW_TOKENS = 200
SUMMARY_TOKENS = 600
COLUMNS_TOKENS = 200
FIELDS_TOKENS = 200
WHOLE_FIELDS_TOKENS = 2 * MAX_FIELDS_BYTES // TOKEN_BYTES
"""Members beside a table or a text are in no body: all that recognition separates from it are shown."""

_SAYS_NOTHING = {"nulls": 0, "distinct": 0, "examples": []}
"""Members of a column's summary, with the values at which they are left out; a minimum of 0 is kept."""

Members = dict[str, Any]


def preview_of(text: str) -> str:
    """The beginning of a text."""
    return cut_text(text, PREVIEW_TOKENS * TOKEN_BYTES)


def columns_of(names: Sequence[str]) -> Members:
    """The member `columns`; of very many names the first, with the number of the others in `more_columns`."""
    shown = first_of(list(names), COLUMNS_TOKENS * TOKEN_BYTES)
    more = len(names) - len(shown)
    return {"columns": shown} | ({"more_columns": more} if more else {})


def fields_of(fields: Mapping[str, Any]) -> Members:
    """The member `fields`: the values that the server returned beside the body, which are nowhere else.

    Of more than recognition separates (shapes/bounds.py), long ones are shortened.
    """
    if not fields:
        return {}
    if _fits(fields, WHOLE_FIELDS_TOKENS):
        return {"fields": dict(fields)}
    kept: Members = {}
    for name, value in fields.items():
        cut = value if _fits(value, PREVIEW_TOKENS) else cut_text(json_bytes(value).decode(), TOKEN_BYTES * 20)
        if not _fits(kept | {name: cut}, FIELDS_TOKENS):
            break
        kept[name] = cut
    more = len(fields) - len(kept)
    return {"fields": kept | ({"…": f"{more} more"} if more else {})}


def summary_of(summary: Mapping[str, Mapping[str, Any]]) -> Members:
    """The member `summary`: by column what fits, first with examples, then without, at last the types alone."""
    whole = {
        name: {key: value for key, value in column.items() if key not in _SAYS_NOTHING or value != _SAYS_NOTHING[key]}
        for name, column in summary.items()
    }
    fewer = {name: _shorter(column) for name, column in whole.items()}
    bare = {name: {key: value for key, value in column.items() if key != "examples"} for name, column in whole.items()}
    types = {name: column["type"] for name, column in whole.items()}
    for found in (whole, fewer, bare, types):
        if _fits(found, SUMMARY_TOKENS):
            return {"summary": found}
    shown = first_of(list(types.items()), SUMMARY_TOKENS * TOKEN_BYTES)
    return {"summary": dict(shown) | {"…": f"{len(types) - len(shown)} more columns"}}


def first_of(items: list[Any], most_bytes: int) -> list[Any]:
    """As many of the first items as `most_bytes` of JSON hold."""
    size = 2
    for number, item in enumerate(items):
        size += len(json_bytes(item)) + 1
        if size > most_bytes:
            return items[:number]
    return items


def _shorter(column: Mapping[str, Any]) -> Members:
    examples = column.get("examples", [])
    return {**column, "examples": examples[:2]} if examples else dict(column)


def _fits(value: Any, tokens: int) -> bool:
    return len(json_bytes(value)) <= tokens * TOKEN_BYTES
