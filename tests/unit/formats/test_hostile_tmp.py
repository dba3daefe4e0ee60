"""Damaged and hostile files end in one sentence, in the memory that their reader may take, and leave no process."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker_plane.errors import BrokerPlaneError, TabularError
from broker_plane.formats.file_reader import FileReader
from broker_plane.formats.kinds import Format
from broker_plane.formats.opening import open_table, read_file
from broker_plane.formats.table_files import ArrowFile, RowsFile, rows_of_sheet
from tests.tools import need_module

SMALL = 256 << 20
"""Memory of the reader in these tests: enough for every sound file here."""

TABLE = pa.table({"n": range(100_000), "t": [f"text {place}" for place in range(100_000)]})


def everything(path: Path, form: Format, memory: int = SMALL) -> list[Any]:
    """All batches or rows of a file."""
    with path.open("rb") as file:
        reader = FileReader(file, form, memory=memory)
        try:
            return list(rows_of_sheet(reader) if form is Format.xlsx else ArrowFile(reader))
        finally:
            reader.close()


def refused(path: Path, form: Format, memory: int = SMALL) -> str:
    """The one sentence that says why a file cannot be read."""
    with pytest.raises(TabularError) as raised:
        everything(path, form, memory)
    said = str(raised.value)
    assert "\n" not in said and "Traceback" not in said and 10 < len(said) < 500
    return said


def parquet(path: Path, table: Any, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def arrow(path: Path, table: Any, **options: Any) -> Path:
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return path


def workbook(path: Path, sheet: bytes, **parts: bytes) -> Path:
    """A workbook with this XML as its only sheet, and other parts replaced."""
    xlsxwriter = need_module("xlsxwriter")
    need_module("python_calamine")
    plain = io.BytesIO()
    with xlsxwriter.Workbook(plain) as book:
        book.add_worksheet().write_string(0, 0, "a")
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, sheet if name == "xl/worksheets/sheet1.xml" else parts.get(name, old.read(name)))
    return path


HEAD = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
TAIL = b"</sheetData></worksheet>"


# ── sound files, in little memory ─────────────────────────────────────────────────────────────────────────────


def test_a_sound_file_is_read_batch_by_batch(tmp_path: Path) -> None:
    for path, form in [
        (parquet(tmp_path / "a.parquet", TABLE), Format.parquet),
        (arrow(tmp_path / "a.arrow", TABLE), Format.arrow),
        (arrow(tmp_path / "z.arrow", TABLE, compression="zstd"), Format.arrow),
    ]:
        batches = everything(path, form)
        assert len(batches) > 1
        assert pa.Table.from_batches(batches) == TABLE


def test_the_reader_ends_with_its_file(tmp_path: Path) -> None:
    with read_file(parquet(tmp_path / "a.parquet", TABLE)) as table:
        assert isinstance(table, ArrowFile)
        process = table._reader._process.pid
        table.read_next_batch()
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


# ── more memory than a file may take ──────────────────────────────────────────────────────────────────────────


def test_a_long_text_that_all_rows_share_is_not_written_out(tmp_path: Path) -> None:
    indices = pa.array([0] * 1_000_000, pa.int32())
    shared = pa.table({"x": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1_000_000]))})
    path = parquet(tmp_path / "a.parquet", shared)
    assert path.stat().st_size < 1_000_000
    refused(path, Format.parquet)
    refused(arrow(tmp_path / "a.arrow", shared, compression="zstd"), Format.arrow)


def test_a_file_in_one_large_piece_is_refused_with_advice(tmp_path: Path) -> None:
    zeros = pa.table({"x": pa.Array.from_buffers(pa.uint8(), 300 << 20, [None, pa.py_buffer(bytes(300 << 20))])})
    said = refused(arrow(tmp_path / "a.arrow", zeros, compression="zstd"), Format.arrow)
    assert "more than 256 MiB of memory" in said and "smaller" in said


def test_a_buffer_that_claims_a_terabyte_takes_none(tmp_path: Path) -> None:
    path = arrow(tmp_path / "a.arrow", pa.table({"n": range(100_000)}), compression="lz4")
    raw = path.read_bytes()
    honest = struct.pack("<q", 800_000)
    assert raw.count(honest) >= 1
    path.write_bytes(raw.replace(honest, struct.pack("<q", 1 << 40)))
    refused(path, Format.arrow)


def test_row_counts_that_lie_are_not_believed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", pa.table({"n": pa.array([7] * 100_000)}))
    honest, lie = b"\xc0\x9a\x0c", b"\x80\x89\x7a"  # 100,000 and 1,000,000 in Thrift's compact protocol
    raw = path.read_bytes()
    footer = raw.rindex(b"parquet-cpp") - 2_000
    for where in ("everywhere", "once"):
        path.write_bytes(raw[:footer] + raw[footer:].replace(honest, lie, -1 if where == "everywhere" else 1))
        try:
            rows = sum(batch.num_rows for batch in everything(path, Format.parquet))
        except TabularError:
            continue
        assert rows <= 100_000


def test_a_workbook_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    cell = b'<c t="inlineStr"><is><t>' + b"x" * 200 + b"</t></is></c>"
    path = workbook(tmp_path / "a.xlsx", HEAD + (b"<row>" + cell * 100 + b"</row>") * 3_000 + TAIL)
    assert path.stat().st_size < 1 << 20
    refused(path, Format.xlsx, memory=64 << 20)


def test_a_workbook_that_states_a_very_large_size_is_refused_unread(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEAD + TAIL)
    with zipfile.ZipFile(path, "a") as parts:
        parts.writestr("more", b"x")
        parts.filelist[-1].file_size = 5 << 30
    assert "unpacks to 5120 MiB; the most is 4096" in refused(path, Format.xlsx)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    entities = b"".join(b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10) for level in range(1, 10))
    laughs = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">' + entities + b"]>"
    sheet = laughs + HEAD.partition(b"?>")[2] + b'<row><c t="inlineStr"><is><t>&e9;</t></is></c></row>' + TAIL
    try:
        assert everything(workbook(tmp_path / "a.xlsx", sheet), Format.xlsx) == []
    except TabularError as error:
        assert "\n" not in str(error)


def test_a_cell_at_the_end_of_the_sheet_does_not_take_its_size(tmp_path: Path) -> None:
    far = b'<row r="1"><c r="A1" t="str"><v>a</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    refused(workbook(tmp_path / "a.xlsx", HEAD + far + TAIL), Format.xlsx)


def test_a_compressed_text_that_is_nearly_all_zeros_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b'"' + b" " * (66 << 20), compresslevel=1)
    for name in ("a.json.gz", "a.csv.gz"):
        path = tmp_path / name
        path.write_bytes(packed)
        with pytest.raises(TabularError, match="more than 200 times its size"), read_file(path) as rows:
            list(rows)


# ── damaged ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_offsets_that_lead_out_of_a_buffer_are_found(tmp_path: Path) -> None:
    offsets = pa.py_buffer(struct.pack("<3i", 0, 1 << 30, 4))
    wrong = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abcd")])
    assert "not valid arrow" in refused(arrow(tmp_path / "a.arrow", pa.table({"t": wrong})), Format.arrow)


def test_indices_beyond_a_dictionary_are_found(tmp_path: Path) -> None:
    indices = pa.array([0, 7], pa.int32())
    wrong = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    refused(arrow(tmp_path / "a.arrow", pa.table({"t": wrong})), Format.arrow)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert refused(parquet(tmp_path / "a.parquet", twice), Format.parquet) == (
        "The file has two columns 'a'; rename one"
    )
    refused(arrow(tmp_path / "a.arrow", twice), Format.arrow)


@pytest.mark.parametrize("content", [b"PAR1ARROW1", b"PK\x03\x04" + bytes(60), b"\xff" * 5_000])
@pytest.mark.parametrize("form", [Format.parquet, Format.arrow, Format.xlsx])
def test_a_file_of_another_kind_is_named(tmp_path: Path, form: Format, content: bytes) -> None:
    if form is Format.xlsx:
        need_module("python_calamine")
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", form)


def test_a_reader_that_is_killed_is_an_error_and_not_an_end(tmp_path: Path) -> None:
    with read_file(parquet(tmp_path / "a.parquet", TABLE)) as table:
        assert isinstance(table, ArrowFile)
        table.read_next_batch()
        table._reader._process.kill()
        with pytest.raises(TabularError, match="The parquet file cannot be read"):
            list(table)


SOUND: dict[Format, Callable[[Path], Path]] = {
    Format.parquet: lambda place: parquet(place / "a", TABLE.slice(0, 2_000), compression="zstd"),
    Format.arrow: lambda place: arrow(place / "a", TABLE.slice(0, 2_000), compression="lz4"),
    Format.xlsx: lambda place: workbook(place / "a", HEAD + b'<row r="1"><c><v>1</v></c></row>' * 50 + TAIL),
}


@pytest.mark.parametrize("form", SOUND)
@pytest.mark.parametrize("tries", [2, pytest.param(70, marks=pytest.mark.full)])
def test_changed_and_missing_bytes_are_rows_or_one_sentence(tmp_path: Path, form: Format, tries: int) -> None:
    path = SOUND[form](tmp_path)
    sound, chance = path.read_bytes(), random.Random(tries)
    for _ in range(tries):
        raw = bytearray(sound)
        for _ in range(chance.randint(1, 8)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        path.write_bytes(raw[: chance.choice([len(raw), chance.randrange(len(raw))])])
        try:
            everything(path, form)
        except TabularError as error:
            assert "\n" not in str(error) and len(str(error)) < 500


def test_a_format_of_no_table_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    for options in ({}, {"format": "bytes"}, {"format": "excel"}, {"format": "csv", "sheet": "x"}):
        with pytest.raises(BrokerPlaneError):
            read_file(tmp_path / "a.pdf", **options)  # type: ignore[arg-type]


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    from threading import Thread

    from broker_plane.formats.kinds import FileKind

    raw = parquet(tmp_path / "a.parquet", TABLE.slice(0, 10)).read_bytes()
    read, write = os.pipe()
    with os.fdopen(write, "wb") as out:

        def send() -> None:
            out.write(raw)
            out.close()

        sender = Thread(target=send)
        sender.start()
        with open_table(os.fdopen(read, "rb"), FileKind(Format.parquet)) as table:
            assert not isinstance(table, RowsFile)
            assert pa.table(table) == TABLE.slice(0, 10)
        sender.join()
