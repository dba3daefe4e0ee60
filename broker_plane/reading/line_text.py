"""Lines of a text within a budget: a range of them, the last ones, or those that match a pattern. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from broker_plane.reading.line_splitter import Stretch
from broker_plane.reading.patterns import LinePattern
from broker_plane.reading.tokens import cut_text
from broker_plane.wire.rows import RowSet

_AROUND = 200
"""Bytes on each side of a match that are shown of a long line."""

_LONG_LINE_SHARE = 4
"""A line gets at most this part of the budget if it is not the only one."""


class LineText:
    """Lines with their numbers, up to `most_bytes`; `full` after the first one that does not fit.

    The first line is kept in any case. A long line is cut, with a mark.
    """

    def __init__(self, most_bytes: int, *, numbered: bool = False) -> None:
        self.full = False
        self.cut = False
        self.most_line = max(_AROUND, most_bytes // _LONG_LINE_SHARE)
        self._room = most_bytes
        self._numbered = numbered
        self._lines: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def first(self) -> int:
        """The number of the first line; 0 without lines."""
        return self._lines[0][0] if self._lines else 0

    @property
    def after(self) -> int:
        return self._lines[-1][0] + 1 if self._lines else 0

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self._lines)

    @property
    def size(self) -> int:
        """Bytes of the lines."""
        return sum(len(line.encode()) + 1 for _, line in self._lines)

    def add(self, number: int, line: bytes, missing: int = 0) -> None:
        """Add a line; `line` may be the beginning of one that has `missing` more bytes."""
        self.add_shown(number, self.shown(line, missing))

    def shown(self, line: bytes, missing: int = 0) -> str:
        """The line as text: without its end, and cut if it is long."""
        if not missing:
            line = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(line) <= self.most_line and not missing:
            return line.decode("utf-8", "replace")
        self.cut = True
        kept = line[: self.most_line].decode("utf-8", "ignore")
        return f"{kept}…[{len(line) - len(kept.encode()) + missing:,} more bytes]"

    def add_shown(self, number: int, text: str) -> None:
        """Add a line that is shown as `text`."""
        shown = f"{number}:{text}" if self._numbered else text
        size = len(shown.encode()) + 1
        if size > self._room and self._lines:
            self.full = True
            return
        if size > self._room:
            shown, self.cut = cut_text(shown, self._room), True
        self._lines.append((number, shown))
        self._room -= size

    def prepend_while_room(self, lines: Iterator[tuple[int, str]]) -> None:
        """Add lines before the first one, from the last to the first, until one does not fit."""
        for number, text in lines:
            size = len(text.encode()) + 1
            if size > self._room and self._lines:
                self.full = True
                break
            self._lines.append((number, text))
            self._room -= size
        self._lines.reverse()


class _LongLine:
    """A line that arrives in parts: its beginning, and how many bytes are missing there."""

    def __init__(self, most_bytes: int) -> None:
        self.beginning = b""
        self._most_bytes = most_bytes
        self._missing = 0
        self._end = 0

    @property
    def missing(self) -> int:
        """Bytes after the beginning, without the line's end."""
        return max(0, self._missing - self._end)

    def add(self, data: bytes) -> None:
        """Take the next part."""
        kept = data[: self._most_bytes - len(self.beginning)]
        self.beginning += kept
        self._missing += len(data) - len(kept)
        self._end = 2 if data.endswith(b"\r\n") else int(data.endswith(b"\n"))


class LineRange:
    """Puts the lines with the `wanted` numbers, from 1 on, into `found`.

    It is `done` once it has seen the line after the last one of them, so that it is known whether there is one.
    """

    def __init__(self, wanted: RowSet, found: LineText) -> None:
        self.found = found
        self.seen = 0
        """Lines that have ended."""
        self._wanted = wanted
        self._last = wanted.stops[-1] if wanted.stops else 0
        self._long = _LongLine(0)

    @property
    def done(self) -> bool:
        return self.found.full or self.seen >= self._last

    def add(self, stretch: Stretch) -> None:
        """Look at the next lines."""
        if stretch.opens and stretch.closes:
            if self._wanted.overlaps(self.seen + 1, self.seen + 1 + stretch.lines):
                self._whole_lines(stretch)
            self.seen += stretch.lines
            return
        if stretch.opens:
            self._long = _LongLine(self.found.most_line)
        self._long.add(stretch.data)
        if stretch.closes:
            self.seen += 1
            if self.seen in self._wanted:
                self.found.add(self.seen, self._long.beginning, self._long.missing)

    def _whole_lines(self, stretch: Stretch) -> None:
        for number, line in numbered_lines(stretch.data, self.seen + 1):
            if self.found.full or number >= self._last:
                return
            if number in self._wanted:
                self.found.add(number, line)


