"""Tables in parsed JSON whose columns and rows are apart: columns + rows, pandas' split and table orients. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from broker_plane.shapes.bounds import MAX_ROWS, fits
from broker_plane.shapes.json_rows import SCALARS, column_names, is_shallow
from broker_plane.shapes.table import Found, Row, free
from broker_plane.tabular.frame import Frame
from broker_plane.wire.bounds import MAX_COLUMNS

HEADS = ("columns", "column_names", "columnNames", "headers", "header", "fields", "schema")
BODIES = ("rows", "data", "values", "records")
_TYPES = ("columnTypes", "column_types", "types", "dtypes")
_NAME_MEMBERS = ("name", "column_name", "columnName", "field", "label", "id")
_TYPE_MEMBERS = ("type", "data_type", "dataType", "dtype")


def columns(value: Any, *, empty: bool = False) -> Found | None:
    """`{"columns": […], "rows": [[…]]}`, also under the other names that such servers use.

    With `empty`, a table without rows is one too.
    """
    if not isinstance(value, dict):
        return None
    for head, body in ((head, body) for head in HEADS if head in value for body in BODIES if body in value):
        found = _columns(value, head, body, empty)
        if found is not None:
            return found
    return None


def split(value: Any, *, empty: bool = False) -> Found | None:
    """pandas' `orient="split"`: `columns`, `data` and mostly `index`, nothing else."""
    if not isinstance(value, dict) or set(value) - {"name"} not in ({"columns", "index", "data"}, {"columns", "data"}):
        return None
    found = _columns(value, "columns", "data", empty)
    if found is None:
        return None
    index = value.get("index")
    beside = {name: member for name, member in value.items() if name == "name"}
    if index is None or (index == list(range(len(found.rows))) and set(map(type, index)) <= {int}):
        return Found("split", found.columns, found.rows, fields=beside)
    if not isinstance(index, list) or len(index) != len(found.rows):
        return None
    name = free("index", found.columns)
    rows = [{name: label, **row} for label, row in zip(index, found.rows, strict=True)]
    return Found("split", [name, *found.columns], rows, fields=beside)


def pandas_table(value: Any, *, empty: bool = False) -> Found | None:
    """pandas' `orient="table"`: a table schema with the type of each column, and the rows."""
    if not isinstance(value, dict) or not isinstance(schema := value.get("schema"), dict):
        return None
    fields, rows = schema.get("fields"), value.get("data")
    if not isinstance(fields, list) or not isinstance(rows, list) or not (rows or empty) or len(rows) > MAX_ROWS:
        return None
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in fields):
        return None
    if set(map(type, rows)) - {dict} or not is_shallow(rows):
        return None
    names = list(dict.fromkeys(each["name"] for each in fields))
    if (seen := column_names(chain([dict.fromkeys(names)], rows))) is None or len(seen) > len(names):
        return None
    declared = {each["name"]: str(each.get("type", "")) for each in fields}
    beside = {name: member for name, member in value.items() if name not in ("schema", "data")}
    beside |= {name: member for name, member in schema.items() if name not in ("fields", "pandas_version")}
    return Found("pandas-table", names, rows, fields=beside, declared=declared)


def tuples(value: Any) -> Found | None:
    """A list of lists of scalars, two or more, all of one length of two or more."""
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_ROWS or set(map(type, value)) != {list}:
        return None
    kinds = set(map(type, chain.from_iterable(value)))
    return unnamed("tuples", value, least=2) if kinds <= SCALARS and kinds != {type(None)} else None


def unnamed(kind: str, rows: Sequence[Sequence[Any]], least: int = 1) -> Found | None:
    """Rows without names, all of one width: `column_1`, `column_2`, …"""
    width = len(rows[0]) if rows else 0
    if not least <= width <= MAX_COLUMNS or set(map(len, rows)) != {width}:
        return None
    names = [f"column_{place}" for place in range(1, width + 1)]
    return Found(kind, names, _named(names, rows))


def _columns(value: Mapping[str, Any], head: str, body: str, empty: bool) -> Found | None:
    heads, rows = value[head], value[body]
    if not isinstance(heads, list) or not isinstance(rows, list) or not heads or len(rows) > MAX_ROWS:
        return None
    if len(heads) > MAX_COLUMNS:
        return None
    if not (rows or empty) or set(map(type, rows)) - {list} or set(map(len, rows)) - {len(heads)}:
        return None
    labels = [_label(each, place) for place, each in enumerate(heads, 1)]
    if None in labels:
        return None
    names = distinct([label or "" for label in labels])
    if not fits(names):
        return None
    found = _named(names, rows)
    if not is_shallow(found):
        return None
    beside = {name: member for name, member in value.items() if name not in (head, body)}
    if any(isinstance(each, dict) and len(each) > 1 for each in heads):
        beside[head] = heads  # with what else they say of the columns
    return Found("columns", names, found, fields=beside, declared=_declared(value, heads, names))


def distinct(labels: Sequence[str]) -> list[str]:
    """Names for columns: a second `id` becomes `id_2`, and an empty name `column_3`, after its place."""
    taken, used = set(labels), set[str]()
    numbers: dict[str, int] = {}
    names = []
    for place, label in enumerate(labels, 1):
        name = stem = label or f"column_{place}"
        while name in used or (name != label and name in taken):
            numbers[stem] = numbers.get(stem, 1) + 1
            name = f"{stem}_{numbers[stem]}"
        used.add(name)
        names.append(name)
    return names


def _named(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Row]:
    cells = zip(*rows, strict=True) if rows else ([] for _ in names)
    return Frame({name: list(values) for name, values in zip(names, cells, strict=True)}, range(len(rows))).rows()


def _label(head: Any, place: int) -> str | None:
    """The name of a column; None if the head cannot be one."""
    if isinstance(head, dict):
        head = next((head[name] for name in _NAME_MEMBERS if name in head), 0)
        return head if isinstance(head, str) else None
    if head is None:
        return ""
    if isinstance(head, list):
        return "_".join(map(str, head)) if not {*map(type, head)} & {dict, list} else None
    return head if isinstance(head, str) else str(head)


def _declared(value: Mapping[str, Any], heads: Sequence[Any], names: Sequence[str]) -> dict[str, str]:
    """The declared types, by column."""
    for member in _TYPES:
        kinds = value.get(member)
        if isinstance(kinds, list) and len(kinds) == len(names) and set(map(type, kinds)) == {str}:
            return dict(zip(names, kinds, strict=True))
    found: dict[str, str] = {}
    for name, head in zip(names, heads, strict=True):
        if isinstance(head, dict):
            kind = next((head[each] for each in _TYPE_MEMBERS if isinstance(head.get(each), str)), "")
            found |= {name: kind} if kind else {}
    return found
