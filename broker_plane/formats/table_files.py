"""The files of rows and tables that `read_file` opens, and that `Plane.publish` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from broker_plane.formats.file_reader import FileReader
from broker_plane.formats.messages import BATCH, ROWS, SCHEMA
from broker_plane.tabular.arrow_types import pyarrow_module
from broker_plane.tabular.types import unpack


class RowsFile(Iterator[dict[str, Any]]):
    """The rows of a file, one by one. Use it in a `with` block, or call `close`.

    `columns` are the file's, if known before its rows; `declared` says that the file names them even without rows.
    `sheet` is the sheet of a workbook that was read, and `sheets` are all that have cells.
    """

    def __init__(
        self,
        rows: Iterable[dict[str, Any]],
        columns: list[str],
        *,
        declared: bool = False,
        num_rows: int | None = None,
        sheets: list[str] | None = None,
        sheet: str = "",
    ) -> None:
        self.columns = columns
        self.declared = declared
        self.num_rows = num_rows
        self.sheets = sheets or []
        self.sheet = sheet
        self.on_close: Callable[[], None] = _nothing
        self._rows = iter(rows)

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self.on_close()


class ArrowFile:
    """The table in a Parquet or Arrow file, batch by batch, as any library takes it that takes Arrow streams.

    Use it in a `with` block, or call `close`. It can be read once.
    """

    def __init__(self, reader: FileReader) -> None:
        pa = pyarrow_module()
        self._reader = reader
        self.on_close: Callable[[], None] = reader.close
        self.columns = reader.columns
        self.num_rows = reader.num_rows
        self.schema = pa.ipc.read_schema(pa.py_buffer(reader.content(SCHEMA) or b""))
        """A pyarrow.Schema."""

    def read_next_batch(self) -> Any:
        """The next pyarrow.RecordBatch.

        Raises:
            StopIteration: there are no more.
            TabularError: the file is damaged.
        """
        content = self._reader.content(BATCH)
        if content is None:
            raise StopIteration
        pa = pyarrow_module()
        return pa.ipc.read_record_batch(pa.py_buffer(content), self.schema)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.read_next_batch()
            except StopIteration:
                return

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        pa = pyarrow_module()
        return pa.RecordBatchReader.from_batches(self.schema, self).__arrow_c_stream__(requested_schema)

    def __enter__(self) -> ArrowFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self.on_close()


def rows_of_sheet(reader: FileReader) -> Iterator[dict[str, Any]]:
    """The rows that the reader of a workbook sends."""
    while content := reader.content(ROWS):
        columns = unpack(content)
        yield from (dict(zip(reader.columns, values, strict=True)) for values in zip(*columns, strict=True))


def _nothing() -> None:
    """There is nothing to close."""
