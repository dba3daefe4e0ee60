"""Rows into a workbook and out of one: what a cell can hold is exact, and the rest is what docs/files.md says."""

from __future__ import annotations

import io
import math
import zipfile
from contextlib import closing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import TabularError, TooLargeError
from broker_plane.formats.messages import END, HEAD, ROWS, packed_message, read_messages
from broker_plane.formats.workbook_cells import CellKind, cell_of
from broker_plane.formats.workbook_reader import read_workbook
from broker_plane.formats.workbook_writer import WorkbookWriter
from broker_plane.tabular.csv_cells import cell as csv_cell
from broker_plane.tabular.frame import ABSENT, frame_of
from broker_plane.tabular.types import unpack
from tests.examples import examples
from tests.tools import need_module
from tests.unit.formats.columns import COLUMNS, draws


@pytest.fixture(autouse=True)
def libraries() -> None:
    need_module("xlsxwriter")
    need_module("python_calamine")


def workbook(rows: list[dict[str, Any]], columns: list[str], **options: Any) -> bytes:
    with closing(WorkbookWriter(columns, created=1_767_225_600, **options)) as writer:
        for start in range(0, len(rows), 4):
            for block in writer.blocks(frame_of(rows[start : start + 4], start)):
                writer.write(block)
        return writer.end().read()


