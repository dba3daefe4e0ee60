"""Tables in and out, for whoever has pyarrow (the extra `arrow`): a column is an Arrow array and never a list.

Anything with `__arrow_c_stream__` comes in (the Arrow PyCapsule interface: polars, pyarrow, pandas, DuckDB). A chunk of
such a column is an Arrow IPC stream of one column and one batch. What another owner published is checked before a value
of it is looked at: an offset beyond its buffer would be a crash of the bridge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from broker_plane.errors import ConfigError, EncodingError, TabularError
from broker_plane.tabular.arrow_messages import is_compressed
from broker_plane.tabular.frame import ABSENT, check_names
from broker_plane.wire.bounds import MAX_FRAME_ROWS

_PART_BYTES = 4 << 20
_MOST_SCHEMA_BYTES = 1 << 20

Table = Any
"""A pyarrow.Table."""

Array = Any
"""A pyarrow.Array."""


def is_table(data: Any) -> bool:
    """Whether `data` is a table and not rows; pyarrow need not be there to tell."""
    return hasattr(type(data), "__arrow_c_stream__")


def as_table(data: Any) -> Table:
    """`data` as a pyarrow.Table, of which nothing is copied.

    Raises:
        TabularError: a column name that cannot be, or one that stands twice.
    """
    table = _pyarrow().table(data)
    check_names(table.column_names)
    if twice := [name for name in table.column_names if table.column_names.count(name) > 1]:
        raise TabularError(f"The table has two columns {twice[0]!r}; rename one")
    return table


def parts(table: Table) -> Iterator[dict[str, Array]]:
    """The columns of so many rows at a time that they take about 4 MiB."""
    rows = table.num_rows
    step = min(MAX_FRAME_ROWS, max(1, _PART_BYTES * rows // max(1, table.nbytes)))
    for start in range(0, rows, step):
        part = table.slice(start, step)
        yield {name: _whole(name, part.column(name)) for name in table.column_names}


def encode(array: Array) -> bytes:
    """The chunk of a column."""
    pa = _pyarrow()
    batch = pa.record_batch([array], names=[""])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    raw: bytes = sink.getvalue().to_pybytes()
    return raw


def decode(raw: bytes | memoryview) -> Array:
    """The column of a chunk; its buffers are those of `raw`.

    Raises:
        EncodingError: it is none, or no sound one, or pyarrow is not there.
    """
    try:
        pa = _pyarrow()
    except ConfigError as error:
        raise EncodingError(f"This body was published as a table. {error}") from error
    try:
        source = pa.BufferReader(pa.py_buffer(raw))
        schema = _schema(pa, pa.ipc.read_message(source))
        message = pa.ipc.read_message(source)
        if message.type != "record batch" or is_compressed(message.metadata):
            raise EncodingError("A column's chunk is no Arrow column of ours: it is compressed, or has a dictionary")
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        return batch.column(0)
    except (pa.ArrowException, EOFError, StopIteration, OSError, IndexError, ValueError, struct.error) as error:
        raise EncodingError("A column's chunk is no sound Arrow column", reason=repr(error)[:300]) from error


def _schema(pa: Any, message: Any) -> Any:
    """The schema of one column, of a type whose values take no more memory than their bytes allow."""
    if message.type != "schema" or len(message.metadata) > _MOST_SCHEMA_BYTES:
        raise EncodingError("A column's chunk begins with no Arrow schema, or with a very large one")
    schema = pa.ipc.read_schema(message)
    if len(schema) != 1:
        raise EncodingError("A column's chunk has not one Arrow column")
    if not _is_plain(schema.field(0).type):
        raise EncodingError(f"A column is of the Arrow type {str(schema.field(0).type)[:80]}, which no writer writes")
    return schema


def _is_plain(kind: Any) -> bool:
    """Whether no two values of this type can share their bytes.

    A small column of another (dictionaries, views, runs, unions) would become a very large one when it is read.
    """
    types = _pyarrow().types
    if _is_list(types, kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    if types.is_map(kind):
        return _is_plain(kind.key_type) and _is_plain(kind.item_type)
    simple = (types.is_boolean, types.is_integer, types.is_floating, types.is_temporal, types.is_null)
    return (any(test(kind) for test in simple) and not types.is_interval(kind)) or _has_texts(types, kind)


def _is_list(types: Any, kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def weight(array: Array) -> int:
    """What the values take in memory as Python objects, estimated from above, as `weighing.py` does it for msgpack."""
    types = _pyarrow().types
    kind, count = array.type, len(array)
    if types.is_struct(kind):
        children = [array.field(place) for place in range(kind.num_fields)]
        return 100 * (2 + len(children)) * count + sum(map(weight, children))
    if types.is_map(kind):
        start, size = _span(array)
        return 120 * count + 72 * size + sum(weight(part.slice(start, size)) for part in (array.keys, array.items))
    if types.is_fixed_size_list(kind):
        return 120 * count + weight(array.values.slice(array.offset * kind.list_size, count * kind.list_size))
    if _is_list(types, kind):
        start, size = _span(array)
        return 120 * count + weight(array.values.slice(start, size))
    return 80 * count + 4 * int(array.nbytes) if _has_texts(types, kind) else 48 * count


def _span(array: Array) -> tuple[int, int]:
    """Where the values of a list column begin among those of its child, and how many there are."""
    if not len(array):
        return 0, 0
    start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return start, stop - start


def _has_texts(types: Any, kind: Any) -> bool:
    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in tests) or types.is_decimal(kind)


def to_list(array: Array) -> list[Any]:
    """The values, of the types of wire.md, section 5.

    Raises:
        EncodingError: a date or time that Python has not.
    """
    try:
        values: list[Any] = array.to_pylist()
    except (ValueError, OverflowError, TypeError, KeyError, ArithmeticError) as error:
        raise EncodingError("An Arrow column has values that Python has not", reason=repr(error)[:300]) from error
    return values


def array_of(name: str, values: Sequence[Any]) -> Array:
    """The column of values that were published as rows; an absent one is null.

    Raises:
        TabularError: values of several types, which have no column.
    """
    pa = _pyarrow()
    try:
        return pa.array([None if value is ABSENT else value for value in values])
    except pa.ArrowException as error:
        raise TabularError(
            f"The column {name!r} is no column of one type, so it cannot come as a table; take rows ({error})"
        ) from error


def table_of(pieces: Sequence[Mapping[str, Array]]) -> Table:
    """The table of what came, piece by piece; a column that a piece lacks is null there."""
    pa = _pyarrow()
    try:
        return pa.concat_tables([pa.table(dict(piece)) for piece in pieces], promote_options="permissive")
    except pa.ArrowException as error:
        raise TabularError(
            f"These rows have columns of several types, so they are no table; take rows ({error})"
        ) from error


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of rows that came inline."""
    pa = _pyarrow()
    try:
        return pa.Table.from_pylist([dict(row) for row in rows])
    except pa.ArrowException as error:
        raise TabularError(f"These rows are no table; take rows ({error})") from error


