"""What database drivers and table libraries return, in the forms that are published: tables, lists and iterators of
rows. None of these packages is imported.

Columns without a name are `column1`, `column2` and so on, as in SQL's VALUES; a single one is `value`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.tabular.foreign import is_array, unwrapped

SCALAR_COLUMN = "value"
"""The column of a list of scalars."""

_BATCH_ROWS = 1_000


def source_of(data: Any) -> Any:
    """`data` as a table, a list or an iterator of rows if a library made it; anything else is returned unchanged.

    A lazy frame is computed. A cursor of SQLite is read to its end, because only this thread may read it.

    Raises:
        TabularError: an array of more than two dimensions, or a cursor without a result or with two equal names.
    """
    if is_cursor(data):
        return _of_cursor(data)
    if is_array(data):
        return _of_array(data)
    return columnar(data)


def is_cursor(data: Any) -> bool:
    """Whether `data` is a cursor of a database (PEP 249), or DuckDB's connection, which is one."""
    kind = type(data)
    return hasattr(kind, "fetchmany") and hasattr(kind, "description") and not hasattr(kind, "__arrow_c_stream__")


def is_columnar(data: Any) -> bool:
    """Whether `data` is a table, or a column that becomes one."""
    kind = type(data)
    return hasattr(kind, "__arrow_c_stream__") or _is(kind, "polars", "LazyFrame") or _is_array_of_arrow(kind)


def columnar(data: Any) -> Any:
    """A table with the columns that are meant, of what else has columns; anything else is returned unchanged."""
    kind = type(data)
    if _is(kind, "polars", "LazyFrame"):
        return data.collect()
    if _is(kind, "polars", "Series"):
        return data.to_frame(data.name or SCALAR_COLUMN)
    if _is(kind, "pandas", "Series"):
        return _indexed(data.to_frame(SCALAR_COLUMN if data.name is None else data.name))
    if _is(kind, "pandas", "DataFrame"):
        return _indexed(data)
    if _is(kind, "pyarrow", "ChunkedArray") or _is_array_of_arrow(kind):
        import pyarrow as pa  # it made the array

        return pa.table({SCALAR_COLUMN: data})
    return data


def row_of_names(names: Sequence[str], row: Any) -> Any:
    """A row of a cursor by its names; a driver's own mapping stays."""
    return dict(zip(names, row, strict=True)) if isinstance(row, (tuple, list)) or hasattr(row, "keys") else row


def _is(kind: type, package: str, name: str) -> bool:
    return any(base.__name__ == name and base.__module__.partition(".")[0] == package for base in kind.__mro__)


def _is_array_of_arrow(kind: type) -> bool:
    return _is(kind, "pyarrow", "Array")


def _indexed(frame: Any) -> Any:
    """A pandas DataFrame whose index is a column if it means something: if it has a name, or is not of numbers."""
    index = frame.index
    if type(index).__name__ == "RangeIndex" and index.name is None:
        return frame
    named = any(name is not None for name in index.names)
    counts = not named and index.nlevels == 1 and index.dtype.kind in "iu"
    try:
        return frame.reset_index(drop=counts)
    except ValueError as error:
        raise TabularError(f"The index cannot become a column: {error}. Rename it, or drop it") from error


def _of_array(data: Any) -> Any:
    """The rows of a NumPy array: by field, by column, or scalars."""
    if data.ndim > 2:
        raise TabularError(f"An array of {data.ndim} dimensions is not a table; reshape it to two")
    if data.ndim == 0:
        return [data[()]]
    names = data.dtype.names
    if names and data.ndim == 1:
        columns = [unwrapped(data[name]) for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if data.ndim == 1:
        return unwrapped(data)
    return list(zip(*(unwrapped(data[:, place]) for place in range(data.shape[1])), strict=True))


def _of_cursor(cursor: Any) -> Any:
    described = cursor.description
    if described is None:
        raise TabularError("This cursor has no rows: return it after a query that selects some")
    names = [column[0] for column in described]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise TabularError(f"The query has two columns {twice!r}; name one of them with AS")
    if hasattr(type(cursor), "__aiter__"):
        return _later_rows(cursor, names)
    rows = _cursor_rows(cursor, names)
    return list(rows) if type(cursor).__module__ == "sqlite3" else rows


def _cursor_rows(cursor: Any, names: list[str]) -> Iterator[Any]:
    while batch := cursor.fetchmany(_BATCH_ROWS):
        for row in batch:
            yield row_of_names(names, row)


async def _later_rows(cursor: Any, names: list[str]) -> AsyncIterator[Any]:
    async for row in cursor:
        yield row_of_names(names, row)
