"""The largest table of an HTML page; only on request, because a page is more than its tables. Pure.

The scanner knows tags, comments and quotes, and reads every character a bounded number of times. Python's `html.parser`
takes hours for a megabyte of `<a ` (CPython issue 135462, corrected in later releases).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from html import unescape

from broker_plane.shapes.bounds import MAX_LITERAL_TEXT, fits
from broker_plane.shapes.columnar import distinct
from broker_plane.shapes.table import Found
from broker_plane.wire.bounds import MAX_COLUMNS

_MAX_SPAN = 1_000
_MAX_CELLS = 1_000_000
_MAX_QUOTED = 4_096
"""Maximum distance of the quote that closes an attribute with `>` in it."""

_NAME = re.compile(r"/?[A-Za-z][A-Za-z0-9:-]*")
_SPAN = re.compile(r"""\b(colspan|rowspan)\s*=\s*["']?([0-9]{1,6})\b""", re.IGNORECASE)
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "template", "textarea", "title")}
_CELLS = ("td", "th")
_CELL_ENDS = ("/td", "/th", "/tr")
_BREAKS = ("br", "p", "div", "li", "/p", "/div", "/li")
Cells = list[list[str]]


def table(text: str) -> Found | None:
    """The table with the most cells; its first row has the names of the columns."""
    if len(text) > MAX_LITERAL_TEXT:
        return None
    try:
        tables = _tables(text)
    except _TooManyCellsError:
        return None
    rows = max(tables, key=lambda each: sum(map(len, each)), default=[])
    width = max(map(len, rows), default=0)
    if len(rows) < 2 or not 0 < width <= MAX_COLUMNS or width * len(rows) > _MAX_CELLS:
        return None
    even = [[*row, *[""] * (width - len(row))] for row in rows if row]
    names = distinct(even[0])
    if not fits(names) or len(even) < 2:
        return None
    place = next(number for number, each in enumerate(tables, 1) if each is rows)
    pointer = f" table {place} of {len(tables)}" if len(tables) > 1 else ""
    return Found("html", names, pointer=pointer, cells=dict(zip(names, zip(*even[1:], strict=True), strict=True)))


def _tables(text: str) -> list[Cells]:
    """The cells of every table. Those of a table within a cell belong to the inner table alone."""
    tables: list[Cells] = []
    grids: list[_Grid] = []
    for tag, content in _tokens(text):
        if tag == "table":
            grids.append(_Grid())
            tables.append(grids[-1].rows)
        elif grids:
            if tag == "/table":
                grids.pop().end_cell()
            else:
                grids[-1].take(tag, content)
    for grid in grids:
        grid.end_cell()
    return tables


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Tags with their names in lower case and their attributes; text as a tag without a name."""
    place = 0
    while (start := text.find("<", place)) >= 0:
        if start > place:
            yield "", text[place:start]
        if text.startswith("<!--", start):
            end = text.find("-->", start + 4)
            place = end + 3
        elif (name := _NAME.match(text, start + 1)) is not None:
            end = _tag_end(text, name.end())
            tag, place = name[0].lower(), end + 1
            if end >= 0:
                yield tag, text[name.end() : end]
            if tag in _RAW and end >= 0:
                closing = _RAW[tag].search(text, place)
                end = place = closing.start() if closing else -1
        elif text[start + 1 : start + 2] in ("!", "?", "/"):
            end = text.find(">", start)
            place = end + 1
        else:
            yield "", "<"
            end, place = start, start + 1
        if end < 0:
            return
    yield "", text[place:]


def _tag_end(text: str, start: int) -> int:
    """The place of the `>` that ends a tag, outside of quotes; -1 if there is none."""
    end = text.find(">", start)
    while end >= 0 and (quote := _open_quote(text[start:end])):
        closing = text.find(quote, end, end + _MAX_QUOTED)
        if closing < 0:
            return end
        start, end = closing + 1, text.find(">", closing)
    return end


def _open_quote(attributes: str) -> str:
    """The quote in which a part of a tag ends."""
    quote = ""
    for mark in re.findall("[\"']", attributes):
        quote = "" if mark == quote else quote or mark
    return quote


class _Grid:
    """The rows of one table. A cell that spans several places has its text in each of them."""

    def __init__(self) -> None:
        self.rows: Cells = []
        self._parts: list[str] | None = None
        self._spans = (1, 1)
        self._below: dict[int, tuple[int, str]] = {}
        """By column: the number of rows below that a cell spans, and its text."""
        self._size = 0

    def take(self, tag: str, content: str) -> None:
        """A tag within the table, or text."""
        if not tag or tag in _BREAKS:
            if self._parts is not None:
                self._parts.append(content if not tag else " ")
        elif tag in _CELLS:
            self.end_cell()
            if not self.rows:
                self.rows.append([])
            spans = {name.lower(): min(max(int(digits), 1), _MAX_SPAN) for name, digits in _SPAN.findall(content)}
            self._parts, self._spans = [], (spans.get("colspan", 1), spans.get("rowspan", 1))
        elif tag == "tr":
            self.end_cell()
            self.rows.append([])
            self._fill()
        elif tag in _CELL_ENDS:
            self.end_cell()

    def end_cell(self) -> None:
        if self._parts is None:
            return
        text, self._parts = " ".join(_unescaped("".join(self._parts)).split()), None
        columns, rows = self._spans
        for _ in range(columns):
            self._add(rows, text)
        self._fill()

    def _fill(self) -> None:
        """Add the cells of rows above that span into this row."""
        while (above := self._below.pop(len(self.rows[-1]), None)) is not None:
            self._add(*above)

    def _add(self, rows: int, text: str) -> None:
        row = self.rows[-1]
        if rows > 1:
            self._below[len(row)] = (rows - 1, text)
        self._size += 1
        if self._size > _MAX_CELLS:
            raise _TooManyCellsError
        row.append(text)


class _TooManyCellsError(Exception):
    """A few bytes of HTML span any number of cells."""


def _unescaped(text: str) -> str:
    with suppress(ValueError):  # a reference by more digits than an integer has
        return unescape(text)
    return text