def converter(annotation: Any) -> Callable[[Table], Any] | None:
    """From a pyarrow.Table to what `annotation` asks for; None where it asks for no table.

    Raises:
        ConfigError: pyarrow is not there.
    """
    library = str(getattr(annotation, "__module__", "")).partition(".")[0]
    kind = (library, getattr(annotation, "__name__", ""))
    if kind not in (("pyarrow", "Table"), ("polars", "DataFrame"), ("pandas", "DataFrame")):
        return None
    _pyarrow()
    if library == "polars":
        return _to_polars
    return _to_pandas if library == "pandas" else _itself


def _itself(table: Table) -> Table:
    return table


def _to_polars(table: Table) -> Any:
    import polars  # the author's function asks for it, so it is there

    return polars.from_arrow(table)


def _to_pandas(table: Table) -> Any:
    return table.to_pandas()


def _whole(name: str, column: Any) -> Array:
    """One array of a column's pieces, of a type that every reader has.

    Raises:
        TabularError: a type that is none of wire.md's, or nanoseconds that would be lost.
    """
    pa = _pyarrow()
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # an extension's, or one without a chunk
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    try:
        return array.cast(_travelling(name, array.type))
    except pa.ArrowInvalid as error:
        raise TabularError(f"The column {name!r} cannot travel: {error}. Round it to microseconds first") from error


def _travelling(name: str, kind: Any) -> Any:
    """The type as which a column travels: one that every reader has, and whose values share no bytes (`_is_plain`)."""
    pa = _pyarrow()
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_dictionary(kind):
        return _travelling(name, kind.value_type)
    if types.is_nested(kind) and not _is_plain(kind):
        return _nested(pa, name, kind)
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_date, types.is_null)
    if any(test(kind) for test in plain) or types.is_nested(kind):
        return kind
    raise _cannot(name, kind)


def _nested(pa: Any, name: str, kind: Any) -> Any:
    """A nested type with a dictionary or a view somewhere in it, without them."""
    types = pa.types
    if types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([field.with_type(_travelling(name, field.type)) for field in fields])
    if types.is_map(kind):
        return pa.map_(_travelling(name, kind.key_type), _travelling(name, kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_travelling(name, kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(_travelling(name, kind.value_type))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(_travelling(name, kind.value_type))
    raise _cannot(name, kind)


def _cannot(name: str, kind: Any) -> TabularError:
    return TabularError(f"The column {name!r} is of the Arrow type {kind}, which cannot travel; cast it first")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise ConfigError("For tables pyarrow is needed: pip install 'broker-plane[arrow]'") from error
    return pyarrow
