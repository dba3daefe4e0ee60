"""Merging an abstract with its body, and renaming columns. The source's values win (wire.md, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

from broker_plane.errors import MappingError, MergeError
from broker_plane.tabular.frame import ABSENT
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.names import ROW_ID


def parse_abstract(text: str, name: str = "abstract_data") -> list[dict[str, Any]]:
    """The rows of a JSON array of objects, each with a whole `_row_id` that stands once.

    Raises:
        MergeError: says which row is not so.
    """
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MergeError(f"{name} is no JSON: {error}. Pass on the rows as the resource tool gave them") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MergeError(f"{name} is a JSON array of row objects, each with its {ROW_ID}")
    seen: set[int] = set()
    for place, row in enumerate(rows):
        row_id = row.get(ROW_ID)
        if type(row_id) is not int:
            found = f"{row_id!r}, which is no whole number" if ROW_ID in row else "none"
            raise MergeError(f"{name}: row {place} needs its {ROW_ID} and has {found:.60}")
        if row_id in seen:
            raise MergeError(f"{name}: the {ROW_ID} {row_id} stands twice")
        seen.add(row_id)
    return rows


def parse_mapping(text: str) -> dict[str, str]:
    """The column mapping of a JSON object `{"old": "new"}`; empty text is none.

    Raises:
        MappingError: it is no such object.
    """
    if not text.strip():
        return {}
    try:
        mapping = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MappingError(f"column_mapping is no JSON: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(name, str) and name for name in mapping.values()):
        raise MappingError('column_mapping is a JSON object of names, such as {"event": "alert_type"}')
    return mapping


def merge(
    abstract: Sequence[Mapping[str, Any]],
    body: Iterable[tuple[int, dict[str, Any]]],
    *,
    complete: bool = True,
    trust: Literal["source", "agent"] = "source",
) -> list[dict[str, Any]]:
    """Rows in the abstract's order: the body's values, checked against the abstract's.

    `body` gives `(row id, row)`. A `complete` body has every column, so one that only the abstract has was added on the
    way; else (sync mode) the abstract's columns are taken from it. With `trust="agent"` what the agent changed wins.

    Raises:
        MergeError: a row that the body lacks, or a value that came back changed, by row and column.
    """
    by_id = dict(body)
    merged = []
    for row in abstract:
        row_id = row[ROW_ID]
        source = by_id.get(row_id)
        if source is None:
            raise MergeError(f"The abstract has a row {row_id}, the body has none; row ids come from the resource tool")
        for name, value in row.items():
            own = source.get(name, ABSENT)
            # By type as well: 1, 1.0 and True are equal, and not the same.
            if name != ROW_ID and not (own == value and type(own) is type(value)):
                source = _settle(row_id, name, source, value, complete, trust)
        merged.append(source)
    return merged


def check_mapping(mapping: Mapping[str, str], columns: Sequence[str]) -> None:
    """Raise unless `mapping` renames known columns to names that stay apart and leaves `_row_id` alone.

    Raises:
        MappingError: names the first that does not.
    """
    if ROW_ID in mapping or ROW_ID in mapping.values():
        raise MappingError(f"column_mapping may not touch {ROW_ID}")
    if columns:
        for name in mapping:
            if name not in columns:
                raise MappingError(f"column_mapping renames {name!r}; the columns are: {', '.join(columns)}")
    taken: dict[str, str] = {}
    for name in columns or mapping:
        renamed = mapping.get(name, name)
        if renamed in taken:
            raise MappingError(f"column_mapping makes {taken[renamed]!r} and {name!r} both {renamed!r}")
        taken[renamed] = name


def remap(rows: Iterable[dict[str, Any]], mapping: Mapping[str, str]) -> list[dict[str, Any]]:
    """New rows with the columns renamed; columns that the mapping does not name keep theirs."""
    if not mapping:
        return list(rows)
    return [{mapping.get(name, name): value for name, value in row.items()} for row in rows]


def _settle(row_id: int, name: str, source: dict[str, Any], value: Any, complete: bool, trust: str) -> dict[str, Any]:
    """The row `source` with a value of the abstract that is not its own to the letter, or an error."""
    if name not in source:
        if complete and trust == "source":
            raise MergeError(f"Row {row_id} of the abstract has a column {name!r}; the source has none")
        return {**source, name: value}
    if same(source[name], value):
        return source
    if trust == "agent":
        return {**source, name: value}
    raise MergeError(
        f"Row {row_id}, column {name!r}: the abstract says {_shown(value)}, the source {_shown(source[name])}. "
        "Pass the abstract on unchanged"
    )


def _shown(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"


def same(source: Any, shown: Any) -> bool:
    """Whether `shown` is the JSON view of `source`. 1 and true are not the same, nor are 1 and "1"."""
    if type(source) is type(shown) and source == shown:
        return True
    viewed = json_value(source)
    if isinstance(viewed, bool) or isinstance(shown, bool):
        return viewed is shown
    return bool(viewed == shown)
