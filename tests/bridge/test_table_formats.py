"""Parquet, Arrow, XLSX and TSV of a bridge: what the grant shows, in every format, over real connections."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker_plane.bridge import representation, table_answers
from broker_plane.formats.kinds import MEDIA_TYPES, Format
from broker_plane.runtime.narrowing import Narrowing, narrowed
from broker_plane.testing.processes import until
from broker_plane.wire.plane_names import Names
from tests.bridge.bodies import ROWS, Bridge
from tests.bridge.wire import PATIENCE
from tests.tools import need_module

pytestmark = pytest.mark.anyio

PARQUET, ARROW, STREAM, XLSX, TSV = (
    MEDIA_TYPES[form] for form in (Format.parquet, Format.arrow, Format.arrows, Format.xlsx, Format.tsv)
)
LARGE = [{"n": place, "text": f"row {place} " * 3, "x": place / 7} for place in range(30_000)]


@pytest.fixture
def anyio_backend() -> str:
    """One loop is enough: the formats do not depend on how a connection ends."""
    return "asyncio"


def sheet(raw: bytes) -> Any:
    """The rows of a workbook's first sheet: a reader of its own."""
    calamine = need_module("python_calamine")
    header, *lines = calamine.load_workbook(io.BytesIO(raw)).get_sheet_by_index(0).to_python()
    return [dict(zip(header, line, strict=True)) for line in lines]


def lines(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode(), newline=""), delimiter="\t"))


TABLES: dict[str, Callable[[bytes], Any]] = {
    PARQUET: lambda raw: pq.read_table(io.BytesIO(raw)),
    ARROW: lambda raw: pa.ipc.open_file(raw).read_all(),
    STREAM: lambda raw: pa.ipc.open_stream(raw).read_all(),
}
READERS: dict[str, Callable[[bytes], Any]] = {
    PARQUET: lambda raw: TABLES[PARQUET](raw).to_pylist(),
    ARROW: lambda raw: TABLES[ARROW](raw).to_pylist(),
    STREAM: lambda raw: TABLES[STREAM](raw).to_pylist(),
    XLSX: sheet,
    TSV: lines,
}
EVERY = pytest.mark.parametrize("media_type", READERS)


def as_read(media_type: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: str(value) for name, value in row.items()} for row in rows] if media_type == TSV else rows


def need_writer(media_type: str) -> None:
    if media_type == XLSX:
        need_module("xlsxwriter")


@EVERY
async def test_a_body_comes_in_the_format_that_is_accepted(bridge: Bridge, media_type: str) -> None:
    need_writer(media_type)
    published = await bridge.publish(ROWS, name="alerts.csv")
    answer = await bridge.get(published, accept=media_type)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
    assert READERS[media_type](answer.content) == as_read(media_type, ROWS)
    assert answer.headers["bp-rows"] == "3"
    assert answer.headers["accept-ranges"] == "none"
    by_query = await bridge.get(published, f"?format={media_type}")
    assert by_query.content == answer.content
    posted = await bridge.post(published, b'{"row_ids": [1], "columns": ["area", "_row_id"]}', accept=media_type)
    assert READERS[media_type](posted.content) == as_read(media_type, [{"area": "Travis", "_row_id": 1}])


@pytest.mark.parametrize(("media_type", "name"), [(PARQUET, "alerts.parquet"), (XLSX, "alerts.xlsx")])
async def test_a_browser_saves_it_under_a_name_with_its_extension(bridge: Bridge, media_type: str, name: str) -> None:
    need_writer(media_type)
    answer = await bridge.get(await bridge.publish(ROWS, name="alerts.csv"), accept=media_type)
    assert f'filename="{name}"' in answer.headers["content-disposition"]


@EVERY
async def test_head_and_conditions_are_those_of_the_format_and_spend_nothing(bridge: Bridge, media_type: str) -> None:
    need_writer(media_type)
    published = await bridge.publish(ROWS, uses=1)
    head = await bridge.request("HEAD", published, accept=media_type)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].partition(";")[0] == media_type
    tag = head.headers["etag"]
    assert tag != (await bridge.request("HEAD", published)).headers["etag"]
    assert (await bridge.get(published, accept=media_type, if_none_match=tag)).status_code == 304
    assert (await bridge.get(published, accept=media_type, if_match='"other"')).status_code == 412
    assert (await bridge.get(published, accept=media_type, if_match=tag)).status_code == 200
    assert (await bridge.get_settled(published, accept=media_type)).status_code == 410