@dataclass(slots=True)
class _Kept:
    """Whole lines from `number` on, or one long line."""

    number: int
    lines: int
    data: bytes = b""
    long: _LongLine | None = None

    @property
    def size(self) -> int:
        return len(self.data if self.long is None else self.long.beginning)


class LastLines:
    """The last `count` lines that fit into `found`."""

    done = False

    def __init__(self, count: int, found: LineText, most_bytes: int) -> None:
        self.found = found
        self.seen = 0
        self._count = count
        self._most_bytes = most_bytes
        self._kept: deque[_Kept] = deque()

    def add(self, stretch: Stretch) -> None:
        """Keep the next lines, and drop those that are not among the last ones any more."""
        if stretch.opens and stretch.closes:
            self._kept.append(_Kept(self.seen + 1, stretch.lines, stretch.data))
        else:
            if stretch.opens:
                self._kept.append(_Kept(self.seen + 1, 1, long=_LongLine(self.found.most_line)))
            line = self._kept[-1].long
            assert line is not None  # noqa: S101  # only a long line has a stretch that does not open it
            line.add(stretch.data)
        self.seen += stretch.lines
        while self._others_suffice():
            self._kept.popleft()

    def finish(self) -> None:
        """Fill `found`, once the text has ended."""
        lines = list(self._tail())[-self._count :]
        self.found.prepend_while_room((number, self.found.shown(line, more)) for number, line, more in lines[::-1])

    def _others_suffice(self) -> bool:
        """Whether the oldest lines are not needed. There are few: each has a stretch, or is a long line."""
        others = list(self._kept)[1:]
        size, lines = sum(kept.size for kept in others), sum(kept.lines for kept in others)
        return bool(others) and (size >= self._most_bytes or lines >= self._count)

    def _tail(self) -> Iterator[tuple[int, bytes, int]]:
        for kept in self._kept:
            if kept.long is not None:
                yield kept.number, kept.long.beginning, kept.long.missing
            else:
                yield from ((number, line, 0) for number, line in numbered_lines(kept.data, kept.number))


class LineSearch:
    """Puts the lines that match, among the `wanted` ones, into `found`.

    A line of more than 1 MiB is searched in parts of 1 MiB.
    """

    def __init__(self, pattern: LinePattern, wanted: RowSet, found: LineText) -> None:
        self.found = found
        self.seen = 0
        self._pattern = pattern
        self._wanted = wanted
        self._last = wanted.stops[-1] if wanted.stops else 0
        self._hit = False

    @property
    def done(self) -> bool:
        return self.found.full or self.seen + 1 >= self._last

    def add(self, stretch: Stretch) -> None:
        """Search the next lines."""
        data = stretch.data.replace(b"\r\n", b"\n")
        if stretch.opens and stretch.closes:
            self._search(data)
            self.seen += stretch.lines
            return
        self._hit = self._hit and not stretch.opens
        found = None if self._hit or self.seen + 1 not in self._wanted else self._pattern.find(data)
        if found is not None:
            self._hit = True
            self.found.add_shown(self.seen + 1, self._excerpt(data, *found, whole=False))
        self.seen += stretch.closes

    def _search(self, data: bytes) -> None:
        start, number = 0, self.seen + 1
        while start < len(data) and not self.found.full and (found := self._pattern.find(data, start)):
            begin = data.rfind(b"\n", 0, found[0]) + 1
            end = data.find(b"\n", found[0])
            end = len(data) if end < 0 else end
            if begin == len(data):
                return  # an empty match after the last line
            number += data.count(b"\n", start, begin)
            if number >= self._last:
                return
            if number in self._wanted:
                line = data[begin:end]
                self.found.add_shown(number, self._excerpt(line, found[0] - begin, found[1] - begin, whole=True))
            start, number = end + 1, number + 1

    def _excerpt(self, line: bytes, start: int, stop: int, *, whole: bool) -> str:
        """The line, or what is around the match at `start` to `stop` if it is long."""
        if whole and len(line) <= self.found.most_line:
            return line.decode("utf-8", "replace")
        self.found.cut = True
        low = max(0, start - _AROUND)
        high = min(len(line), max(min(stop, low + self.found.most_line), start + _AROUND))
        before = "…" if low or not whole else ""
        after = "…" if high < len(line) or not whole else ""
        return f"{before}{line[low:high].decode('utf-8', 'ignore')}{after}"


def numbered_lines(data: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """The lines of `data` with their ends, numbered from `first` on."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return enumerate(lines, first)
