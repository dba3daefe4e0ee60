"""A selector: which columns and rows of a body an asker wants. A bad one is an error, never a wider answer."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from broker_plane.errors import SelectorError
from broker_plane.wire.column_names import parse_names, resolved
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.row_ids import FEW, ids_of_json, ids_of_msgpack, in_order, no_ids
from broker_plane.wire.rows import RowSet
from broker_plane.wire.scope import no_column
from broker_plane.wire.urls import quoted

MAX_COLUMNS = 10_000
MAX_ROW_IDS = 10_000_000
MAX_COLUMNS_BYTES = 1 << 20
"""Of the member `columns` as it travels."""


@dataclass(frozen=True)
class Selector:
    """Columns by name and rows by `_row_id`, each in the asker's order; None is all of them."""

    columns: tuple[str, ...] | None = None
    row_ids: Sequence[int] | None = None
    written: bool = False
    """Whether `columns` are the parts of a comma list as somebody wrote it: `among` makes names of them."""

    @property
    def whole(self) -> bool:
        return self.columns is None and self.row_ids is None

    @property
    def every_row(self) -> bool:
        return self.row_ids is None

    @property
    def large(self) -> bool:
        """Whether looking through its rows takes long enough to be done away from an event loop."""
        return self.row_ids is not None and len(self.row_ids) > FEW

    def among(self, columns: Collection[str]) -> Selector:
        """This selector with the names that its written columns mean, of a body with `columns`.

        Raises:
            SelectorError: they name a column twice.
        """
        if not self.written or self.columns is None:
            return self
        return replace(self, columns=tuple(resolved(self.columns, (*columns, ROW_ID))), written=False)

    def of(self, rows: int | None) -> Selector:
        """This selector of a body with so many rows: WHOLE where it names each of them, in order, and every column."""
        if self.columns is None and self.row_ids and len(self.row_ids) == rows:
            in_order = self.ordered is self.row_ids
            return WHOLE if in_order and (self.row_ids[0], self.row_ids[-1]) == (0, rows - 1) else self
        return self

    @cached_property
    def ordered(self) -> Sequence[int]:
        """The rows that are named, sorted; `row_ids` itself where they are in order already.

        Raises:
            SelectorError: one stands twice.
        """
        return in_order(self.row_ids or ())

    @cached_property
    def digest(self) -> bytes:
        """The same for the same selector."""
        found = sha256(repr(self.columns).encode())
        if self.row_ids is not None:
            found.update(self.row_ids.tobytes() if isinstance(self.row_ids, array) else repr(self.row_ids).encode())
        return found.digest()

    def within(self, start: int, stop: int) -> Sequence[int]:
        """The rows that are named from `start` to `stop`, half-open, sorted."""
        return self.ordered[bisect_left(self.ordered, start) : bisect_left(self.ordered, stop)]

    def has_column(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    def places(self, ids: Sequence[int]) -> list[int] | None:
        """Which places of `ids` are selected; None is all of them."""
        if self.row_ids is None:
            return None
        if not ids:
            return None
        if isinstance(ids, range):  # as a frame's ids are: what it holds stands side by side, whatever its rows
            named = self.within(ids.start, ids.stop)
            return None if len(named) == len(ids) else [row_id - ids.start for row_id in named]
        asked = frozenset(self.within(min(ids), max(ids) + 1))
        if asked.issuperset(ids):
            return None
        return [place for place, row_id in enumerate(ids) if row_id in asked]

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
        if self.row_ids and not (isinstance(rows, range) and self.ordered[0] >= 0 and self.ordered[-1] < len(rows)):
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
    return _checked(_columns(fields.get("columns")), _row_ids(fields.get("row_ids")))


def selector_of_json(raw: bytes) -> Selector:
    """As `parse_selector`, of the bytes of a JSON object: no more of them is made into values than a selector has.

    Raises:
        SelectorError: it is none.
    """
    try:
        members = _JSON_MEMBERS.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise SelectorError(
            'The request body is a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}', reason=str(error)
        ) from error
    columns, row_ids = bytes(members.columns), bytes(members.row_ids)
    return _checked(
        _named(columns, msgspec.json.decode) if columns not in _NO_JSON else None,
        ids_of_json(row_ids, MAX_ROW_IDS) if row_ids not in _NO_JSON else None,
    )


def selector_of_msgpack(columns: bytes, row_ids: bytes) -> Selector:
    """As `selector_of_json`, of the members by themselves in msgpack, each empty where it is not there."""
    return _checked(
        _named(columns, msgspec.msgpack.decode) if columns not in _NO_MSGPACK else None,
        ids_of_msgpack(row_ids, MAX_ROW_IDS) if row_ids not in _NO_MSGPACK else None,
    )


class _Members(msgspec.Struct):
    columns: msgspec.Raw = msgspec.Raw()
    row_ids: msgspec.Raw = msgspec.Raw()


_JSON_MEMBERS = msgspec.json.Decoder(_Members)
_NO_JSON = (b"", b"null")
_NO_MSGPACK = (b"", b"\xc0")


def _checked(columns: tuple[str, ...] | None, row_ids: Sequence[int] | None) -> Selector:
    selector = Selector(columns, row_ids)
    if row_ids:
        _ = selector.ordered  # raises where one stands twice
    return selector


def _named(raw: bytes, decode: Callable[..., list[str]]) -> tuple[str, ...] | None:
    if len(raw) > MAX_COLUMNS_BYTES:
        raise SelectorError(f"columns has {len(raw)} bytes; the most is {MAX_COLUMNS_BYTES}")
    try:
        return _columns(decode(raw, type=list[str]))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise SelectorError("columns is a list of column names") from error


def parse_selector_texts(columns: str | None, row_ids: str | None) -> Selector:
    """The selector of two comma lists, as a query string or a command line gives them; `columns` may be a JSON array.

    Its columns are as they were written: see `Selector.among`.

    Raises:
        SelectorError: an id is no whole number, or a name or an id stands twice.
    """
    names = None if columns is None else parse_names(columns)
    ids = None if row_ids is None else [part.strip() for part in row_ids.split(",") if part.strip()]
    for part in ids or ():
        if not (part.isascii() and part.isdigit() and len(part) < 16):
            raise SelectorError(f"row_ids are whole numbers; {quoted(part)} is none")
    selector = _checked(_columns(names), None if ids is None else _row_ids([int(part) for part in ids]))
    return selector if names is None else replace(selector, written=True)


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
        raise no_ids()
    for row_id in ids:
        # type(), because True is an int to isinstance.
        if type(row_id) is not int:
            raise no_ids(row_id)
    if len(ids) > MAX_ROW_IDS:
        raise SelectorError(f"row_ids names more than {MAX_ROW_IDS} rows")
    return tuple(ids)