@EVERY
async def test_equal_bodies_have_equal_bytes_for_one_etag(bridge: Bridge, media_type: str) -> None:
    need_writer(media_type)
    published = await bridge.publish(ROWS)
    one, other = [await bridge.get(published, accept=media_type) for _ in range(2)]
    assert (one.headers["etag"], one.content) == (other.headers["etag"], other.content)


@EVERY
async def test_only_what_the_grant_shows_is_in_the_file(bridge: Bridge, media_type: str) -> None:
    need_writer(media_type)
    rows = [{"id": place, "name": f"n{place}", "secret": f"hidden{place}"} for place in range(2_000)]
    for data in (rows, pa.Table.from_pylist(rows)):
        published = await bridge.publish(data)
        less = Narrowing(columns=["name", "id"], where="id >= 1990 or secret = 'hidden3'")
        found = narrowed(
            published.grant, less, bridge_url=bridge.url, names=Names("bp"), now=published.body.created
        ).resource_url
        answer = await bridge.client.get(found, headers={"accept": media_type})
        expected = [{"id": row["id"], "name": row["name"]} for row in rows if row["id"] in (3, *range(1990, 2000))]
        assert READERS[media_type](answer.content) == as_read(media_type, expected)
        raw = answer.content
        if media_type == XLSX:
            with zipfile.ZipFile(io.BytesIO(raw)) as parts:
                raw = b"".join(parts.read(name) for name in parts.namelist())
        assert b"hidden" not in raw and b"secret" not in raw
        refused = await bridge.client.get(f"{found}?columns=secret", headers={"accept": media_type})
        assert refused.status_code == 400


async def test_a_grant_for_one_format_permits_no_other(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    only = narrowed(
        published.grant, Narrowing(formats=[PARQUET]), bridge_url=bridge.url, names=Names("bp"), now=0
    ).resource_url
    assert (await bridge.client.get(only)).headers["content-type"] == PARQUET
    refused = await bridge.client.get(only, headers={"accept": STREAM})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")


EXACT = {
    "id": [1, None, 2**40],
    "amount": [Decimal("12.50"), Decimal("-3.25"), None],
    "at": [datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), None, datetime(1999, 12, 31, tzinfo=UTC)],
    "took": [timedelta(days=2, microseconds=1), timedelta(0), None],
    "tags": [["a", None], [], None],
    "more": [{"x": 1, "y": "s"}, None, {"x": None, "y": "t"}],
    "raw": [b"\x00\xff", b"", None],
    "nan": [float("nan"), float("inf"), -0.0],
    "none": [None, None, None],
}


@pytest.mark.parametrize("media_type", TABLES)
async def test_a_table_keeps_its_types_and_values(bridge: Bridge, media_type: str) -> None:
    table = pa.table(EXACT)
    table = table.append_column("small", pa.array([1, None, 3], pa.uint8()))
    for data in (table, table.slice(0, 0)):
        answer = await bridge.get(await bridge.publish(data), accept=media_type)
        found = TABLES[media_type](answer.content)
        assert found.schema.equals(table.schema)
        assert repr(found.to_pylist()) == repr(data.to_pylist())


async def test_rows_get_the_types_of_all_their_values(bridge: Bridge) -> None:
    rows: list[dict[str, Any]] = [{"n": 1, "mixed": 1}] * 5_000
    rows += [{"n": 2.5, "mixed": "N/A", "late": UUID(int=7)}, {"n": None, "mixed": [1], "late": None}]
    answer = await bridge.get(await bridge.publish(rows), accept=PARQUET)
    found = pq.read_table(io.BytesIO(answer.content))
    assert found.schema.types == [pa.float64(), pa.string(), pa.string()]
    assert found.slice(4_999).to_pylist() == [
        {"n": 1.0, "mixed": "1", "late": None},
        {"n": 2.5, "mixed": "N/A", "late": str(UUID(int=7))},
        {"n": None, "mixed": "[1]", "late": None},
    ]
    assert answer.headers["bp-text-columns"] == "1"


@EVERY
async def test_a_large_body_is_whole(bridge: Bridge, media_type: str) -> None:
    need_writer(media_type)
    rows = LARGE[:3_000] if media_type == XLSX else LARGE
    answer = await bridge.get(await bridge.publish(rows), accept=media_type)
    found = READERS[media_type](answer.content)
    assert [str(row["n"]).removesuffix(".0") for row in found] == [str(row["n"]) for row in rows]
    assert [row["text"] for row in found] == [row["text"] for row in rows]


