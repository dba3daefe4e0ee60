"""A selector: which columns and rows of a body an asker wants. A bad one is an error, never a wider answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.rows import RowSet
from broker_plane.wire.scope import no_column
from broker_plane.wire.urls import quoted

MAX_COLUMNS = 10_000
MAX_ROW_IDS = 10_000_000


@dataclass(frozen=True)
class Selector:
    """Columns by name and rows by `_row_id`, each in the asker's order; None is all of them."""

    columns: tuple[str, ...] | None = None
    row_ids: tuple[int, ...] | None = None

    @property
    def whole(self) -> bool:
        return self.columns is None and self.row_ids is None

    def of(self, rows: int | None) -> Selector:
        """This selector of a body with so many rows: WHOLE where it names each of them, in order, and every column."""
        if self.columns is None and self.row_ids and len(self.row_ids) == rows:
            return WHOLE if self.row_ids == tuple(range(rows)) else self
        return self

    @cached_property
    def _sorted(self) -> list[int]:
        return sorted(self.row_ids or ())

    @cached_property
    def row_set(self) -> frozenset[int]:
        """The rows as a set; empty where all are selected."""
        return frozenset(self.row_ids or ())

    def has_column(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    def places(self, ids: Sequence[int]) -> list[int] | None:
        """Which places of `ids` are selected; None is all of them."""
        if self.row_ids is None:
            return None
        if isinstance(ids, range):  # as a frame's ids are: what it holds stands side by side, whatever its rows
            first, last = bisect_left(self._sorted, ids.start), bisect_left(self._sorted, ids.stop)
            return None if last - first == len(ids) else [row_id - ids.start for row_id in self._sorted[first:last]]
        if self.row_set.issuperset(ids):
            return None
        return [place for place, row_id in enumerate(ids) if row_id in self.row_set]

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {}
        if self.columns is not None:
            wire["columns"] = list(self.columns)
        if self.row_ids is not None:
            wire["row_ids"] = list(self.row_ids)
        return wire

    def check(self, columns: Collection[str], rows: range | RowSet) -> None:
        """Raise unless every column and row that is named is there.

        Raises:
            SelectorError: names the first that is not.
        """
        if self.columns is not None:
            known = set(columns)
            known.add(ROW_ID)
            for name in self.columns:
                if name not in known:
                    raise no_column(name, columns)
        if self.row_ids is not None:
            # Where a grant shows some of the rows, how many there are besides is not told.
            hint = f"; row ids go from 0 to {len(rows) - 1}" if isinstance(rows, range) else ""
            for row_id in self.row_ids:
                if row_id not in rows:
                    raise SelectorError(f"There is no row {row_id} here{hint}")


WHOLE = Selector()


def parse_selector(fields: Any) -> Selector:
    """The selector of a JSON or msgpack object with the optional members `columns` and `row_ids`.

    Other members are ignored, as S2SP ignores them.

    Raises:
        SelectorError: it is no object, or a member is no list of strings or of whole numbers, or repeats one.
    """
    if not isinstance(fields, Mapping):
        raise SelectorError('A selector is a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}')
    return Selector(columns=_columns(fields.get("columns")), row_ids=_row_ids(fields.get("row_ids")))


def parse_selector_texts(columns: str | None, row_ids: str | None) -> Selector:
    """The selector of two comma lists, as a query string or a command line gives them.

    Raises:
        SelectorError: an id is no whole number, or a name or an id stands twice.
    """
    names = None if columns is None else [part.strip() for part in columns.split(",") if part.strip()]
    if row_ids is None:
        return Selector(columns=_columns(names))
    parts = [part.strip() for part in row_ids.split(",") if part.strip()]
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 16):
            raise SelectorError(f"row_ids are whole numbers; {quoted(part)} is none")
    return Selector(columns=_columns(names), row_ids=_row_ids([int(part) for part in parts]))


def _columns(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise SelectorError("columns is a list of column names")
    if len(names) > MAX_COLUMNS:
        raise SelectorError(f"columns names more than {MAX_COLUMNS} columns")
    if len(set(names)) < len(names):
        raise SelectorError("columns names a column twice")
    return tuple(names)


def _row_ids(ids: Any) -> tuple[int, ...] | None:
    if ids is None:
        return None
    if not isinstance(ids, (list, tuple)):
        raise SelectorError("row_ids is a list of whole numbers")
    for row_id in ids:
        # type(), because True is an int to isinstance.
        if type(row_id) is not int:
            raise SelectorError(f"row_ids are whole numbers; {quoted(str(row_id))} is none")
    if len(ids) > MAX_ROW_IDS:
        raise SelectorError(f"row_ids names more than {MAX_ROW_IDS} rows")
    if len(set(ids)) < len(ids):
        raise SelectorError("row_ids names a row twice")
    return tuple(ids)
