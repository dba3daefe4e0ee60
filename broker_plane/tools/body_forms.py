"""The forms in which a function takes a body, by the annotation of its parameter."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args, get_origin, get_type_hints
from uuid import UUID

import typing_extensions
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from broker_plane.errors import ConfigError, TabularError
from broker_plane.tabular.arrow import converter
from broker_plane.tools.signature import bare_annotation

Row = dict[str, Any]
Kind = Literal["rows", "table", "bytes", "path", "stream"]
_SCALARS = (str, int, float, bool, bytes, Decimal, datetime, date, time, timedelta, UUID, Enum)
_MOST_SHOWN = 100


@dataclasses.dataclass(frozen=True, slots=True)
class BodyForm:
    """One form. `make` turns rows into it, for the kinds rows and stream; `table` a pyarrow.Table, for tables."""

    kind: Kind
    make: Callable[[list[Row]], Any]
    table: Callable[[Any], Any] | None = None
    is_row_form: bool = False
    """Whether the annotation can mean nothing but a body: a table, or a list of objects."""


def form_of(annotation: Any) -> BodyForm:
    """The form of an annotation; without one, a list of dicts.

    Lists, tuples, sequences, iterators and async iterators have dicts, pydantic models, dataclasses, typed dicts or
    named tuples as their rows, or scalars if the body has one column. pyarrow, polars and pandas have tables.

    Raises:
        ConfigError: pydantic cannot validate rows of that type, or the library of a table is not installed.
    """
    bare = bare_annotation(annotation)
    kind = get_origin(bare) or bare
    table = converter(bare) or converter(kind)
    if table is not None:
        return BodyForm("table", _unchanged, table, is_row_form=True)
    if kind is bytes:
        return BodyForm("bytes", _unchanged)
    if kind is Path:
        return BodyForm("path", _unchanged)
    items = _item_of(bare)
    is_row_form = _is_collection(kind) and _is_row(bare_annotation(items))
    typed = _typed_rows(items)
    if isinstance(kind, type) and issubclass(kind, AsyncIterable):
        return BodyForm("stream", typed, is_row_form=is_row_form)
    if isinstance(kind, type) and issubclass(kind, Iterator):
        return BodyForm("rows", lambda rows: iter(typed(rows)), is_row_form=is_row_form)
    if kind is tuple:
        return BodyForm("rows", lambda rows: tuple(typed(rows)), is_row_form=is_row_form)
    return BodyForm("rows", typed, is_row_form=is_row_form)


async def streamed(form: BodyForm, rows: AsyncIterator[Row]) -> AsyncIterator[Any]:
    """The rows of a stream in the annotated type."""
    number = 0
    async for row in rows:
        for made in _at(number, form.make, row):
            yield made
        number += 1


def _at(number: int, make: Callable[[list[Row]], Any], row: Row) -> Any:
    try:
        return make([row])
    except TabularError as error:
        raise TabularError(str(error).replace("Row 0", f"Row {number}", 1)) from error


def _unchanged(rows: list[Row]) -> Any:
    return rows


def _item_of(bare: Any) -> Any:
    """The type of one row, with all that an annotation says; Any if it does not say."""
    found = [each for each in get_args(bare) if each is not Ellipsis]
    return found[0] if found else Any


def _is_collection(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, (Iterable, AsyncIterable)) and not issubclass(kind, Mapping)


def _is_row(item: Any) -> bool:
    """Whether a type is one of a row's, and not that of a single value."""
    kind = get_origin(item) or item
    return _is_object(kind) or (isinstance(kind, type) and issubclass(kind, Mapping))


def _is_object(kind: Any) -> bool:
    if typing_extensions.is_typeddict(kind):
        return True
    if not isinstance(kind, type):
        return False
    return issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind) or _is_named_tuple(kind)


def _is_named_tuple(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _typed_rows(item: Any) -> Callable[[list[Row]], Any]:
    bare = bare_annotation(item)
    kind = get_origin(bare) or bare
    if _is_object(kind):
        return _Rows(_adapter(_portable(bare) if typing_extensions.is_typeddict(bare) else item))
    if isinstance(kind, type) and issubclass(kind, _SCALARS):
        return _Values(_adapter(item))
    return _unchanged


def _adapter(item: Any) -> TypeAdapter[list[Any]]:
    try:
        return TypeAdapter(list[item])
    except PydanticUserError as error:
        raise ConfigError(f"Rows of the type {_name(item)} cannot be validated: {error.message}") from error


def _portable(item: Any) -> Any:
    """A typed dict of `typing` as one of `typing_extensions`, which pydantic requires before Python 3.12."""
    if sys.version_info >= (3, 12) or not typing.is_typeddict(item) or type(item).__module__ != "typing":
        return item
    hints = get_type_hints(item, include_extras=True)
    optional: frozenset[str] = getattr(item, "__optional_keys__", frozenset())
    fields = {
        name: typing_extensions.NotRequired[hint] if name in optional else typing_extensions.Required[hint]
        for name, hint in hints.items()
    }
    return typing_extensions.TypedDict(item.__name__, fields)  # type: ignore[operator]  # made at run time


@dataclasses.dataclass(frozen=True, slots=True)
class _Rows:
    """Rows as objects of one type; columns that it does not name are treated as the type says."""

    adapter: TypeAdapter[list[Any]]

    def __call__(self, rows: list[Row]) -> list[Any]:
        try:
            return self.adapter.validate_python(rows)
        except ValidationError as error:
            raise _misfit(error, rows) from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Values:
    """The values of a body's only column, as a list of scalars is published."""

    adapter: TypeAdapter[list[Any]]

    def __call__(self, rows: list[Row]) -> list[Any]:
        names = list(dict.fromkeys(name for row in rows for name in row))
        if len(names) > 1:
            shown = ", ".join(names)[:_MOST_SHOWN]
            raise TabularError(f"This tool takes a list of values, and the body has {len(names)} columns: {shown}")
        try:
            return self.adapter.validate_python([row.get(names[0]) for row in rows] if names else [])
        except ValidationError as error:
            raise _misfit(error, rows) from error


def _misfit(error: ValidationError, rows: list[Row]) -> TabularError:
    """The first value that does not fit, by row and column."""
    first, *others = error.errors(include_url=False, include_context=False)
    place = first["loc"]
    names = place[1:]  # of a union, with that of the type that was tried
    named = next((name for name in names if name in rows[int(place[0])]), names[-1]) if names else None
    column = "" if named is None else f", column {named!r}"
    more = f"; {len(others)} more like it" if others else ""
    return TabularError(f"Row {place[0] if place else 0}{column}: {first['msg']}{_found(first)}{more}")


def _found(error: Any) -> str:
    if error["type"] == "missing":
        return ""
    return f" (found {error.get('input')!r:.{_MOST_SHOWN}})"


def _name(item: Any) -> str:
    return getattr(item, "__name__", str(item))
