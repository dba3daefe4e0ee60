"""The largest table of an HTML page; only on request, because a page is more than its tables. Pure."""

from __future__ import annotations

from html.parser import HTMLParser

from broker_plane.shapes.bounds import MAX_LITERAL_TEXT, fits
from broker_plane.shapes.columnar import distinct
from broker_plane.shapes.table import Found
from broker_plane.tabular.frame import Frame
from broker_plane.wire.bounds import MAX_COLUMNS

_MAX_SPAN = 1_000
_MAX_CELLS = 2_000_000
_CELLS = ("td", "th")
_SKIPPED = ("script", "style", "template")
_BREAKS = ("br", "p", "div", "li")


def table(text: str) -> Found | None:
    """The table with the most cells. Its first row with `th`, else its first row, has the names of the columns."""
    if len(text) > MAX_LITERAL_TEXT:
        return None
    parser = _Tables()
    parser.feed(text)
    parser.close()
    tables = [rows for rows in parser.tables if len(rows) > 1]
    if not tables:
        return None
    rows = max(tables, key=lambda each: sum(map(len, each)))
    width = max(map(len, rows))
    if width > MAX_COLUMNS or width * len(rows) > _MAX_CELLS:
        return None
    even = [[*row, *[""] * (width - len(row))] for row in rows]
    names = distinct(even[0])
    if not fits(names):
        return None
    columns = {name: list(values) for name, values in zip(names, zip(*even[1:], strict=True), strict=True)}
    place = f"table {parser.tables.index(rows) + 1} of {len(parser.tables)}" if len(parser.tables) > 1 else ""
    return Found("html", names, Frame(columns, range(len(even) - 1)).rows(), place and f" {place}", cells=True)


class _Tables(HTMLParser):
    """Collects the cells of all tables. Those of a table within a cell belong to their own table alone."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[list[str]]] = []
        self._open: list[_Grid] = []
        self._skipped = 0
        self._cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skipped += 1
        elif tag == "table":
            grid = _Grid()
            self._open.append(grid)
            self.tables.append(grid.rows)
        elif self._open and tag == "tr":
            self._open[-1].begin_row()
        elif self._open and tag in _CELLS:
            self._cells += 1
            spans = dict(attrs)
            self._open[-1].begin_cell(_span(spans.get("colspan")), _span(spans.get("rowspan")))
        elif self._open and tag in _BREAKS:
            self._open[-1].add(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._skipped = max(0, self._skipped - 1)
        elif tag == "table" and self._open:
            self._open.pop().end_cell()
        elif tag in (*_CELLS, "tr") and self._open:
            self._open[-1].end_cell()

    def handle_data(self, data: str) -> None:
        if self._open and not self._skipped:
            self._open[-1].add(data)


class _Grid:
    """The rows of one table. A cell that spans several places has its text in each of them."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._parts: list[str] | None = None
        self._spans = (1, 1)
        self._below: dict[int, tuple[int, str]] = {}
        """By column: the rows that a cell above still spans, and its text."""
        self._size = 0

    def begin_row(self) -> None:
        self.end_cell()
        self.rows.append([])
        self._fill()

    def begin_cell(self, columns: int, rows: int) -> None:
        self.end_cell()
        if not self.rows:
            self.rows.append([])
        self._parts, self._spans = [], (columns, rows)

    def add(self, text: str) -> None:
        if self._parts is not None:
            self._parts.append(text)

    def end_cell(self) -> None:
        if self._parts is None:
            return
        text, self._parts = " ".join("".join(self._parts).split()), None
        columns, rows = self._spans
        row = self.rows[-1]
        for _ in range(columns):
            if self._size >= _MAX_CELLS:
                return
            if rows > 1:
                self._below[len(row)] = (rows - 1, text)
            self._size += 1
            row.append(text)
        self._fill()

    def _fill(self) -> None:
        """Cells of the rows above that span into this row."""
        row = self.rows[-1]
        while self._size < _MAX_CELLS and (above := self._below.pop(len(row), None)) is not None:
            rows, text = above
            if rows > 1:
                self._below[len(row)] = (rows - 1, text)
            self._size += 1
            row.append(text)


def _span(text: str | None) -> int:
    return min(max(int(text), 1), _MAX_SPAN) if text and text.isascii() and text.isdigit() and len(text) < 7 else 1
