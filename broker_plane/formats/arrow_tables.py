"""Received frames as record batches of one schema, whatever their columns were published as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.formats.column_types import ColumnKinds
from broker_plane.tabular import arrow
from broker_plane.tabular.arrow_types import Array, pyarrow_module
from broker_plane.tabular.codec import Held
from broker_plane.tabular.csv_cells import cell
from broker_plane.tabular.frame import ABSENT
from broker_plane.tabular.json_scalars import json_text
from broker_plane.wire.names import ROW_ID


class SchemaFinder:
    """Show it every frame with `see`; then `schema` says how the columns are written.

    A table has its types in each of its frames, so the first one is enough: see `complete`.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, ColumnKinds] = {}
        self._types: dict[str, set[Any]] = {}

    def see(self, held: Held) -> None:
        for name, values in held.columns.items():
            if isinstance(values, list):
                if name not in self._kinds:
                    self._kinds[name] = ColumnKinds()
                self._kinds[name].see(values)
            else:
                self._types.setdefault(name, set()).add(values.type)

    def complete(self, columns: Sequence[str]) -> bool:
        """Whether all of these are columns of a published table."""
        return all(name in self._types or name == ROW_ID for name in columns)

    def schema(self, columns: Sequence[str]) -> TableSchema:
        """The schema of these columns, in this order."""
        pa = pyarrow_module()
        return TableSchema({name: pa.int64() if name == ROW_ID else self._type(pa, name) for name in columns})

    def _type(self, pa: Any, name: str) -> Any:
        of_values = self._kinds[name].arrow_type(pa) if name in self._kinds else pa.null()
        found = self._types.get(name)
        if not found:
            return of_values
        if len(found) > 1 or of_values != pa.null():  # no publisher of ours makes such a body
            return None
        return None if _has_no_fields(pa, *found) else next(iter(found))


class TableSchema:
    """The types of the columns by name; None is a column that is written as text."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        pa = pyarrow_module()
        self._types = types
        self.as_text = tuple(name for name, kind in types.items() if kind is None)
        """The columns whose values have no common type."""
        self.arrow = pa.schema([(name, pa.string() if kind is None else kind) for name, kind in types.items()])

    def batch(self, held: Held) -> Any:
        """The frame as a pyarrow.RecordBatch.

        Raises:
            TabularError: a value has another type than those that were seen.
        """
        pa = pyarrow_module()
        arrays = [self._array(pa, name, kind, held) for name, kind in self._types.items()]
        if not arrays:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(held.ids), pa.struct([])))
        return pa.record_batch(arrays, schema=self.arrow)

    def _array(self, pa: Any, name: str, kind: Any, held: Held) -> Array:
        if name == ROW_ID:
            return pa.array(held.ids, pa.int64())
        values = held.columns.get(name)
        if values is None:
            return pa.nulls(len(held.ids), pa.string() if kind is None else kind)
        if kind is None:
            return pa.array(_texts(values if isinstance(values, list) else arrow.to_list(values)), pa.string())
        if not isinstance(values, list):
            if values.type != kind:
                raise TabularError(f"The column {name!r} has several types; pull rows in another format")
            return values
        return _typed(pa, name, kind, values)


def _typed(pa: Any, name: str, kind: Any, values: list[Any]) -> Array:
    found = [None if value is ABSENT else value for value in values]
    if kind == pa.string() and not {str, type(None)}.issuperset(map(type, found)):
        found = _texts(found)  # UUIDs
    try:
        return pa.array(found, kind)
    except UnicodeEncodeError:  # a lone surrogate, which no file can have
        return pa.array(_without_surrogates(found), kind)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise TabularError(f"The column {name!r} cannot be written as {kind}: {error}") from error


def _texts(values: Sequence[Any]) -> list[str | None]:
    """The values as in a CSV: texts unchanged, lists and maps as JSON."""
    return [None if value is None or value is ABSENT else _text(value) for value in values]


def _text(value: Any) -> str | None:
    shown = cell(value)
    return shown if shown is None else json_text(str(shown))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return json_text(value)
    if isinstance(value, list):
        return list(map(_without_surrogates, value))
    if isinstance(value, dict):
        return {name: _without_surrogates(inner) for name, inner in value.items()}
    return value


def _has_no_fields(pa: Any, kind: Any) -> bool:
    """Whether a type has a struct without fields at any depth, which Parquet cannot hold."""
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return pa.types.is_nested(kind) and any(
        _has_no_fields(pa, kind.field(place).type) for place in range(kind.num_fields)
    )
