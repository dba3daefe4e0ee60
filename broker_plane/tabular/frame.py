"""A frame: a group of rows stored by column. Rows go in and come out as dicts; absent is distinct from None. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from broker_plane.errors import TabularError
from broker_plane.tabular.plain import plain_name
from broker_plane.tabular.types import collector_paused
from broker_plane.wire.names import ROW_ID


class Absent:
    """The value of a column in a row that does not have it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


_WIDE = 6
"""Number of columns from which rows share their table of keys; smaller dicts are created directly."""


@dataclass(slots=True)
class Frame:
    """`columns` maps names to one value a row, `ids` has the `_row_id`s, `ragged` names columns with absent values."""

    columns: dict[str, list[Any]]
    ids: Sequence[int]
    ragged: frozenset[str] = frozenset()
    size: int = 0
    """Size of the stored values in bytes, without any coding; 0 for a frame that was not stored."""

    weight: int = 0
    """Their estimated memory (weighing.py); 0 as above."""

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Frame:
        """The rows from position `start` to `stop`."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return Frame(columns, self.ids[start:stop], self.ragged, self.size, self.weight)

    def rows(self, *, with_ids: bool = False) -> list[dict[str, Any]]:
        """The rows as dicts, with `_row_id` first if requested."""
        columns = {ROW_ID: list(self.ids), **self.columns} if with_ids else self.columns
        if not columns:
            return [{} for _ in self.ids]
        names = list(columns)
        with collector_paused():
            if self.ragged:
                return [_present(names, values) for values in zip(*columns.values(), strict=True)]
            if len(names) < _WIDE:
                return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            blank, rows = _blank(names), []
            for values in zip(*columns.values(), strict=True):
                row = blank.copy()
                row.update(zip(names, values, strict=True))
                rows.append(row)
        return rows


def frame_of(rows: Sequence[Mapping[str, Any]], first: int) -> Frame:
    """The frame of `rows`, whose `_row_id`s count up from `first`. The rows are not modified; values stay as they are.

    Raises:
        TabularError: a column name is not text, or is `_row_id`.
    """
    ids = range(first, first + len(rows))
    if rows and (uniform := _uniform(rows, list(rows[0]))):
        check_column_names(uniform)
        return Frame(_plainly_named(uniform), ids)
    names = _names(rows)
    columns = {name: [row.get(name, ABSENT) for row in rows] for name in names}
    # Counted by key and not by value: `in` would compare every value with ABSENT.
    present = Counter(chain.from_iterable(rows))
    return Frame(_plainly_named(columns), ids, frozenset(plain_name(n) for n in names if present[n] < len(rows)))


def _plainly_named(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if set(map(type, columns)) <= {str}:
        return columns
    return {plain_name(name): values for name, values in columns.items()}


def _blank(names: Sequence[str]) -> dict[str, Any]:
    """A row whose copies share its table of keys, as the attributes of objects of one class do (PEP 412).

    Up to 30 columns this takes a third of the memory and less time; above that it is a plain dict.
    """
    blank: dict[str, Any] = type("Row", (), {})().__dict__
    for name in names:  # one by one: an update would give it a table of its own
        blank[name] = None
    return blank


def _present(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not ABSENT}


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    seen: dict[str, None] = {}
    for row in rows:
        if row.keys() != seen.keys():
            seen.update(dict.fromkeys(row))
    check_column_names(seen)
    return list(seen)


def check_column_names(names: Iterable[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TabularError(f"Column names are texts; {name!r} is a {type(name).__name__}")
        if name == ROW_ID:
            raise TabularError(
                f"The column name {ROW_ID!r} is reserved for the row numbers. Rename or drop that column"
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise TabularError(f"The column name {name!r} contains a lone surrogate, which cannot be stored") from error


def _uniform(rows: Sequence[Mapping[str, Any]], names: list[Any]) -> dict[str, list[Any]] | None:
    """All columns at once, if every row has every column: the usual case, and twice as fast."""
    if len(names) < 2 or set(map(len, rows)) != {len(names)}:
        return None
    try:
        with collector_paused():
            columns: Iterable[tuple[Any, ...]] = zip(*map(itemgetter(*names), rows), strict=True)
            return {name: list(values) for name, values in zip(names, columns, strict=True)}
    except KeyError:
        return None
