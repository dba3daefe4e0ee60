"""A Markdown table (GitHub Flavored Markdown) that is the whole text. Pure."""

from __future__ import annotations

import re

from broker_plane.shapes.bounds import MAX_ROWS, MAX_VALUES, fits
from broker_plane.shapes.columnar import distinct
from broker_plane.shapes.table import Found
from broker_plane.wire.bounds import MAX_COLUMNS

_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_BAR = re.compile(r"(?<!\\)\|")


def table(text: str) -> Found | None:
    """A header, a line of dashes, and rows of as many cells, all in one block."""
    lines = _block(text)
    if len(lines) < 3 or len(lines) > MAX_ROWS or text.count("|") > MAX_VALUES:
        return None
    rule = lines[1].strip()
    if "|" not in rule or "-" not in rule or not _RULE.fullmatch(rule):
        return None
    cells = [_cells(line) for line in lines]
    width = len(cells[0])
    if width > MAX_COLUMNS or set(map(len, cells)) != {width} or not fits(names := distinct(cells[0])):
        return None
    return Found("markdown", names, cells=dict(zip(names, zip(*cells[2:], strict=True), strict=True)))


def _block(text: str) -> list[str]:
    """The lines between the blank lines at both ends; none if a line has no bar."""
    if "|" not in text[: 1 << 16]:
        return []
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines if all("|" in line for line in lines) else []


def _cells(line: str) -> list[str]:
    line = line.strip()
    parts = [part.strip().replace("\\|", "|") for part in _BAR.split(line)]
    first = 1 if line.startswith("|") else 0
    last = -1 if len(parts) > 1 and not parts[-1] and line.endswith("|") else None
    return parts[first:last]
