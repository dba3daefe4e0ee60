"""Lines of a text: ranges, the last ones and matches are those of the whole text, however it is cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.reading import line_splitter
from broker_plane.reading.line_splitter import LineSplitter, Stretch
from broker_plane.reading.line_text import LastLines, LineRange, LineSearch, LineText
from broker_plane.reading.patterns import LinePattern
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.rows import RowSet, of_ranges

ALL = of_ranges([(1, MAX_SAFE_INT)])
ROOM = 1 << 20
TEXTS = st.lists(st.text(alphabet="ab é\r", max_size=30), max_size=12).map("\n".join)


@pytest.fixture(autouse=True)
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short texts have lines that are longer than a stretch."""
    monkeypatch.setattr(line_splitter, "STRETCH_BYTES", 16)


def stretches(text: bytes, size: int) -> Iterator[Stretch]:
    splitter = LineSplitter()
    for start in range(0, len(text), size):
        yield from splitter.feed(text[start : start + size])
    yield from splitter.end()


def lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def read(reader: Any, text: str, size: int) -> LineText:
    for stretch in stretches(text.encode(), size):
        reader.add(stretch)
    if isinstance(reader, LastLines):
        reader.finish()
    found: LineText = reader.found
    return found


def shown(lines: list[str]) -> str:
    return "\n".join(line.removesuffix("\r") for line in lines)


@given(TEXTS, st.integers(1, 40))
def test_stretches_are_the_text_and_count_its_lines(text: str, size: int) -> None:
    found = list(stretches(text.encode(), size))
    assert b"".join(stretch.data for stretch in found).decode() == text
    assert sum(stretch.lines for stretch in found) == len(lines_of(text))


@given(TEXTS, st.integers(1, 40), st.integers(1, 14), st.integers(1, 14))
def test_a_range_has_its_lines(text: str, size: int, first: int, count: int) -> None:
    wanted = of_ranges([(first, first + count)])
    found = read(LineRange(wanted, LineText(ROOM)), text, size)
    assert found.text == shown(lines_of(text)[first - 1 : first - 1 + count])
    assert found.first == (first if len(found) else 0)


@given(TEXTS, st.integers(1, 40), st.integers(1, 14))
def test_the_last_lines_are_those_of_the_text(text: str, size: int, count: int) -> None:
    found = read(LastLines(count, LineText(ROOM), ROOM), text, size)
    assert found.text == shown(lines_of(text)[-count:])


@given(TEXTS, st.integers(1, 40), st.sampled_from(["a", "^b", "b$", "a.*b", "é|aa", "^$", "ab?a"]))
def test_a_search_finds_the_lines_that_match(text: str, size: int, pattern: str) -> None:
    text = text.replace("\r", "")
    short = [line for line in lines_of(text) if len(line.encode()) < 16]  # longer ones are searched in parts
    if len(short) < len(lines_of(text)):
        return
    found = read(LineSearch(LinePattern(pattern), ALL, LineText(ROOM, numbered=True)), text, size)
    expected = [f"{number}:{line}" for number, line in enumerate(short, 1) if re.search(pattern, line)]
    assert found.text == "\n".join(expected)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: LineRange(ALL, LineText(40)), ["line 1", "line 2", "line 3", "line 4", "line 5"]),
        (lambda: LastLines(50, LineText(40), 40), ["line 46", "line 47", "line 48", "line 49", "line 50"]),
        (lambda: LineSearch(LinePattern("5"), ALL, LineText(30, numbered=True)), ["5:line 5", "15:line 15"]),
    ],
    ids=["range", "tail", "grep"],
)
def test_a_budget_is_kept(make: Callable[[], Any], expected: list[str]) -> None:
    found = read(make(), "\n".join(f"line {number}" for number in range(1, 51)), 7)
    assert found.text.split("\n") == expected
    assert found.full
    assert len(found.text.encode()) <= 40


def test_a_long_line_is_cut_with_a_mark_and_found_by_a_search() -> None:
    text = f"first\n{'x' * 5_000}needle{'y' * 5_000}\nlast"
    ranged = read(LineRange(of_ranges([(2, 3)]), LineText(2_000)), text, 100)
    assert ranged.text == f"{'x' * 500}…[9,506 more bytes]"
    assert ranged.cut
    tail = read(LastLines(2, LineText(2_000), 2_000), text, 100)
    assert tail.text == f"{'x' * 500}…[9,506 more bytes]\nlast"
    found = read(LineSearch(LinePattern("x?n"), ALL, LineText(2_000, numbered=True)), text, 100)
    assert re.fullmatch(r"2:….*needle.*…", found.text)


def test_lines_end_with_either_line_end_and_a_byte_order_mark_is_no_part_of_the_first() -> None:
    text = "\ufeffalpha\r\nbeta\r\n"
    assert read(LineRange(ALL, LineText(ROOM)), text, 3).text == "alpha\nbeta"
    assert read(LineSearch(LinePattern("^alpha$"), ALL, LineText(ROOM, numbered=True)), text, 100).text == "1:alpha"


def test_bytes_that_are_no_utf_8_are_shown_as_such() -> None:
    reader = LineRange(ALL, LineText(ROOM))
    for stretch in stretches(b"caf\xe9\n\xff", 3):
        reader.add(stretch)
    assert reader.found.text == "caf\ufffd\n\ufffd"


def test_a_range_of_an_empty_set_has_nothing() -> None:
    nothing: RowSet = of_ranges([])
    assert read(LineRange(nothing, LineText(ROOM)), "a\nb", 1).text == ""
