"""Parquet, Arrow, XLSX, TSV and gzip on the command line and in Python, in and out, over a real bridge."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from broker_plane import ArrowFile, Plane, RowsFile, read_file
from broker_plane.config import Settings
from broker_plane.errors import ConfigError, SelectorError, TabularError
from broker_plane.formats import kinds, opening
from broker_plane.sync import Plane as SyncPlane
from tests.figures import Figure
from tests.files.command_line import PATIENCE, CommandLine
from tests.tools import need_module

TABLE = pa.table(
    {
        "id": pa.array([1, None, 2**62], pa.int64()),
        "small": pa.array([1, 2, None], pa.uint8()),
        "name": ["Ann", "Bö", None],
        "price": pa.array([Decimal("1.10"), None, Decimal("-3.00")], pa.decimal128(9, 2)),
        "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "day": [date(2026, 1, 2), None, date(1815, 12, 10)],
        "took": [timedelta(hours=30), timedelta(microseconds=-1), None],
        "tags": [["a", None], [], None],
        "more": [{"x": 1, "y": [True]}, None, {"x": None, "y": []}],
        "nothing": pa.nulls(3),
    }
)
EXACT = ("out.parquet", "out.arrow", "out.feather", "out.arrows")


def table_in(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    raw = path.read_bytes()
    return (pa.ipc.open_stream if path.suffix == ".arrows" else pa.ipc.open_file)(raw).read_all()


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    pq.write_table(TABLE, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.parametrize("name", EXACT)
def test_a_table_goes_in_and_out_with_its_types(shell: CommandLine, tmp_path: Path, parquet: Path, name: str) -> None:
    url = shell.publish(parquet)
    shell.run("pull", url, "-o", tmp_path / name)
    assert table_in(tmp_path / name).equals(TABLE)
    again = shell.publish(tmp_path / name)
    shell.run("pull", again, "-o", tmp_path / "again.parquet", "--columns", "more,id", "--rows", "2")
    assert pq.read_table(tmp_path / "again.parquet").equals(TABLE.select(["more", "id"]).slice(2))


def test_files_of_other_writers_are_tables(shell: CommandLine, tmp_path: Path) -> None:
    frame = pl.DataFrame({"c": ["u", "v", "u"], "n": [1, None, 3]}, schema_overrides={"c": pl.Categorical})
    frame.write_parquet(tmp_path / "polars.parquet")
    frame.write_ipc(tmp_path / "polars.arrow", compression="zstd")
    frame.to_pandas().to_feather(tmp_path / "pandas.feather")
    frame.write_ipc_stream(tmp_path / "polars.arrows")
    duckdb = need_module("duckdb")
    duckdb.sql("select uuid() as id, 1 as n").write_parquet(str(tmp_path / "duck.parquet"))
    rows = [{"c": "u", "n": 1}, {"c": "v", "n": None}, {"c": "u", "n": 3}]
    for name in ("polars.parquet", "polars.arrow", "pandas.feather", "polars.arrows"):
        assert shell.rows(shell.publish(tmp_path / name)) == rows, name
    (duck,) = shell.rows(shell.publish(tmp_path / "duck.parquet"))
    assert (len(duck["id"]), duck["n"]) == (36, 1)


def test_a_published_file_is_narrowed_by_its_types(shell: CommandLine, tmp_path: Path, parquet: Path) -> None:
    made = shell.run("grant", shell.publish(parquet), "--where", "small >= 2 and name = 'Bö'", "--columns", "small,id")
    shell.run("pull", made.decode().split()[0], "-o", tmp_path / "less.parquet")
    assert pq.read_table(tmp_path / "less.parquet").to_pylist() == [{"id": None, "small": 2}]


def test_rows_become_typed_columns_and_mixed_ones_are_named(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text('{"n": 1, "m": 1}\n{"n": 2.5, "m": "x"}\n{"late": [1]}\n')
    ran = shell.ran("pull", shell.publish(tmp_path / "in.ndjson"), "-o", tmp_path / "out.parquet")
    assert "values of several types were written as text: m." in ran.stderr
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"n": 1.0, "m": "1", "late": None},
        {"n": 2.5, "m": "x", "late": None},
        {"n": None, "m": None, "late": [1]},
    ]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz", "a.json.gz", "a.ndjson.gz", "a.JSONL.GZ"])
def test_text_formats_may_be_compressed(shell: CommandLine, tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text("id,name\n1,Ann\n2,Bö\n")
    url = shell.publish(tmp_path / "in.csv")
    shell.run("pull", url, "-o", tmp_path / name)
    plain = tmp_path / name[:-3]
    shell.run("pull", url, "-o", plain)
    assert gzip.decompress((tmp_path / name).read_bytes()) == plain.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    assert shell.rows(shell.publish(tmp_path / name)) == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bö"}]
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    assert "not valid gzip" in shell.refused("publish", tmp_path / name)


def test_a_tsv_has_typed_columns_and_quotes_what_needs_quotes(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text('id\tname\n1\t"a\tb"\n2\tx,y\n')
    url = shell.publish(tmp_path / "in.tsv")
    assert shell.rows(url) == [{"id": 1, "name": "a\tb"}, {"id": 2, "name": "x,y"}]
    assert shell.run("pull", url, "--format", "tsv") == b'id\tname\r\n1\t"a\tb"\r\n2\tx,y\r\n'
    assert shell.rows(shell.publish(tmp_path / "in.tsv", "--text"))[0] == {"id": "1", "name": "a\tb"}
    assert "quote fields that contain tabs" in shell.refused("publish", "-", "--format", "tsv", given=b"a\n1\t2\n")


def test_a_workbook_goes_in_and_out(shell: CommandLine, tmp_path: Path) -> None:
    need_module("xlsxwriter")
    need_module("python_calamine")
    rows: list[dict[str, Any]] = [
        {"id": 1, "at": "2026-01-02T03:04:05.678000", "big": str(2**60), "f": "=1+1"},
        {"id": 2, "at": None},
    ]
    at = datetime(2026, 1, 2, 3, 4, 5, 678901)
    with SyncPlane.connect(settings_of(shell)) as plane:
        url = plane.publish([{"id": 1, "at": at, "big": 2**60, "f": "=1+1"}, {"id": 2}]).resource_url
    ran = shell.ran("pull", url, "-o", tmp_path / "out.xlsx")
    assert "1 times were cut to milliseconds" in ran.stderr
    found = shell.rows(shell.publish(tmp_path / "out.xlsx"))
    assert [{name: value for name, value in row.items() if value is not None} for row in found] == [
        {name: value for name, value in row.items() if value is not None} for row in rows
    ]


def test_a_sheet_is_named_and_the_one_that_was_read_is_said(shell: CommandLine, tmp_path: Path) -> None:
    xlsxwriter = need_module("xlsxwriter")
    need_module("python_calamine")
    book = xlsxwriter.Workbook(tmp_path / "book.xlsx")
    for name in ("Orders", "People", "Rest"):
        sheet = book.add_worksheet(name)
        sheet.write_string(0, 0, "of")
        sheet.write_string(1, 0, name)
    book.close()
    ran = shell.ran("publish", tmp_path / "book.xlsx", "--uses", "unlimited")
    assert "Read the sheet 'Orders'; the workbook also has 'People', 'Rest' (--sheet)." in " ".join(ran.stderr.split())
    assert shell.rows(ran.stdout.strip()) == [{"of": "Orders"}]
    assert shell.rows(shell.publish(tmp_path / "book.xlsx", "--sheet", "Rest")) == [{"of": "Rest"}]
    assert "no sheet 'Nope'; it has 'Orders', 'People', 'Rest'" in shell.refused(
        "publish", tmp_path / "book.xlsx", "--sheet", "Nope"
    )
    (tmp_path / "a.csv").write_text("a\n")
    assert "--sheet is only for XLSX" in shell.refused("publish", tmp_path / "a.csv", "--sheet", "x")


@pytest.mark.parametrize("form", ["arrows", "xlsx"])
def test_standard_streams_and_odd_names_take_a_format(shell: CommandLine, tmp_path: Path, form: str) -> None:
    if form == "xlsx":
        need_module("xlsxwriter")
        need_module("python_calamine")
    (tmp_path / "in.csv").write_text("id,name\n1,Ann\n2,Bö\n")
    url = shell.publish(tmp_path / "in.csv")
    raw = shell.run("pull", url, "--format", form)
    rows = [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bö"}]
    process = shell.start("publish", "-", "--format", form, "--uses", "unlimited", "--json", stdin=-1)
    out, _ = process.communicate(raw, PATIENCE)
    assert shell.rows(json.loads(out)["resource_url"]) == rows
    shell.run("pull", url, "-o", tmp_path / "odd.name", "--format", form)
    assert shell.rows(shell.publish(tmp_path / "odd.name", "--format", form)) == rows
    fifo = tmp_path / f"fifo.{form}"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    shell.run("pull", url, "-o", fifo)
    reader.join(PATIENCE)
    assert read[0] == raw or form == "xlsx"  # a workbook has the time of the pull
    assert read[0][:4] == raw[:4]


def test_an_empty_table_keeps_its_columns_and_types(shell: CommandLine, tmp_path: Path) -> None:
    empty = TABLE.slice(0, 0)
    pq.write_table(empty, tmp_path / "in.parquet")
    url = shell.publish(tmp_path / "in.parquet")
    for name in EXACT:
        shell.run("pull", url, "-o", tmp_path / name)
        assert table_in(tmp_path / name).equals(empty)
    assert shell.run("pull", url, "--format", "tsv") == ("\t".join(TABLE.column_names) + "\r\n").encode()


@pytest.mark.parametrize("content", [b"", b"id,name\n1,x\n"])
@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.xlsx"])
def test_a_file_that_is_not_what_its_ending_says_is_one_sentence(
    shell: CommandLine, tmp_path: Path, name: str, content: bytes
) -> None:
    if name == "a.xlsx":
        need_module("python_calamine")
    (tmp_path / name).write_bytes(content)
    said = shell.refused("publish", tmp_path / name)
    assert said.startswith("broker-plane: The file is not")
    assert "Traceback" not in said


def test_a_package_that_is_not_installed_is_named(
    shell: CommandLine, tmp_path: Path, parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n")
    url = shell.publish(tmp_path / "in.csv")
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    for check in (kinds.is_read, kinds.is_written):
        check.cache_clear()
    try:
        said = shell.refused("publish", parquet)
        assert "parquet needs pyarrow: pip install 'broker-plane[files]'" in said
        for name, package in (("out.parquet", "pyarrow"), ("out.xlsx", "XlsxWriter")):
            said = shell.refused("pull", url, "-o", tmp_path / name)
            assert f"needs {package}: pip install 'broker-plane[files]'" in said
            assert not (tmp_path / name).exists()
        with pytest.raises(ConfigError, match="xlsx needs python-calamine"):
            opening.read_file(tmp_path / "in.csv", "xlsx")
    finally:
        for check in (kinds.is_read, kinds.is_written):
            check.cache_clear()


# ── in Python ─────────────────────────────────────────────────────────────────────────────────────────────────


def settings_of(shell: CommandLine) -> Settings:
    from broker_plane.config import load_settings

    names = {"BROKER_PLANE_NATS_URL": "nats_url", "BROKER_PLANE_BRIDGE_URL": "bridge_url"}
    return load_settings(**{short: shell.environment[name] for name, short in names.items()})


def content(path: Path) -> bytes:
    return path.read_bytes()


def names_in(place: Path) -> set[str]:
    return {path.name for path in place.glob("*.*")}


@pytest.mark.anyio
async def test_a_file_is_published_and_pulled_in_python(settings: Settings, tmp_path: Path, parquet: Path) -> None:
    raw = content(parquet)
    async with Plane.connect(settings) as plane:
        opaque = await plane.publish(parquet, uses="unlimited")
        assert (opaque.body.kind, await plane.pull(opaque.resource_url)) == ("bytes", raw)
        with read_file(parquet) as table:
            assert isinstance(table, ArrowFile)
            assert (table.columns, table.num_rows) == (TABLE.column_names, 3)
            done: list[tuple[int, int | None]] = []
            published = await plane.publish(
                table, uses="unlimited", abstract=["name"], progress=lambda *steps: done.append(steps)
            )
        assert done == [(3, 3)]
        assert [row["name"] for row in published.abstract] == ["Ann", "Bö", None]
        url = published.resource_url
        assert (await plane.pull_table(url)).equals(TABLE)
        saved = await plane.pull_file(url, tmp_path / "out.parquet")
        assert (saved.rows, saved.as_text) == (3, ())
        assert pq.read_table(tmp_path / "out.parquet").equals(TABLE)
        await plane.pull_file(url, tmp_path / "out.dat", format="csv", columns=["name", "id"], row_ids=[1])
        assert (tmp_path / "out.dat").read_bytes() == "name,id\r\nBö,\r\n".encode()
        with pytest.raises(TabularError, match="no extension"):
            await plane.pull_file(url, tmp_path / "out")
        with pytest.raises(SelectorError, match="opaque"):
            await plane.pull_file(opaque.resource_url, tmp_path / "out.csv")
    assert names_in(tmp_path) == {"in.parquet", "out.dat", "out.parquet"}


@pytest.mark.anyio
async def test_a_header_without_rows_declares_its_columns(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("event,severity\n")
    async with Plane.connect(settings) as plane:
        with read_file(tmp_path / "a.csv") as rows:
            assert isinstance(rows, RowsFile)
            assert (await plane.publish(rows)).body.columns == ("event", "severity")


@pytest.mark.anyio
async def test_any_arrow_stream_is_published_batch_by_batch(settings: Settings) -> None:
    batches = [pa.record_batch({"n": range(place, place + 1_000)}) for place in range(0, 20_000, 1_000)]
    taken: list[int] = []

    def one_by_one() -> Any:
        for batch in batches:
            taken.append(len(taken))
            yield batch

    async with Plane.connect(settings) as plane:
        reader = pa.RecordBatchReader.from_batches(batches[0].schema, one_by_one())
        published = await plane.publish(reader, uses="unlimited")
        assert (published.body.rows, len(taken)) == (20_000, 20)
        assert (await plane.pull_table(published.resource_url)).equals(pa.Table.from_batches(batches))


@pytest.mark.anyio
async def test_a_file_is_the_next_version_of_a_feed(settings: Settings, tmp_path: Path, feed: str) -> None:
    async with Plane.connect(settings) as plane:
        for names in (["Ann", "Bob"], ["Ann", "Bö"]):
            pq.write_table(pa.table({"id": [1, 2], "name": names}), tmp_path / "a.parquet")
            with read_file(tmp_path / "a.parquet") as table:
                published = await plane.publish(table, feed=feed, key="id")
        assert published.version == 2
        assert await plane.pull(published.resource_url) == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bö"}]


def test_the_blocking_plane_does_the_same(settings: Settings, tmp_path: Path, parquet: Path) -> None:
    with SyncPlane.connect(settings) as plane, read_file(parquet) as table:
        url = plane.publish(table).resource_url
        assert plane.pull_file(url, tmp_path / "out.arrow").rows == 3
    assert table_in(tmp_path / "out.arrow").equals(TABLE)


# ── the size of a day's flights ───────────────────────────────────────────────────────────────────────────────


def flights(start: int, stop: int) -> pa.Table:
    """19 columns of numbers, texts and times."""
    rows = range(start, stop)
    numbers = {f"n{column}": [(row * (column + 7)) % 100_003 for row in rows] for column in range(10)}
    texts = {f"t{column}": [f"value {row % (10 ** (column + 1))}" for row in rows] for column in range(6)}
    times = {f"at{column}": [datetime(2026, 1, 1) + timedelta(minutes=row) for row in rows] for column in (0, 1)}
    return pa.table({**numbers, **texts, **times, "x": [row / 7 for row in rows]})


@pytest.mark.full
@pytest.mark.parametrize("name", ["out.parquet", "out.arrow", "out.csv", "out.ndjson", "out.xlsx"])
def test_three_hundred_thousand_rows_need_no_gigabytes(
    shell: CommandLine, tmp_path: Path, name: str, figure: Figure
) -> None:
    if name == "out.xlsx":
        need_module("xlsxwriter")
        need_module("python_calamine")
    with pq.ParquetWriter(tmp_path / "in.parquet", flights(0, 1).schema) as writer:
        for start in range(0, 300_000, 10_000):  # the memory of this process counts as that of those it starts
            writer.write_table(flights(start, start + 10_000))
    sending = ("--uses", "unlimited", "--json")
    url = json.loads(measured(shell, figure, name, "publish", tmp_path / "in.parquet", *sending))["resource_url"]
    measured(shell, figure, name, "pull", url, "-o", tmp_path / name)
    again = json.loads(measured(shell, figure, name, "publish", tmp_path / name, *sending))
    assert again["rows"] == 300_000


def measured(shell: CommandLine, figure: Figure, name: str, *command: object) -> bytes:
    """Run a command; its time, and the memory of the largest of its processes, are figures."""
    began = monotonic()
    with tempfile.TemporaryFile() as out:
        process = shell.start(*command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    assert process.returncode == 0, said
    peak = usage.ru_maxrss >> 10
    took = f"{monotonic() - began:.1f} s, {peak} MiB"
    figure(f"{command[0]} 300,000 x 19, {name}", took, aim="below 1,200 MiB", met=peak < 1_200)
    assert peak < 1_200
    return said
