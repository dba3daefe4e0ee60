"""A selector: the columns and rows of a body that a puller requests. An invalid one is an error, never a wider
answer.
"""

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
"""Maximum size of the member `columns` of a request."""


@dataclass(frozen=True)
class Selector:
    """Columns by name and rows by `_row_id`, each in the requested order; None selects all of them."""

    columns: tuple[str, ...] | None = None
    row_ids: Sequence[int] | None = None
    written: bool = False
    """Whether `columns` are still the parts of a comma list as written; `among` resolves them to names."""

    @property
    def whole(self) -> bool:
        return self.columns is None and self.row_ids is None

    @property
    def every_row(self) -> bool:
        return self.row_ids is None

    @property
    def large(self) -> bool:
        """Whether walking through its rows takes long enough to be done away from the event loop."""
        return self.row_ids is not None and len(self.row_ids) > FEW

    def among(self, columns: Collection[str]) -> Selector:
        """This selector with the column names that its written columns mean in a body with `columns`.

        Raises:
            SelectorError: they name a column twice.
        """
        if not self.written or self.columns is None:
            return self
        return replace(self, columns=tuple(resolved(self.columns, (*columns, ROW_ID))), written=False)

    def of(self, rows: int | None) -> Selector:
        """This selector for a body with `rows` rows; WHOLE if it names each row, in order, and every column."""
        if self.columns is None and self.row_ids and len(self.row_ids) == rows:
            in_order = self.ordered is self.row_ids
            return WHOLE if in_order and (self.row_ids[0], self.row_ids[-1]) == (0, rows - 1) else self
        return self

    @cached_property
    def ordered(self) -> Sequence[int]:
        """The selected row ids, sorted; `row_ids` itself if they are in order already.

        Raises:
            SelectorError: a row occurs twice.
        """
        return in_order(self.row_ids or ())

    @cached_property
    def digest(self) -> bytes:
        """A key that is equal for equal selectors."""
        found = sha256(repr(self.columns).encode())
        if self.row_ids is not None:
            found.update(self.row_ids.tobytes() if isinstance(self.row_ids, array) else repr(self.row_ids).encode())
        return found.digest()

    def within(self, start: int, stop: int) -> Sequence[int]:
        """The selected row ids from `start` to `stop`, half-open, sorted."""
        return self.ordered[bisect_left(self.ordered, start) : bisect_left(self.ordered, stop)]

    def has_column(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    def places(self, ids: Sequence[int]) -> list[int] | None:
        """The selected positions of `ids`; None selects all of them."""
        if self.row_ids is None:
            return None
        if not ids:
            return None
        if isinstance(ids, range):  # as a frame's ids are: the selected ones are adjacent, however many rows it has
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
        """Raise unless every selected column and row exists.

        Raises:
            SelectorError: names the first that does not.
        """
        if self.columns is not None:
            known = set(columns)
            known.add(ROW_ID)
            for name in self.columns:
                if name not in known:
                    raise no_column(name, columns)
        if self.row_ids and not (isinstance(rows, range) and self.ordered[0] >= 0 and self.ordered[-1] < len(rows)):
            # If a grant shows only some of the rows, the total number is not revealed.
            hint = f"; row ids go from 0 to {len(rows) - 1}" if isinstance(rows, range) else ""
            for row_id in self.row_ids:
                if row_id not in rows:
                    raise SelectorError(f"There is no row {row_id} here{hint}")


WHOLE = Selector()


def parse_selector(fields: Any) -> Selector:
    """The selector of a JSON or msgpack object with the optional members `columns` and `row_ids`.

    Other members are ignored, as S2SP requires.

    Raises:
        SelectorError: not an object; or a member is not a list of strings or whole numbers, or repeats one.
    """
    if not isinstance(fields, Mapping):
        raise SelectorError('A selector is a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}')
    return _checked(_columns(fields.get("columns")), _row_ids(fields.get("row_ids")))


def selector_of_json(raw: bytes) -> Selector:
    """As `parse_selector`, from the bytes of a JSON object. No more values are created than a selector may have.

    Raises:
        SelectorError: the bytes are not a selector.
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
    """As `selector_of_json`, from the two members in msgpack; each is empty if it is absent."""
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
        _ = selector.ordered  # raises if one occurs twice
    return selector


def _named(raw: bytes, decode: Callable[..., list[str]]) -> tuple[str, ...] | None:
    if len(raw) > MAX_COLUMNS_BYTES:
        raise SelectorError(f"columns has {len(raw)} bytes; the most is {MAX_COLUMNS_BYTES}")
    try:
        return _columns(decode(raw, type=list[str]))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise SelectorError("columns is a list of column names") from error


def parse_selector_texts(columns: str | None, row_ids: str | None) -> Selector:
    """The selector of two comma lists, as in a query string or on a command line; `columns` may be a JSON array.

    Its columns are kept as written: see `Selector.among`.

    Raises:
        SelectorError: an id is not a whole number, or a name or an id occurs twice.
    """
    names = None if columns is None else parse_names(columns)
    ids = None if row_ids is None else [part.strip() for part in row_ids.split(",") if part.strip()]
    for part in ids or ():
        if not (part.isascii() and part.isdigit() and len(part) < 16):
            raise SelectorError(f"row_ids are whole numbers; {quoted(part)} is not")
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
