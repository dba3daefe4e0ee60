"""Rows as text: ranges of rows, the budget, and the search over values."""

from __future__ import annotations

import csv
import re
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import SelectorError
from broker_plane.reading.patterns import LinePattern
from broker_plane.reading.row_ranges import (
    before_number,
    first_ids,
    from_number,
    ids_at,
    parse_row_ranges,
    shown_ranges,
)
from broker_plane.reading.row_text import RowSearch, RowText
from broker_plane.tabular.frame import frame_of
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.rows import of_ids

IDS = st.sets(st.integers(0, 60), max_size=25)
ROWS = [{"n": n, "name": f"name {n}", "when": date(2026, 1, 1 + n % 28), "more": {"x": [n]}} for n in range(400)]


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("5", [(5, 6)]),
        ("10-20", [(10, 21)]),
        (" 3, 7 ,8", [(3, 4), (7, 9)]),
        ("30-", [(30, MAX_SAFE_INT)]),
        ("2-3,10 - ", [(2, 4), (10, MAX_SAFE_INT)]),
    ],
)
def test_ranges_are_read_and_written(text: str, ranges: list[tuple[int, int]]) -> None:
    found = parse_row_ranges(text)
    assert list(found.ranges()) == ranges
    assert parse_row_ranges(shown_ranges(found)) == found


@pytest.mark.parametrize("text", ["", ",", "a", "-5", "5-3", "1.5", "1-2-3", "1;2", "9" * 16])
def test_what_is_no_range_is_an_error(text: str) -> None:
    with pytest.raises(SelectorError, match="rows are numbers"):
        parse_row_ranges(text)


@given(IDS, IDS, st.integers(0, 30), st.integers(0, 30))
def test_ids_are_those_of_the_sets(visible: set[int], wanted: set[int], start: int, stop: int) -> None:
    shown = sorted(visible)
    assert list(ids_at(of_ids(visible), start, stop)) == shown[start:stop]
    assert list(first_ids(of_ids(visible), of_ids(wanted), stop)) == sorted(visible & wanted)[:stop]
    assert list(from_number(of_ids(visible), start)) == [each for each in shown if each >= start]
    assert list(before_number(of_ids(visible), start)) == [each for each in shown if each < start]


def text_of(most_bytes: int, rows: list[dict[str, Any]], columns: list[str], **options: Any) -> RowText:
    text = RowText(columns, most_bytes, **options)
    text.add(frame_of(rows, 0))
    return text


def test_rows_are_csv_with_their_ids() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 'say "hi", you', "b": None},
        {"b": Decimal("1.50")},
        {"a": True, "b": {"x": [1]}},
        {"a": "two\nlines"},
    ]
    text = text_of(10_000, rows, ["a", "b"]).text
    assert list(csv.reader(StringIO(text))) == [
        ["_row_id", "a", "b"],
        ["0", 'say "hi", you', ""],
        ["1", "", "1.50"],
        ["2", "true", '{"x":[1]}'],
        ["3", "two\nlines", ""],
    ]


@pytest.mark.parametrize("most", [60, 200, 1_000, 4_000])
def test_a_budget_is_kept_and_says_where_it_ended(most: int) -> None:
    first = text_of(most, ROWS, ["n", "name", "more"])
    assert len(first.text.encode()) <= most
    assert first.full
    assert f"{first.after - 1},{first.after - 1},name" in first.text.splitlines()[-1]
    last = text_of(most, ROWS, ["n", "name"], last=True)
    assert len(last.text.encode()) <= most
    assert (last.first, last.after) == (400 - len(last), 400)


def test_large_values_are_cut_with_a_mark_and_a_row_always_fits() -> None:
    rows: list[dict[str, Any]] = [{"a": "é" * 100_000, "b": list(range(100_000)), "c": 1}] * 3
    text = text_of(2_000, rows, ["a", "b", "c"])
    assert (len(text), text.cut) == (1, True)
    assert re.search(r"…\[[\d,]+ more bytes\]", text.text)
    assert len(text.text.encode()) < 2_200  # the marks
    wide = text_of(2_000, [{f"column {n}": n for n in range(5_000)}], [f"column {n}" for n in range(5_000)])
    assert len(wide.text.encode()) < 2_200
    assert wide.cut


TEXTS = st.sampled_from(["a", "ab", 'q"', "x\ny", "é"])
VALUES = st.none() | st.booleans() | st.integers(-5, 50) | st.floats(-2, 2) | TEXTS
TABLES = st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), max_size=30)
PATTERNS = st.sampled_from(["a", "1", "^a", "b$", "é", "true,", '""', "^,"])


@given(TABLES, PATTERNS)
def test_a_search_finds_the_rows_one_of_whose_lines_matches(rows: list[dict[str, Any]], pattern: str) -> None:
    whole = text_of(1 << 20, rows, ["a", "b"])
    assert not whole.cut
    shown = [line for _, line, _ in whole._lines]
    expected = [place for place, line in enumerate(shown) if re.search(pattern, line.partition(",")[2], re.MULTILINE)]
    assert list(RowSearch(["a", "b"], LinePattern(pattern)).places(frame_of(rows, 0))) == expected


def test_a_search_spans_the_values_of_a_row_and_not_two_rows() -> None:
    frame = frame_of(ROWS, 0)
    assert list(RowSearch(["n", "name"], LinePattern("^7,name 7$")).places(frame)) == [7]
    assert list(RowSearch(["name"], LinePattern("name 7.name 8")).places(frame)) == []
    assert list(RowSearch(["n"], LinePattern("name")).places(frame)) == []
    assert list(RowSearch(["when", "more"], LinePattern("2026-01-02.*199|:.3.}")).places(frame)) == [3]
