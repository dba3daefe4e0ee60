"""Write record batches as Parquet or Arrow IPC, in pieces: `write` and `end` return the bytes that are ready."""

from __future__ import annotations

from typing import Any, Protocol

from broker_plane.errors import TooLargeError
from broker_plane.formats.arrow_tables import TableSchema
from broker_plane.formats.kinds import Format, is_written, missing
from broker_plane.tabular.arrow_types import pyarrow_module
from broker_plane.tabular.codec import Held

_GROUP_BYTES = 8 << 20
_GROUP_ROWS = 1 << 17
_MOST_CHUNKS = 1_000_000
"""Columns times row groups of a Parquet file: its footer, which is held in memory, has some 200 bytes for each."""


class ArrowWriter(Protocol):
    """The joined results of `write` for every frame, and of `end`, are the file."""

    def write(self, held: Held) -> bytes: ...

    def end(self) -> bytes: ...


def arrow_writer(form: Format, schema: TableSchema) -> ArrowWriter:
    """The writer of a Parquet file, an Arrow file or an Arrow stream.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    if not is_written(form):
        raise missing(form, writing=True)
    return ParquetWriter(schema) if form is Format.parquet else IpcWriter(schema, stream=form is Format.arrows)


class IpcWriter:
    """Arrow IPC: a record batch for each frame, buffers uncompressed, because not every reader has the codecs."""

    def __init__(self, schema: TableSchema, *, stream: bool) -> None:
        pa = pyarrow_module()
        self._schema = schema
        self._sink = _Sink()
        self._writer = (pa.ipc.new_stream if stream else pa.ipc.new_file)(self._sink, schema.arrow)

    def write(self, held: Held) -> bytes:
        self._writer.write_batch(self._schema.batch(held))
        return self._sink.taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.taken()


class ParquetWriter:
    """Parquet with Snappy, which every reader has. A row group has about 8 MiB of values, gathered from frames."""

    def __init__(self, schema: TableSchema) -> None:
        from pyarrow.parquet import ParquetWriter as Writer

        self._schema = schema
        self._sink = _Sink()
        self._writer = Writer(self._sink, schema.arrow, compression="snappy")
        self._held: list[Any] = []
        self._size = self._rows = self._groups = 0

    def write(self, held: Held) -> bytes:
        batch = self._schema.batch(held)
        if self._rows and (self._size + batch.nbytes > _GROUP_BYTES or self._rows + batch.num_rows > _GROUP_ROWS):
            self._flush()
        self._held.append(batch)
        self._size += batch.nbytes
        self._rows += batch.num_rows
        return self._sink.taken()

    def end(self) -> bytes:
        if self._rows:
            self._flush()
        self._writer.close()
        return self._sink.taken()

    def _flush(self) -> None:
        """Write a row group."""
        pa = pyarrow_module()
        self._groups += 1
        if self._groups * len(self._schema.arrow) > _MOST_CHUNKS:
            raise TooLargeError("This body has too many columns and rows for one Parquet file; pull fewer of them")
        table = pa.Table.from_batches(self._held, self._schema.arrow)
        self._writer.write_table(table, row_group_size=max(1, self._rows))
        self._held, self._size, self._rows = [], 0, 0


class _Sink:
    """A file of which `taken` returns what was written since the last call."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Everything is in memory."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """What was written stays until it is taken."""

    def taken(self) -> bytes:
        joined = b"".join(self._pieces)
        self._pieces = []
        return joined
