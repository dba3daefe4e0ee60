"""Parses what nats-server sends, with one copy of a message's data. Lines that are no messages go to nats-py's parser.

nats-py copies the data of a message three times, and tries six patterns on some lines.
"""

from __future__ import annotations

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

_CRLF = b"\r\n"
_MESSAGE_WORDS, _HEADERS_WORDS = (4, 5), (5, 6)
"""How many words the line before a message has, without and with headers: one more if it names a reply subject."""

_MOST_DIGITS = 18

Message = tuple[int, bytes, bytes, bytes, bytes]
"""Number of the subscription, subject, reply subject, data and headers."""


_Line = tuple[int, bytes, bytes, int, int]
"""The line before a message: number of the subscription, subject, reply subject, and bytes of headers and of all."""


class QuickParser(Parser):
    """The parser of one client, to which it hands messages by `take_message`.

    A message that the client refuses, and every other line, waits for `parse`; nothing overtakes it.
    """

    def reset(self) -> None:
        """As for a new connection."""
        super().reset()
        self._rest = b""
        self._odd: bytes | Message | None = None
        """The line or message that waits for `parse`."""
        self._line: _Line | None = None
        """The message that has not arrived completely."""
        self._pieces: list[memoryview] = []
        self._missing = 0
        """How many bytes are missing of it, with the end of its last line."""

    def take(self, data: bytes) -> bool:
        """Pass on what is complete in `data`, and in what came before; returns whether nothing waits for `parse`."""
        self._rest = self._rest + data if self._rest else data
        return self._odd is None and self._pass_on()

    async def parse(self, data: bytes = b"") -> None:
        """As `take`, and pass on the rest as nats-py does.

        Raises:
            ProtocolError: the server sent a line of another protocol.
        """
        done = self.take(data)
        while not done:
            odd, self._odd = self._odd, None
            if isinstance(odd, bytes):
                await super().parse(odd)
                if self.buf:
                    raise ProtocolError("nats: unknown protocol")
            elif odd is not None:
                await self.nc._process_msg(*odd)
            done = self._pass_on()

    def _pass_on(self) -> bool:
        data, at = self._rest, 0
        if self._line is not None:
            at = min(self._missing, len(data))
            message = self._completed(data)
            if message is None or not self.nc.take_message(*message):
                self._odd, self._rest = message, data[at:]
                return message is None
        length = len(data)
        while at < length:
            end = data.find(_CRLF, at)
            if end < 0:
                break
            line, start = _line_of(data[at:end]), end + 2
            if line is None:
                self._odd, self._rest = data[at:start], data[start:]
                return False
            number, subject, reply, headers, size = line
            end = start + size
            if end + 2 > length:
                self._line, self._pieces = line, [memoryview(data)[start:]]
                self._missing, at = end + 2 - length, length
                break
            split, at = start + headers, end + 2
            payload, head = data[split:end], data[start:split]
            if not self.nc.take_message(number, subject, reply, payload, head):
                self._odd, self._rest = (number, subject, reply, payload, head), data[at:]
                return False
        self._rest = data[at:]
        return True

    def _completed(self, data: bytes) -> Message | None:
        """The message that had not arrived completely, if `data` completes it."""
        assert self._line is not None  # noqa: S101  # for the type checker
        (number, subject, reply, size_of_headers, size), missing = self._line, self._missing
        self._pieces.append(memoryview(data)[:missing])
        self._missing -= len(data)
        if self._missing > 0:
            return None
        pieces, self._line, self._pieces = self._pieces, None, []
        if len(pieces[0]) >= size_of_headers and len(pieces[-1]) >= 2:
            headers = bytes(pieces[0][:size_of_headers])
            pieces[0] = pieces[0][size_of_headers:]
            pieces[-1] = pieces[-1][:-2]
            payload = b"".join(pieces)
        else:  # cut within the headers or the end of the last line
            whole = b"".join(pieces)
            headers, payload = whole[:size_of_headers], whole[size_of_headers:size]
        return number, subject, reply, payload, headers


def _line_of(raw: bytes) -> _Line | None:
    """The line before a message; None if `raw` is another line."""
    words = raw.split()
    kind, count = words[0] if words else b"", len(words)
    if kind == b"MSG" and count in _MESSAGE_WORDS:
        least, headers = 4, b"0"
    elif kind == b"HMSG" and count in _HEADERS_WORDS:
        least, headers = 5, words[-2]
    else:
        return None
    number, size = words[2], words[-1]
    if not (number + headers + size).isdigit() or len(raw) > 4096 or len(size) > _MOST_DIGITS:
        return None
    if int(headers) > int(size):
        return None
    return int(number), words[1], words[3] if count > least else b"", int(headers), int(size)
