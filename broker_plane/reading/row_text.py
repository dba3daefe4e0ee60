"""Rows as CSV within a budget: what a reader of a table gets. Pure."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

from broker_plane.reading.patterns import LinePattern
from broker_plane.reading.tokens import cut_text
from broker_plane.tabular.csv_cells import cell
from broker_plane.tabular.frame import ABSENT, Frame
from broker_plane.tabular.json_values import json_value
from broker_plane.tabular.pieces import json_pieces
from broker_plane.wire.names import ROW_ID

_BLOCK_CELLS = 32_768
"""Cells that are made into text by one call into C, which takes a few milliseconds."""

_AS_THEY_ARE = frozenset({str, int, type(None)})


class RowText:
    """Collects rows as lines of CSV, with `_row_id` first, up to `most_bytes` with the header.

    With `last` the rows at the end are kept and the ones before them dropped, else it is `full` after the first row
    that does not fit. The first row is kept in any case, cut if necessary.
    """

    def __init__(self, columns: Sequence[str], most_bytes: int, *, last: bool = False) -> None:
        self.full = False
        self.cut = False
        self._columns = columns
        self._header = self._shortened(_csv_line([ROW_ID, *columns]), most_bytes // 2)
        self._room = most_bytes - len(self._header.encode()) - 1
        self._cell_bytes = max(16, self._room // max(1, len(columns)))
        self._last = last
        self._lines: deque[tuple[int, str, int]] = deque()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def first(self) -> int:
        """The `_row_id` of the first row; 0 without rows."""
        return self._lines[0][0] if self._lines else 0

    @property
    def after(self) -> int:
        """The lowest `_row_id` that a row after the last one may have; 0 without rows."""
        return self._lines[-1][0] + 1 if self._lines else 0

    @property
    def text(self) -> str:
        return "\n".join([self._header, *(line for _, line, _ in self._lines)])

    def add(self, frame: Frame, places: Sequence[int] | None = None) -> None:
        """Add the rows of `frame` at `places`, or all of them, until it is full."""
        values = [frame.columns.get(name) for name in self._columns]
        for place in range(len(frame)) if places is None else places:
            if self.full:
                return
            row = [None if column is None else self._cell(column[place]) for column in values]
            self._keep(frame.ids[place], _csv_line([frame.ids[place], *row]))

    def _keep(self, row_id: int, line: str) -> None:
        size = len(line.encode("utf-8", "replace")) + 1
        if self._last:
            self._lines.append((row_id, line, size))
            self._room -= size
            while self._room < 0 and len(self._lines) > 1:
                self._room += self._lines.popleft()[2]
        elif size <= self._room or not self._lines:
            shown = self._shortened(line, self._room)
            self._lines.append((row_id, shown, size))
            self._room -= size
        else:
            self.full = True

    def _cell(self, value: Any) -> Any:
        if value is None or value is ABSENT:
            return None
        if isinstance(value, (list, dict)):
            return self._shortened(_beginning(value, self._cell_bytes), self._cell_bytes)
        shown = cell(value)
        return self._shortened(shown, self._cell_bytes) if isinstance(shown, str) else shown

    def _shortened(self, text: str, most_bytes: int) -> str:
        shown = cut_text(text, most_bytes) if len(text) * 4 > most_bytes else text
        self.cut = self.cut or shown is not text
        return shown


class RowSearch:
    """Finds the rows one of whose lines matches: a row is its values as CSV, without `_row_id` and never cut."""

    def __init__(self, columns: Sequence[str], pattern: LinePattern) -> None:
        self._columns = columns
        self._pattern = pattern

    def places(self, frame: Frame) -> Iterator[int]:
        """The positions of the matching rows, in order."""
        step = max(1, _BLOCK_CELLS // max(1, len(self._columns)))
        for start in range(0, len(frame), step):
            for place in self._found(frame.part(start, start + step)):
                yield start + place

    def _found(self, block: Frame) -> Iterator[int]:
        lines = [line.encode("utf-8", "replace") for line in _searched_lines(block, self._columns)]
        ends = list(accumulate(map(len, lines)))
        text = b"".join(lines)
        start = 0
        while start < len(text) and (found := self._pattern.find(text, start)):
            place = bisect_right(ends, found[0])
            if place >= len(ends):
                return
            yield place
            start = ends[place]


def _searched_lines(block: Frame, columns: Sequence[str]) -> list[str]:
    cells = [_cells(block.columns.get(name) or [None] * len(block)) for name in columns]
    if not cells:
        return ["\n"] * len(block)
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\n").writerows(zip(*cells, strict=True))
    return lines


def _cells(values: list[Any]) -> list[Any]:
    """The fields of a column. Numbers and texts, which are most, need no conversion."""
    kinds = set(map(type, values))
    if kinds <= _AS_THEY_ARE or (kinds == {float} and all(map(math.isfinite, values))):
        return values
    return [None if value is ABSENT else cell(value) for value in values]


def _beginning(value: Any, most_bytes: int) -> str:
    """The JSON of a list or map, or a beginning of it with more than `most_bytes` bytes."""
    pieces: list[bytes] = []
    size = 0
    for piece in json_pieces(json_value(value)):
        pieces.append(piece)
        size += len(piece)
        if size > most_bytes:
            break
    return b"".join(pieces).decode("utf-8", "ignore")


def _csv_line(cells: Sequence[Any]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()[:-1]
