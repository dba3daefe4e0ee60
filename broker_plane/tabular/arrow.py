"""Tables in and out, for whoever has pyarrow (the extra `arrow`): a column is an Arrow array and never a list.

Anything with `__arrow_c_stream__` comes in (the Arrow PyCapsule interface: polars, pyarrow, pandas, DuckDB). A chunk of
such a column is an Arrow IPC stream of one column and one batch. What another owner published is checked before a value
of it is looked at: an offset beyond its buffer would be a crash of the bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from broker_plane.errors import ConfigError, EncodingError, TabularError
from broker_plane.tabular.frame import ABSENT, check_names

_PART_BYTES = 4 << 20
_MOST_PART_ROWS = 1 << 17

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
    step = min(_MOST_PART_ROWS, max(1, _PART_BYTES * rows // max(1, table.nbytes)))
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
        EncodingError: it is none, or no sound one.
    """
    pa = _pyarrow()
    try:
        with pa.ipc.open_stream(pa.py_buffer(raw)) as reader:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            return batch.column(0)
    except (pa.ArrowException, StopIteration, OSError, IndexError) as error:
        raise EncodingError("A column's chunk is no sound Arrow column", reason=repr(error)) from error


def to_list(array: Array) -> list[Any]:
    """The values, of the types of wire.md, section 5."""
    values: list[Any] = array.to_pylist()
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
    """The type as which a column travels."""
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
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_date, types.is_null)
    if any(test(kind) for test in plain) or types.is_nested(kind):
        return kind
    raise TabularError(f"The column {name!r} is of the Arrow type {kind}, which cannot travel; cast it first")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise ConfigError("For tables pyarrow is needed: pip install 'broker-plane[arrow]'") from error
    return pyarrow
