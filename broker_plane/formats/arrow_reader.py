"""Read Parquet and Arrow IPC files as validated record batches of the types that are stored (tabular/arrow_types.py).

For the process of formats/child.py only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any
from uuid import UUID

from broker_plane.errors import TabularError
from broker_plane.formats.messages import BATCH, HEAD, SCHEMA, packed_message
from broker_plane.tabular.arrow_types import pyarrow_module, travelling
from broker_plane.tabular.frame import check_column_names
from broker_plane.tabular.types import pack
from broker_plane.wire.column_names import repeated_name

_ROWS_AT_ONCE = 16_384
_LEAST_ROWS = 64
_CELLS_AT_ONCE = 1 << 19
_BATCH_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20
_FILE_MAGIC, _FEATHER_1 = b"ARROW1", b"FEA1"


def read_parquet(file: IO[bytes], sheet: str) -> Iterator[bytes]:
    """The messages for a Parquet file."""
    pa = pyarrow_module()
    from pyarrow.parquet import ParquetFile

    source = ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)
    names = source.schema_arrow.names
    rows = max(_LEAST_ROWS, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // max(1, len(names))))
    batches = source.iter_batches(batch_size=rows, use_threads=False)
    return _messages(pa, source.schema_arrow, batches, source.metadata.num_rows)


def read_arrow(file: IO[bytes], sheet: str) -> Iterator[bytes]:
    """The messages for an Arrow IPC file or stream."""
    pa = pyarrow_module()
    magic = file.read(len(_FILE_MAGIC))
    file.seek(0)
    if magic.startswith(_FEATHER_1):
        raise TabularError("The file is of Feather version 1, which Arrow no longer reads; write it as version 2")
    options = pa.ipc.IpcReadOptions(use_threads=False)
    if magic != _FILE_MAGIC:
        stream = pa.ipc.open_stream(file, options=options)
        return _messages(pa, stream.schema, stream, None)
    source = pa.ipc.open_file(file, options=options)
    batches = (source.get_batch(place) for place in range(source.num_record_batches))
    return _messages(pa, source.schema, batches, None)


def _messages(pa: Any, schema: Any, batches: Iterable[Any], rows: int | None) -> Iterator[bytes]:
    _check_names(schema.names)
    yield packed_message(HEAD, pack({"columns": schema.names, "rows": rows}))
    parts = chain.from_iterable(map(_parts, batches))
    first = _stored(pa, next(parts, None) or _empty(pa, schema))
    yield packed_message(SCHEMA, first.schema.serialize())
    yield packed_message(BATCH, first.serialize())
    for batch in parts:
        yield packed_message(BATCH, _stored(pa, batch).cast(first.schema).serialize())


def _empty(pa: Any, schema: Any) -> Any:
    """A batch without rows. pyarrow makes no empty dictionaries of all types, so it has their values instead."""
    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in schema]
    return pa.record_batch([pa.array([], kind) for kind in kinds], names=schema.names)


def _check_names(names: list[str]) -> None:
    check_column_names(names)
    twice = repeated_name(names)
    if twice is not None:
        raise TabularError(f"The file has two columns {twice!r}; rename one")


def _parts(batch: Any) -> Iterator[Any]:
    """A validated batch in parts of bounded size."""
    batch.validate(full=True)
    step = max(1, min(_ROWS_AT_ONCE, _BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _stored(pa: Any, batch: Any) -> Any:
    """The batch with columns of the types that are stored."""
    names = batch.schema.names
    found = [travelling(name, _texts(pa, array)) for name, array in zip(names, batch.columns, strict=True)]
    return pa.record_batch(found, names=names)


def _texts(pa: Any, array: Any) -> Any:
    """UUIDs as texts, which every reader of tables has; any other column unchanged."""
    if not isinstance(array.type, pa.BaseExtensionType) or array.type.extension_name != "arrow.uuid":
        return array
    return pa.array([None if raw is None else str(UUID(bytes=raw)) for raw in array.storage.to_pylist()], pa.string())
