"""CSV (RFC 4180) and TSV as text, found only with strong evidence: prose, code and logs have separators as well. Pure.

Evidence is a header of names, two rows or more, the same number of fields in every line, and a column whose values look
unlike its name: numbers, dates, or at least other characters.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from broker_plane.errors import TabularError
from broker_plane.shapes.bounds import MAX_ROWS, MAX_VALUES, fits
from broker_plane.shapes.table import Found
from broker_plane.tabular.csv_types import MAX_CELL, ColumnType
from broker_plane.wire.bounds import MAX_COLUMNS
from broker_plane.wire.column_names import repeated_name

MARKS = {"csv": ",", "tsv": "\t"}
_LEAST_ROWS = 2
_HEAD = 1 << 16
_SAMPLE_ROWS = 200
_NAME = re.compile(r"""(?=[^\W\d])[^\s"'`;,{}<>=|\\!?@]+(?: [^\s"'`;,{}<>=|\\!?@]+){0,5}""")
_MAX_NAME = 80
_NULLS = frozenset({"null", "none", "nil", "nan", "na", "n/a"})
"""What stands for an absent value, and is no name, in lower case."""
_CLASSES = tuple(map(re.compile, (r"[a-z]", r"[A-Z]", r"[0-9]", r"[@:/\\.+]", r"\s")))
_MOST = 0.8
"""The share of a column's values that have to look unlike its name."""

Lines = list[list[str]]


def sniffed(text: str) -> Found | None:
    """The table of a text that is CSV or TSV beyond doubt."""
    for kind, mark in MARKS.items():
        if mark in text[:_HEAD] and _bounded(text, mark) and _is_likely(text, mark):
            return _whole(text, kind, mark)
    return None


def declared(text: str, kind: str) -> Found:
    """The table of a text of which its user says that it is CSV or TSV; semicolons separate as well.

    Raises:
        TabularError: why it is not; the rules are those of CSV files on the command line.
    """
    mark = MARKS[kind]
    if not _bounded(text, mark):
        raise TabularError(f"it has more than {MAX_ROWS} rows or {MAX_VALUES} values")
    head = text[:_HEAD].partition("\n")[0]
    if kind == "csv" and head.count(";") > head.count(","):
        mark = ";"
    lines = [line for line in _parsed(text, mark) if line]
    if not lines:
        raise TabularError("it has no header")
    names, width = lines[0], len(lines[0])
    if not fits(names):
        raise TabularError(f"it has more than {MAX_COLUMNS} columns, or their names are too long")
    twice = repeated_name(names)
    if twice is not None:
        raise TabularError(f"more than one column is called {twice!r}" if twice else "more than one column has no name")
    long = next((place for place, line in enumerate(lines, 1) if len(line) > width), 0)
    if long:
        raise TabularError(f"row {long} has {len(lines[long - 1])} fields, but the header has {width}")
    cells: list[list[str | None]] = [[*line, *[None] * (width - len(line))] for line in lines[1:]]
    return _found(kind, names, cells)


def _bounded(text: str, mark: str) -> bool:
    lines = text.count("\n") + text.count("\r")
    return lines <= MAX_ROWS and text.count(mark) + lines <= MAX_VALUES


def _is_likely(text: str, mark: str) -> bool:
    """Whether the beginning of a text is that of a table."""
    length = _HEAD
    lines = _beginning(text, mark, length)
    while len(lines) <= _LEAST_ROWS and length < len(text):
        length *= 8
        lines = _beginning(text, mark, length)
    return len(lines) > _LEAST_ROWS and _is_even(lines) and _is_header(lines[0], lines[1:])


def _beginning(text: str, mark: str, length: int) -> Lines:
    """The first lines of a text, of which `length` characters are read; not the last one if it may be cut."""
    lines: Lines = []
    try:
        for line in islice(_reader(text[:length], mark), _SAMPLE_ROWS + 1):
            lines.append(line)  # those before an error are kept
    except csv.Error:
        return lines if length < len(text) else []
    if length < len(text) and len(lines) <= _SAMPLE_ROWS:
        return lines[:-1]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _is_even(lines: Lines) -> bool:
    return len(lines[0]) > 1 and set(map(len, lines)) == {len(lines[0])}


def _is_header(names: Sequence[str], lines: Lines) -> bool:
    if len(set(names)) < len(names) or not all(map(_is_name, names)) or not fits(list(names)):
        return False
    columns = list(zip(*lines, strict=True))
    if any(_is_typed([name]) or name.lower() in _NULLS for name in names):
        return False
    return any(_is_typed(texts) for texts in columns) or _differs(names, columns)


def _is_name(name: str) -> bool:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        return False
    return name.count("(") == name.count(")") and name.count("[") == name.count("]")


def _is_typed(texts: Sequence[str]) -> bool:
    kind = ColumnType()
    kind.see(texts)
    return not kind.decided and any(texts)


def _differs(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether texts look unlike their names in one column at least, and no name looks like a value.

    `alice,Paris` is a row: of names, all begin with a capital or none does. So is `A<tab>Makefile`, a line of
    `git diff --name-status`: a letter is no name of a column of letters.
    """
    if len({name[0].isupper() for name in names}) > 1:
        return False
    unlike = False
    for name, texts in zip(names, columns, strict=True):
        filled = [text for text in texts if text]
        if name in filled or (len(name) == 1 and any(len(text) == 1 for text in filled)):
            return False
        for kind in _CLASSES:
            share = sum(map(bool, map(kind.search, filled)))
            if share >= _MOST * len(filled) and filled:
                in_name = bool(kind.search(name))
                if in_name and kind is _CLASSES[2]:
                    return False
                unlike = unlike or not in_name
    return unlike and not any(text[:1].isspace() for texts in columns for text in texts)


def _whole(text: str, kind: str, mark: str) -> Found | None:
    try:
        lines = list(_parsed(text, mark))
    except TabularError:
        return None
    while lines and not lines[-1]:
        lines.pop()
    return _found(kind, lines[0], lines[1:]) if _is_even(lines) else None


def _found(kind: str, names: Sequence[str], lines: Sequence[Sequence[str | None]]) -> Found:
    columns = zip(*lines, strict=True) if lines else ([] for _ in names)
    return Found(kind, list(names), cells=dict(zip(names, columns, strict=True)))


def _parsed(text: str, mark: str) -> Lines:
    try:
        return list(_reader(text, mark))
    except csv.Error as error:
        raise TabularError(f"it cannot be parsed: {error}") from error


def _reader(text: str, mark: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_CELL)
    return csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
