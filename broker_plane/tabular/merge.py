"""Merges an abstract with its body, and renames columns. The source's values win
(docs/reference/wire-protocol.md#results).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from broker_plane.errors import MappingError, MergeError
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import ROW_ID


def parse_abstract(text: str, name: str = "abstract_data") -> list[dict[str, Any]]:
    """The rows of a JSON array of objects, each with a unique, whole `_row_id`.

    Raises:
        MergeError: names the wrong row.
    """
    try:
        rows = loads(text)
    except MALFORMED as error:
        raise MergeError(f"{name} is not JSON: {error}. Pass on the rows as the resource tool returned them") from error
    if not isinstance(rows, list) or set(map(type, rows)) - {dict}:
        raise MergeError(f"{name} is a JSON array of row objects, each with its {ROW_ID}")
    ids = [row.get(ROW_ID) for row in rows]
    if set(map(type, ids)) - {int} or len(set(ids)) < len(ids):
        raise _bad_ids(rows, name)
    return rows


def _bad_ids(rows: list[dict[str, Any]], name: str) -> MergeError:
    """What is wrong with the first invalid row id."""
    seen: set[int] = set()
    for place, row in enumerate(rows):
        row_id = row.get(ROW_ID)
        if type(row_id) is not int:
            found = f"{row_id!r}, which is not a whole number" if ROW_ID in row else "none"
            return MergeError(f"{name}: row {place} needs its {ROW_ID} and has {found:.60}")
        if row_id in seen:
            break
        seen.add(row_id)
    return MergeError(f"{name}: the {ROW_ID} {row_id} occurs twice")


def parse_mapping(text: str) -> dict[str, str]:
    """The column mapping of a JSON object `{"old": "new"}`; empty for an empty text.

    Raises:
        MappingError: it is not such an object.
    """
    if not text.strip():
        return {}
    try:
        mapping = loads(text)
    except MALFORMED as error:
        raise MappingError(f"column_mapping is not JSON: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(name, str) and name for name in mapping.values()):
        raise MappingError('column_mapping is a JSON object of names, such as {"event": "alert_type"}')
    return mapping


def merge(
    abstract: Sequence[Mapping[str, Any]],
    ids: Sequence[int],
    body: Sequence[dict[str, Any]],
    *,
    complete: bool = True,
    trust: Literal["source", "agent"] = "source",
) -> list[dict[str, Any]]:
    """Rows in the abstract's order: the body's values, checked against the abstract's.

    `body` has the rows of `ids`. If it is `complete` it has every column, so a column that only the abstract has was
    added on the way; otherwise (sync mode) such columns are taken from the abstract. With `trust="agent"` the agent's
    changes win.

    Raises:
        MergeError: a row that the body lacks, or a value that was changed, by row and column.
    """
    by_id = dict(zip(ids, body, strict=True))
    try:
        sources = [by_id[row[ROW_ID]] for row in abstract]
    except KeyError as error:
        raise MergeError(
            f"The abstract has a row {error}, which the body does not have; row ids come from the resource tool"
        ) from None
    if unchanged(abstract, lambda name: [row[name] for row in sources]):
        return sources
    return [_merge_row(row, source, complete, trust) for row, source in zip(abstract, sources, strict=True)]


def unchanged(abstract: Sequence[Mapping[str, Any]], source: Callable[[str], Sequence[Any]]) -> bool:
    """Whether every value is exactly the source's: the usual case, checked by column and not by value.

    `source` returns a column of the rows that the abstract names, in its order, or raises KeyError.
    """
    if not abstract or set(map(len, abstract)) != {len(abstract[0])}:
        return False
    try:
        for name in abstract[0]:
            if name != ROW_ID:
                shown, own = [row[name] for row in abstract], source(name)
                # By type as well: 1, 1.0 and True are equal but not the same.
                if shown != own or list(map(type, shown)) != list(map(type, own)):
                    return False
    except KeyError:
        return False
    return True


def _merge_row(
    shown: Mapping[str, Any], source: dict[str, Any], complete: bool, trust: Literal["source", "agent"]
) -> dict[str, Any]:
    for name, value in shown.items():
        if name != ROW_ID and not (name in source and shown_as(source[name], value)):
            source = _settle(shown[ROW_ID], name, source, value, complete, trust)
    return source


def check_mapping(mapping: Mapping[str, str], columns: Sequence[str]) -> None:
    """Raise unless `mapping` renames known columns to distinct names and leaves `_row_id` alone.

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
    """New rows with the columns renamed; other columns keep their names."""
    if not mapping:
        return list(rows)
    return [{mapping.get(name, name): value for name, value in row.items()} for row in rows]


def _settle(row_id: int, name: str, source: dict[str, Any], value: Any, complete: bool, trust: str) -> dict[str, Any]:
    """The row `source` with a value of the abstract that differs from its own, or an error."""
    if name not in source:
        if complete and trust == "source":
            raise MergeError(f"Row {row_id} of the abstract has a column {name!r}, which the source does not have")
        return {**source, name: value}
    if trust == "agent":
        return {**source, name: value}
    raise MergeError(
        f"Row {row_id}, column {name!r}: the abstract says {_shown(value)}, the source {_shown(source[name])}. "
        "Pass the abstract on unchanged"
    )


def _shown(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"


def shown_as(source: Any, shown: Any) -> bool:
    """Whether `shown` is the JSON view of `source`. 1 and true differ, and so do 1 and "1"."""
    if type(source) is type(shown) and source == shown:
        return True
    viewed = json_value(source)
    if isinstance(viewed, bool) or isinstance(shown, bool):
        return viewed is shown
    return bool(viewed == shown)
