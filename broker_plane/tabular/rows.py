"""The results of a tool as rows, and rows as encoded frames of a body. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any
from uuid import UUID

from broker_plane.errors import TabularError
from broker_plane.tabular import arrow
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.foreign import is_array
from broker_plane.tabular.frame import Absent, Frame, frame_of
from broker_plane.tabular.plain import plain_column
from broker_plane.tabular.sources import SCALAR_COLUMN

_FIRST_FRAME_ROWS = 512
_FRAME_BYTES = 1 << 20
_MOST_FRAME_ROWS = 16_384
_SCALARS = (str, int, float, bool, bytes, type(None), date, time, timedelta, Decimal, UUID, Enum)


def as_row(item: Any, index: int) -> Mapping[str, Any]:
    """Item `index` of what a tool returned, as a row.

    Dicts, models, dataclasses, named tuples and rows of databases are rows by name, tuples and lists by position
    (`column1`, `column2`), scalars as `value`.

    Raises:
        TabularError: anything else, naming its type.
    """
    named = named_row(item)
    if named is not None:
        return named
    if isinstance(item, (tuple, list)):
        return {f"column{place}": value for place, value in enumerate(item, 1)}
    if is_scalar(item):
        return {SCALAR_COLUMN: item}
    raise TabularError(
        f"Row {index} is a {type(item).__name__}; a row is a dict, a pydantic model, a dataclass, a tuple or a scalar"
    )


def named_row(item: Any) -> Mapping[str, Any] | None:
    """An item whose fields have names, as a row; None for others."""
    if isinstance(item, Mapping):
        return item
    kind = type(item)
    if hasattr(kind, "model_dump"):  # pydantic's; not imported, since it may be missing
        fields = item.model_dump(by_alias=True)  # the names of its schema, by which a consumer reads it again
        return fields if isinstance(fields, dict) else None  # a root model is a value
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.asdict(item)
    if names := getattr(getattr(item, "dtype", None), "names", None):  # a row of a structured array
        return {name: item[name] for name in names}
    if hasattr(kind, "_asdict"):  # named tuples, and rows of SQLAlchemy
        return dict(item._asdict())
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):  # rows of sqlite3 and asyncpg
        names = list(item.keys())
        if len(set(names)) < len(names):
            raise TabularError(f"A row has two columns of the same name: {', '.join(names)}; name one with AS")
        return dict(zip(names, item, strict=True)) if kind.__module__ == "sqlite3" else {n: item[n] for n in names}
    return None


def is_scalar(item: Any) -> bool:
    """Whether an item is one value, also one of NumPy or pandas."""
    kind = type(item)
    foreign = hasattr(item, "dtype") and not is_array(item) and not hasattr(kind, "__len__")
    return isinstance(item, _SCALARS) or foreign or kind.__name__ == "NAType"


def as_rows(items: list[Any], first: int) -> list[Mapping[str, Any]]:
    """The items as rows, the first of which is item `first`; a list of dicts is returned unchanged."""
    if set(map(type, items)) == {dict}:
        return items
    return [as_row(item, first + place) for place, item in enumerate(items)]


class RowsEncoder:
    """Encodes rows as frames; memory is bounded by one frame, whose number of rows adapts to their width."""

    def __init__(self) -> None:
        self.writer = FrameWriter(plain=False)
        self.rows_wanted = _FIRST_FRAME_ROWS
        """How many rows the next frame takes."""

    @property
    def rows(self) -> int:
        """How many rows are encoded."""
        return self.writer.table.rows

    def frame(self, rows: list[Mapping[str, Any]]) -> tuple[Frame, bytes]:
        """The frame of `rows`, which follow those already encoded, and its bytes."""
        frame = frame_of(rows, self.rows)
        raw = self.writer.frame(frame)
        for name in self.writer.changed:
            frame.columns[name] = list(plain_column(name, frame.columns[name], frame.ids[0], Absent))
        if rows:
            fitting = _FRAME_BYTES * len(rows) // max(1, self.writer.plain_size)
            self.rows_wanted = max(1, min(_MOST_FRAME_ROWS, fitting, 4 * len(rows)))
        return frame, raw

    def table(self, columns: Mapping[str, arrow.Array], shown: Sequence[str] | None) -> tuple[Frame, bytes]:
        """As `frame`, of Arrow columns; the frame has only the columns `shown`, or all of them for None."""
        count = len(next(iter(columns.values())))
        ids = range(self.rows, self.rows + count)
        raw = self.writer.arrays(columns, ids)
        names = [name for name in columns if shown is None or name in shown]
        return Frame({name: arrow.to_list(columns[name]) for name in names}, ids), raw


def encode_rows(items: Iterable[Any]) -> Iterator[bytes]:
    """The whole body of `items`, for tests and tools."""
    encoder = RowsEncoder()
    yield encoder.writer.begin()
    source = iter(items)
    while batch := list(islice(source, encoder.rows_wanted)):
        yield encoder.frame(as_rows(batch, encoder.rows))[1]
    yield encoder.writer.end()
