"""Parses what nats-server sends, with one copy of a message's data. Lines that are no messages go to nats-py's parser.

nats-py copies the data of a message three times, and tries six patterns on some lines.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.protocol.parser import Parser

_CRLF = b"\r\n"
_WORDS = {b"MSG": (4, 5), b"HMSG": (5, 6)}
"""How many words the line of a message may have."""

_MOST_DIGITS = 18


class _Line(NamedTuple):
    """The line before a message: `headers` and `size` are in bytes, and `size` includes the headers."""

    subject: bytes
    number: int
    reply: bytes
    headers: int
    size: int


class QuickParser(Parser):
    """The parser of one client, `nc`."""

    def reset(self) -> None:
        """As for a new connection."""
        super().reset()
        self._line: _Line | None = None
        """The message that has not arrived completely."""
        self._pieces: list[memoryview] = []
        self._missing = 0
        """How many bytes are missing of it, with the end of its last line."""

    async def parse(self, data: bytes = b"") -> None:
        """Pass every complete message in `data`, and in what came before, to the client."""
        at = await self._end_message(data) if self._line is not None else 0
        if self.buf:  # the beginning of a line
            data, at = bytes(self.buf) + data[at:], 0
            self.buf.clear()
        length = len(data)
        while at < length:
            end = data.find(_CRLF, at)
            if end < 0:
                self.buf += data[at:]
                return
            line = _line_of(data[at:end])
            if line is None:
                await super().parse(data[at : end + 2])
                at = end + 2
                continue
            at = end + 2
            end = at + line.size
            if end + 2 > length:
                self._line, self._pieces = line, [memoryview(data)[at:]]
                self._missing = end + 2 - length
                return
            split = at + line.headers
            await self.nc._process_msg(line.number, line.subject, line.reply, data[split:end], data[at:split])
            at = end + 2

    async def _end_message(self, data: bytes) -> int:
        """Take what is missing of a message from `data`, and return where the next line begins."""
        line, missing = self._line, self._missing
        assert line is not None  # noqa: S101  # for the type checker
        self._pieces.append(memoryview(data)[:missing])
        self._missing -= len(data)
        if self._missing > 0:
            return len(data)
        pieces, self._line, self._pieces = self._pieces, None, []
        if len(pieces[0]) >= line.headers and len(pieces[-1]) >= 2:
            headers = bytes(pieces[0][: line.headers])
            pieces[0] = pieces[0][line.headers :]
            pieces[-1] = pieces[-1][:-2]
            payload = b"".join(pieces)
        else:  # cut within the headers or the end of the last line
            whole = b"".join(pieces)
            headers, payload = whole[: line.headers], whole[line.headers : line.size]
        await self.nc._process_msg(line.number, line.subject, line.reply, payload, headers)
        return missing


def _line_of(raw: bytes) -> _Line | None:
    """The line before a message; None if `raw` is another line."""
    words = raw.split()
    counts = _WORDS.get(words[0]) if words else None
    if counts is None or len(words) not in counts:
        return None
    sizes = words[-2:] if words[0] == b"HMSG" else [b"0", words[-1]]
    if not all(each.isdigit() and len(each) < _MOST_DIGITS for each in (words[2], *sizes)):
        return None
    headers, size = int(sizes[0]), int(sizes[1])
    if headers > size:
        return None
    return _Line(words[1], int(words[2]), words[3] if len(words) == counts[1] else b"", headers, size)
