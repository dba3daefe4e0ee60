"""Tables as Arrow columns, with pyarrow (the extra `arrow`): a column is an Arrow array and never a list.

Tables are read by `__arrow_c_stream__` (the Arrow PyCapsule interface: polars, pyarrow, pandas, DuckDB). The chunk of
such a column is an Arrow IPC stream of one column and one batch. Columns of another owner are validated before any
value is read: an offset beyond its buffer would crash the bridge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from broker_plane.errors import ConfigError, EncodingError, TabularError
from broker_plane.tabular.arrow_messages import is_compressed
from broker_plane.tabular.arrow_types import Array as Array
from broker_plane.tabular.arrow_types import has_texts, is_list, is_plain, pyarrow_module, span, travelling
from broker_plane.tabular.frame import ABSENT, Frame, check_column_names
from broker_plane.tabular.plain import plain, plain_column
from broker_plane.tabular.sources import columnar, is_columnar
from broker_plane.wire.bounds import MAX_FRAME_ROWS
from broker_plane.wire.column_names import repeated_name

_PART_BYTES = 4 << 20
_MOST_SCHEMA_BYTES = 1 << 20

Table = Any
"""A pyarrow.Table."""


def is_table(data: Any) -> bool:
    """Whether `data` is a table and not rows; works without pyarrow."""
    return is_columnar(data)


def is_stream(data: Any) -> bool:
    """Whether `data` is a table that arrives batch by batch, such as a pyarrow.RecordBatchReader."""
    return is_table(data) and hasattr(type(data), "read_next_batch")


def as_table(data: Any) -> Table:
    """`data` as a pyarrow.Table, without copying.

    Raises:
        TabularError: a column name is invalid or occurs twice, or the data are not an Arrow table.
    """
    pa = pyarrow_module()
    data = columnar(data)
    if twice := _twice(getattr(data, "columns", ())):
        raise TabularError(f"The table has two columns {twice!r}; rename one")
    try:
        # A pyarrow table does not go through its C interface, where pyarrow loses list views.
        table = data if isinstance(data, pa.Table) else pa.table(data)
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise TabularError(f"This table cannot be published: {error}. Convert the column, or publish rows") from error
    _check_objects(data)
    check_column_names(table.column_names)
    repeated = repeated_name(table.column_names)
    if repeated is not None:
        raise TabularError(f"The table has two columns {repeated!r}; rename one")
    return table


def parts(table: Table) -> Iterator[dict[str, Array]]:
    """The columns in parts of about 4 MiB; one part for a table without rows.

    Raises:
        TabularError: a column that cannot be stored.
    """
    rows = table.num_rows
    if not rows and table.column_names:  # so that the columns and their types are stored all the same
        yield {name: _whole(name, table.column(name)) for name in table.column_names}
    step = min(MAX_FRAME_ROWS, max(1, _PART_BYTES * rows // max(1, table.nbytes)))
    for start in range(0, rows, step):
        part = table.slice(start, step)
        yield {name: _whole(name, part.column(name)) for name in table.column_names}


def stream_parts(stream: Any) -> Iterator[dict[str, Array]]:
    """As `parts`, of a table that arrives batch by batch; holds the batches of one part.

    Raises:
        TabularError: as `as_table` and `parts`, or the stream broke.
    """
    pa = pyarrow_module()
    empty = True
    for batches in _gathered(pa, stream):
        empty = False
        yield from parts(as_table(pa.Table.from_batches(batches)))
    if empty:
        yield from parts(as_table(pa.Table.from_batches([], stream.schema)))


def _gathered(pa: Any, stream: Any) -> Iterator[list[Any]]:
    """The batches in groups of about one part."""
    held: list[Any] = []
    size = rows = 0
    while True:
        try:
            batch = stream.read_next_batch()
        except StopIteration:
            break
        except (pa.ArrowException, OSError) as error:
            raise TabularError(f"The Arrow stream broke: {error}") from error
        if held and (size + batch.nbytes > _PART_BYTES or rows + batch.num_rows > MAX_FRAME_ROWS):
            yield held
            held, size, rows = [], 0, 0
        if batch.num_rows:
            held.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
    if held:
        yield held


def rows_of(data: Any) -> list[dict[str, Any]]:
    """The rows of a table, as the store returns them.

    Raises:
        TabularError: as `as_table` and `parts`.
    """
    table = as_table(data)
    if not table.num_rows:
        return []
    rows: list[dict[str, Any]] = []
    for part in parts(table):
        columns = {name: list(plain_column(name, to_list(array), len(rows))) for name, array in part.items()}
        rows.extend(Frame(columns, range(len(next(iter(columns.values()), [])))).rows())
    return rows


def _twice(names: Any) -> Any:
    """The first column name that occurs twice, or None."""
    seen = set()
    for name in names:
        if not isinstance(name, (str, int)):
            return None
        if name in seen:
            return name
        seen.add(name)
    return None


def _check_objects(data: Any) -> None:
    """Raise TabularError for columns that polars would export as addresses of Python objects."""
    for name, kind in getattr(data, "schema", {}).items() if type(data).__module__.startswith("polars") else ():
        if str(kind) == "Object":
            raise TabularError(f"The column {name!r} is of the type Object, which cannot be stored; cast it first")


def encode(array: Array) -> bytes:
    """The chunk of a column.

    Raises:
        TabularError: it is nested too deeply.
    """
    pa = pyarrow_module()
    batch = pa.record_batch([array], names=[""])
    sink = pa.BufferOutputStream()
    try:
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    except pa.ArrowException as error:
        raise TabularError(f"A column of the Arrow type {str(array.type)[:80]} cannot be stored: {error}") from error
    raw: bytes = sink.getvalue().to_pybytes()
    return raw


def decode(raw: bytes | memoryview) -> Array:
    """The column of a chunk; its buffers are those of `raw`.

    Raises:
        EncodingError: it is not a valid column, or pyarrow is not installed.
    """
    try:
        pa = pyarrow_module()
    except ConfigError as error:
        raise EncodingError(f"This body was published as a table. {error}") from error
    try:
        source = pa.BufferReader(pa.py_buffer(raw))
        schema = _schema(pa, pa.ipc.read_message(source))
        message = pa.ipc.read_message(source)
        if message.type != "record batch" or is_compressed(message.metadata):
            raise EncodingError(
                "A column's chunk is not an Arrow column of this format: it is compressed, or has a dictionary"
            )
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        return batch.column(0)
    except (pa.ArrowException, EOFError, StopIteration, OSError, IndexError, ValueError, struct.error) as error:
        raise EncodingError("A column's chunk is not a valid Arrow column", reason=repr(error)[:300]) from error


def _schema(pa: Any, message: Any) -> Any:
    """The schema of one column whose values take no more memory than their bytes allow."""
    if message.type != "schema" or len(message.metadata) > _MOST_SCHEMA_BYTES:
        raise EncodingError("A column's chunk starts without an Arrow schema, or with a very large one")
    schema = pa.ipc.read_schema(message)
    if len(schema) != 1:
        raise EncodingError("A column's chunk does not have exactly one Arrow column")
    if not is_plain(schema.field(0).type):
        raise EncodingError(f"A column is of the Arrow type {str(schema.field(0).type)[:80]}, which no writer writes")
    return schema


def weight(array: Array) -> int:
    """An upper estimate of the memory of the values as Python objects, as `weighing.py` makes it for msgpack."""
    types = pyarrow_module().types
    kind, count = array.type, len(array)
    if types.is_struct(kind):
        children = [array.field(place) for place in range(kind.num_fields)]
        return 100 * (2 + len(children)) * count + sum(map(weight, children))
    if types.is_map(kind):
        start, size = span(array)
        return 120 * count + 72 * size + sum(weight(part.slice(start, size)) for part in (array.keys, array.items))
    if types.is_fixed_size_list(kind):
        return 120 * count + weight(array.values.slice(array.offset * kind.list_size, count * kind.list_size))
    if is_list(types, kind):
        start, size = span(array)
        return 120 * count + weight(array.values.slice(start, size))
    return 80 * count + 4 * int(array.nbytes) if has_texts(types, kind) else 48 * count


def to_list(array: Array | Table) -> list[Any]:
    """The values, of the supported types.

    Raises:
        EncodingError: a date or time that Python cannot represent.
    """
    try:
        values: list[Any] = array.to_pylist()
    except (ValueError, OverflowError, TypeError, KeyError, ArithmeticError) as error:
        raise EncodingError(
            "An Arrow column has values that Python cannot represent", reason=repr(error)[:300]
        ) from error
    kinds = [array.type] if hasattr(array, "type") else array.schema.types
    if any(map(_has_maps, kinds)):
        return [plain(value) for value in values]  # pyarrow returns pairs as tuples
    return values


def _has_maps(kind: Any) -> bool:
    types = pyarrow_module().types
    if types.is_map(kind):
        return True
    return types.is_nested(kind) and any(_has_maps(kind.field(place).type) for place in range(kind.num_fields))


def taken(array: Array, places: Sequence[int]) -> Array:
    """The values at `places`."""
    return array.take(places) if places else array.slice(0, 0)


def empty_table(columns: Sequence[str]) -> Table:
    """A table without rows, with these column names and no types."""
    pa = pyarrow_module()
    return pa.table({name: pa.array([], pa.null()) for name in columns})


def array_of(name: str, values: Sequence[Any]) -> Array:
    """The column of values that were published as rows; absent values are null.

    Raises:
        TabularError: the values have several types, or one that Arrow does not have.
    """
    pa = pyarrow_module()
    try:
        if _is_mixed(values):
            raise pa.ArrowInvalid("dates and times, with and without offset, texts and bytes are not converted")
        return pa.array([None if value is ABSENT else value for value in values])
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise TabularError(
            f"The column {name!r} has values of several types, so it cannot be pulled as a table; pull rows ({error})"
        ) from error


def _is_mixed(values: Sequence[Any]) -> bool:
    """Whether pyarrow would convert values of one type to another: it cuts the time off, or the offset."""
    kinds = set(map(type, values))
    if {date, datetime} <= kinds or {str, bytes} <= kinds:
        return True
    return datetime in kinds and len({value.tzinfo is None for value in values if type(value) is datetime}) > 1


def table_of(pieces: Sequence[Mapping[str, Array]]) -> Table:
    """The table of the received parts; a column that a part lacks is null there."""
    pa = pyarrow_module()
    if not pieces:
        return pa.table({})
    try:
        return pa.concat_tables([pa.table(dict(piece)) for piece in pieces], promote_options="permissive")
    except pa.ArrowException as error:
        raise TabularError(
            f"These rows have columns of several types, so they are not a table; pull rows ({error})"
        ) from error


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of rows that were passed inline."""
    pa = pyarrow_module()
    try:
        return pa.Table.from_pylist([dict(row) for row in rows])
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise TabularError(f"These rows are not a table; pull rows ({error})") from error


def converter(annotation: Any) -> Callable[[Table], Any] | None:
    """A converter from pyarrow.Table to the type of `annotation`; None if that is not a table type.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    for kind in getattr(annotation, "__mro__", ()):
        found = _CONVERTERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            pyarrow_module()
            return found
    return None


def _itself(table: Table) -> Table:
    return table


def _to_lazy(table: Table) -> Any:
    return _to_polars(table).lazy()


def _to_polars(table: Table) -> Any:
    import polars  # the annotation imports it, so it is installed

    return polars.from_arrow(table)


def _to_pandas(table: Table) -> Any:
    return table.to_pandas()


_CONVERTERS: dict[tuple[str, str], Callable[[Table], Any]] = {
    ("pyarrow", "Table"): _itself,
    ("polars", "DataFrame"): _to_polars,
    ("polars", "LazyFrame"): _to_lazy,
    ("pandas", "DataFrame"): _to_pandas,
}


def _whole(name: str, column: Any) -> Array:
    """The pieces of a column as one array, of a type that every reader has.

    Raises:
        TabularError: an unsupported type, or nanoseconds that would be lost.
    """
    pa = pyarrow_module()
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):  # an extension type, or a column without chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return travelling(name, array)
