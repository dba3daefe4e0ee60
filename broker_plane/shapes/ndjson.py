"""NDJSON: a JSON object a line, two lines or more. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker_plane.shapes import json_rows
from broker_plane.shapes.bounds import MAX_ROWS
from broker_plane.shapes.table import Found
from broker_plane.wire.exact_json import MALFORMED, loads


def table(text: str, *, least: int = 2) -> Found | None:
    """The objects of the lines; blank lines are skipped."""
    if not text.lstrip().startswith("{") or text.count("\n") > MAX_ROWS:
        return None
    try:
        found = list(_objects(text))
    except MALFORMED:
        return None
    if len(found) < least or set(map(type, found)) != {dict}:
        return None
    rows = json_rows.rows(found)
    return None if rows is None else Found("ndjson", rows.columns, rows.rows)


def _objects(text: str) -> Iterator[Any]:
    for line in text.split("\n"):
        if line and not line.isspace():
            yield loads(line)