def read(raw: bytes, sheet: str = "") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head and the rows of what the reading process would send."""
    sent = io.BytesIO(b"".join([*read_workbook(io.BytesIO(raw), sheet), packed_message(END)]))
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for kind, content in read_messages(sent.read):
        if kind == HEAD:
            head = unpack(content)
        elif kind == ROWS:
            rows += [dict(zip(head["columns"], line, strict=True)) for line in zip(*unpack(content), strict=True)]
    return head, rows


def as_cell(value: Any) -> Any:
    """What a value is after it was in a workbook, one cell by itself."""
    match value:
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "replace").decode() or None
        case int():
            return value if abs(value) <= 2**53 else str(value)
        case float():
            return float(f"{value:.16G}") if math.isfinite(value) else None
        case Decimal():
            few = value.is_finite() and len(value.as_tuple().digits) <= 15
            return float(value) if few else str(value)
        case datetime():
            if value.tzinfo is not None or value < datetime(1900, 3, 1):
                return value.isoformat()
            return value.replace(microsecond=value.microsecond // 1000 * 1000)
        case date():
            return value if value >= date(1900, 3, 1) else value.isoformat()
        case time():
            return value.replace(microsecond=value.microsecond // 1000 * 1000)
        case timedelta():
            if not timedelta() <= value <= timedelta(days=2_958_465):
                return csv_cell(value)
            return value - timedelta(microseconds=value.microseconds % 1000)
        case _:
            return csv_cell(value) or None


def as_column(values: list[Any]) -> list[Any]:
    """The types of a column: ints if all numbers are whole, datetimes if any is."""
    cells = list(map(as_cell, values))
    numbers = [cell for cell in cells if type(cell) in (int, float)]
    whole = all(float(cell).is_integer() and abs(cell) <= 2**53 and repr(cell) != "-0.0" for cell in numbers)
    timed = any(isinstance(cell, datetime) and cell.time() != time() for cell in cells)
    return [_typed(cell, whole, timed) for cell in cells]


def _typed(cell: Any, whole: bool, timed: bool) -> Any:
    if type(cell) in (int, float):
        return int(cell) if whole else float(cell)
    if isinstance(cell, datetime) and not timed:
        return cell.date()
    if type(cell) is date and timed:
        return datetime.combine(cell, time())
    return cell


EXACT = [name for name in COLUMNS if name not in ("half a surrogate", "Decimal")]


@pytest.mark.parametrize("name", EXACT)
def test_a_column_comes_back_as_the_page_says(name: str) -> None:
    @settings(max_examples=examples(0.12), database=None)
    @given(draws(name))
    def check(values: list[Any]) -> None:
        rows = [{"id": place, "c": value} for place, value in enumerate(values)]
        head, found = read(workbook(rows, ["id", "c"]))
        expected = as_column(values)
        assert head["columns"] == ["id", "c"]
        got = [row["c"] for row in found]
        assert [(type(value), repr(value)) for value in got] == [(type(value), repr(value)) for value in expected]

    check()


ODD = st.text(st.characters(exclude_characters="\ufffe\uffff", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=examples(0.2), database=None)
@given(st.lists(ODD | st.sampled_from(["=1+1", "+1", "@x", "_x0041_", " a ", "\r\n", "007", "http://x.y", "1/2"])))
def test_a_text_stays_that_text(texts: list[str]) -> None:
    _, rows = read(workbook([{"id": 0, "t": text} for text in texts], ["id", "t"]))
    assert [row["t"] for row in rows] == [text or None for text in texts]


def test_equal_rows_give_equal_bytes_without_a_trace_of_this_machine() -> None:
    rows = [{"a": 1, "b": "x"}]
    one, other = workbook(rows, ["a", "b"]), workbook(rows, ["a", "b"])
    assert one == other
    with zipfile.ZipFile(io.BytesIO(one)) as parts:
        assert b"2026-01-01T00:00:00Z" in parts.read("docProps/core.xml")


def test_a_header_without_rows_and_columns_without_values_stay() -> None:
    assert read(workbook([], ["a", "b"])) == (
        {"columns": ["a", "b"], "rows": 0, "sheet": "Sheet1", "sheets": ["Sheet1"]},
        [],
    )
    _, rows = read(workbook([{"a": 1}, {"a": 2}], ["a", "never"]))
    assert rows == [{"a": 1, "never": None}, {"a": 2, "never": None}]


def test_nothing_is_cut_silently() -> None:
    assert cell_of(float("nan")).lost and cell_of(-math.inf).lost
    assert cell_of(datetime(2026, 1, 2, 3, 4, 5, 1)).rounded and not cell_of(datetime(2026, 1, 2)).rounded
    assert cell_of(ABSENT).kind is cell_of(None).kind is CellKind.empty
    for text in ("x" * 32_768, "\U0001f600" * 16_384):
        with pytest.raises(TooLargeError, match="characters in row 0, column 'a'"):
            workbook([{"a": text}], ["a"])
    with pytest.raises(TooLargeError, match="the name of a column"):
        workbook([], ["x" * 40_000])
    with pytest.raises(TooLargeError, match="16385 columns"):
        workbook([], [f"c{place}" for place in range(16_385)])
    with pytest.raises(TooLargeError, match="1 MiB as a sheet"):
        workbook([{"a": "x" * 10_000}] * 300, ["a"], most_bytes=1 << 20)


def made(**sheets: list[list[Any]]) -> bytes:
    """A workbook of another program, with these cells."""
    openpyxl = need_module("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_sheet_is_chosen_by_name_and_the_first_is_the_default() -> None:
    raw = made(Orders=[["id"], [1]], People=[["name"], ["Ann"]])
    assert read(raw) == ({"columns": ["id"], "rows": 1, "sheet": "Orders", "sheets": ["Orders", "People"]}, [{"id": 1}])
    assert read(raw, "People")[1] == [{"name": "Ann"}]
    with pytest.raises(TabularError, match="no sheet 'Nobody'; it has 'Orders', 'People'"):
        read(raw, "Nobody")


LAYOUTS: list[tuple[list[list[Any]], list[dict[str, Any]]]] = [
    ([["a", "b"], [1, 2.5], [None, 3]], [{"a": 1, "b": 2.5}, {"a": None, "b": 3.0}]),
    ([["a", None, "c"], [1, None, "x"]], [{"a": 1, "c": "x"}]),
    ([[None, "a"], ["r1", 1]], [{"": "r1", "a": 1}]),
    ([[2024, 2025.5, True, date(2026, 1, 2)], [1, 2, 3, 4]], [{"2024": 1, "2025.5": 2, "true": 3, "2026-01-02": 4}]),
    ([["a"], ["007"], [7]], [{"a": "007"}, {"a": 7}]),
    (
        [["at"], [datetime(2026, 1, 2)], [datetime(2026, 1, 2, 3)]],
        [{"at": datetime(2026, 1, 2)}, {"at": datetime(2026, 1, 2, 3)}],
    ),
    ([[], [None, "a"], [None, 1]], [{"a": 1}]),
    ([["e"], ["#N/A"], ["x"]], [{"e": None}, {"e": "x"}]),
    ([["f"], ["=1+1"], ["x"]], [{"f": None}, {"f": "x"}]),
    ([], []),
]


@pytest.mark.parametrize(("lines", "rows"), LAYOUTS, ids=range(len(LAYOUTS)))
def test_sheets_of_other_programs_are_tables(lines: list[list[Any]], rows: list[dict[str, Any]]) -> None:
    assert read(made(Sheet=lines))[1] == rows


@pytest.mark.parametrize(
    ("lines", "says"),
    [([["a", "a"], [1, 2]], r"called 'a' \(columns 1, 2\)"), ([[None, None, "a"], [1, 2, 3]], "has no name")],
)
def test_columns_of_one_name_are_an_error(lines: list[list[Any]], says: str) -> None:
    with pytest.raises(TabularError, match=says):
        read(made(Sheet=lines))
