"""Open a file of rows or of a table, of any format that is read."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from broker_plane.errors import TabularError
from broker_plane.formats.file_reader import FileReader
from broker_plane.formats.gzip_file import unpacked
from broker_plane.formats.kinds import ARROW_FORMATS, FileKind, Format, is_read, kind_in, missing, parse_format
from broker_plane.formats.table_files import ArrowFile, RowsFile, rows_of_sheet
from broker_plane.formats.text_rows import columns_of_rows, read_rows

_PIECE_BYTES = 1 << 20


def read_file(
    path: Path | str, format: str | None = None, *, sheet: str | None = None, text: bool = False
) -> RowsFile | ArrowFile:
    """Open a file of rows or of a table, for `Plane.publish`; close it afterwards, or use it in a `with` block.

    The extension decides the format, unless `format` names one: json, ndjson, csv, tsv, msgpack, parquet, arrow or
    xlsx. `sheet` names the sheet of an XLSX file; the default is the first. With `text` the values of CSV and TSV stay
    text.

    Raises:
        TabularError: no format of tables, or the file is not of its format.
        ConfigError: a package that the format needs is not installed.
        OSError: the file cannot be opened.
    """
    kind = kind_in(str(path), None if format is None else parse_format(format))
    return open_table(Path(path).open("rb"), kind, sheet=sheet, text=text)


def open_table(file: BinaryIO, kind: FileKind, *, sheet: str | None = None, text: bool = False) -> RowsFile | ArrowFile:
    """As `read_file`, for an open file, which may be a pipe. It is closed with the table, and if this raises."""
    try:
        if kind.form is Format.bytes:
            raise TabularError("The name of the file has no extension of a table; say which format it has")
        if sheet is not None and kind.form is not Format.xlsx:
            raise TabularError("Only XLSX files have sheets")
        if kind.form is Format.xlsx or kind.form in ARROW_FORMATS:
            return _read_elsewhere(file, kind.form, sheet or "")
        return _read_here(file, kind, text=text)
    except BaseException:
        file.close()
        raise


def _read_here(file: BinaryIO, kind: FileKind, *, text: bool) -> RowsFile:
    size = os.fstat(file.fileno()).st_size if kind.gzip else 0
    rows = read_rows(unpacked(file, size) if kind.gzip else file, kind.form, text=text)
    if isinstance(rows, list):
        found = RowsFile(rows, columns_of_rows(rows), num_rows=len(rows))
    else:
        found = RowsFile(rows, getattr(rows, "columns", []), declared=hasattr(rows, "columns"))
    found.on_close = file.close
    return found


def _read_elsewhere(file: BinaryIO, form: Format, sheet: str) -> RowsFile | ArrowFile:
    """A file of a binary format, which a process of its own reads."""
    if not is_read(form):
        raise missing(form, writing=False)
    if "\0" in sheet:
        raise TabularError("The name of a sheet has no character NUL")
    with ExitStack() as closing:
        closing.callback(file.close)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe: these formats begin at their end
            file = closing.enter_context(_spooled(file))
        reader = FileReader(file, form, sheet=sheet)
        closing.callback(reader.close)
        found = _sheet(reader) if form is Format.xlsx else ArrowFile(reader)
        found.on_close = closing.pop_all().close
        return found


def _sheet(reader: FileReader) -> RowsFile:
    return RowsFile(
        rows_of_sheet(reader),
        reader.columns,
        declared=True,
        num_rows=reader.num_rows,
        sheets=reader.sheets,
        sheet=reader.sheet,
    )


def _spooled(file: BinaryIO) -> BinaryIO:
    spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(file, spool, _PIECE_BYTES)
    spool.flush()
    return spool