async def test_a_body_without_rows_keeps_its_columns(bridge: Bridge) -> None:
    need_module("xlsxwriter")
    published = await bridge.publish(pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}))
    assert pq.read_table(io.BytesIO((await bridge.get(published, accept=PARQUET)).content)).column_names == ["a", "b"]
    workbook = (await bridge.get(published, accept=XLSX)).content
    calamine = need_module("python_calamine")
    assert calamine.load_workbook(io.BytesIO(workbook)).get_sheet_by_index(0).to_python() == [["a", "b"]]


async def test_compressed_files_are_not_compressed_again(bridge: Bridge) -> None:
    published = await bridge.publish(LARGE)
    assert "content-encoding" not in (await bridge.get(published, accept=PARQUET, accept_encoding="gzip")).headers
    packed = await bridge.get(published, accept=STREAM, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert READERS[STREAM](packed.content) == LARGE


async def test_a_workbook_that_is_too_large_is_refused_before_it_is_sent(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_module("xlsxwriter")
    monkeypatch.setattr(table_answers, "MOST_SHEET_BYTES", 200_000)
    published = await bridge.publish(LARGE, uses=1)
    refused = await bridge.get(published, accept=XLSX)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert "Parquet or CSV" in refused.json()["detail"]
    long = await bridge.get(await bridge.publish([{"a": "x" * 40_000}]), accept=XLSX)
    assert (long.status_code, "40,000 characters in row 0, column 'a'" in long.json()["detail"]) == (413, True)
    assert (await bridge.get_settled(published, accept=PARQUET)).status_code == 200


async def test_no_cell_of_a_workbook_is_a_formula(bridge: Bridge) -> None:
    need_module("xlsxwriter")
    openpyxl = need_module("openpyxl")
    answer = await bridge.get(await bridge.publish([{"=name": "=1+1", "link": "http://example.com"}]), accept=XLSX)
    cells = list(openpyxl.load_workbook(io.BytesIO(answer.content)).active.iter_rows())
    assert [[(cell.value, cell.data_type, cell.hyperlink) for cell in row] for row in cells] == [
        [("=name", "s", None), ("link", "s", None)],
        [("=1+1", "s", None), ("http://example.com", "s", None)],
    ]


async def test_what_a_workbook_cannot_hold_is_counted(bridge: Bridge) -> None:
    need_module("xlsxwriter")
    answer = await bridge.get(await bridge.publish([{"x": float("nan")}, {"x": float("inf")}, {"x": 1}]), accept=XLSX)
    assert answer.headers["bp-lost"] == "2"


@pytest.mark.parametrize("query", ["?csv=safe&format=text/tab-separated-values", "?csv=safe"])
async def test_a_safe_table_holds_no_formula(bridge: Bridge, query: str) -> None:
    answer = await bridge.get(await bridge.publish([{"a": "=1+1", "b": -1}]), query)
    assert answer.text.replace("\t", ",") == "a,b\r\n'=1+1,-1\r\n"


@pytest.mark.parametrize(("media_type", "package"), [(PARQUET, "pyarrow"), (STREAM, "pyarrow"), (XLSX, "XlsxWriter")])
async def test_a_bridge_without_the_package_says_which_one_it_lacks(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, media_type: str, package: str
) -> None:
    monkeypatch.setattr(representation, "is_written", lambda form: form is Format.tsv)
    refused = await bridge.get(await bridge.publish(ROWS), accept=media_type)
    assert refused.status_code == 406
    detail = refused.json()["detail"]
    assert "application/json" in detail and media_type not in detail.partition("lacks")[0]
    assert f"needs {package}: pip install 'broker-plane[files]'" in detail
    assert (await bridge.get(await bridge.publish(b"x"), accept=media_type)).json()["detail"].count("lacks") == 0


async def test_a_reader_that_leaves_a_workbook_leaves_no_file(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need_module("xlsxwriter")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    published = await bridge.publish(LARGE, uses=1)
    with anyio.move_on_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(bridge.get, published, accept=XLSX))
            await until(lambda: list(tmp_path.glob("broker-plane-*/*")), "the sheet is being written", PATIENCE)
            group.cancel_scope.cancel()
    await until(lambda: not list(tmp_path.iterdir()), "the temporary files are gone", PATIENCE)
    assert (await bridge.get_settled(published, accept=TSV)).status_code == 200


async def test_workbooks_are_made_for_a_grant_one_at_a_time_and_the_bridge_answers_meanwhile(bridge: Bridge) -> None:
    need_module("xlsxwriter")
    bridge.others.clear()
    published = await bridge.publish(LARGE[:10_000])
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await bridge.get(published, accept=XLSX))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        while len(answers) < 3:
            assert (await bridge.open("/healthz")).status_code == 200
    assert {answer.content for answer in answers} == {answers[0].content}
