"""Splits a text that arrives in pieces into whole lines, in bounded memory however long a line is. Pure."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import NamedTuple

STRETCH_BYTES = 1 << 20
"""Bytes that are handed on at once, and the size from which a line is handed on in parts."""


class Stretch(NamedTuple):
    """Whole lines if it `opens` and `closes` a line; else a part of one line of more than `STRETCH_BYTES` bytes.

    Lines end with a line feed, except the last one of the text.
    """

    data: bytes
    opens: bool
    closes: bool

    @property
    def lines(self) -> int:
        """The number of lines that end here."""
        return self.data.count(b"\n") + (self.closes and not self.data.endswith(b"\n"))


class LineSplitter:
    """Takes pieces, and yields stretches."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._inside = False
        """Whether what is held goes on with a line that was begun in an earlier stretch."""
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[Stretch]:
        """The stretches that `piece` completes."""
        self._held += piece
        if not self._begun and len(self._held) >= len(BOM_UTF8):
            self._begun = True
            if self._held.startswith(BOM_UTF8):
                del self._held[: len(BOM_UTF8)]
        while len(self._held) >= STRETCH_BYTES:
            yield self._next()

    def end(self) -> Iterator[Stretch]:
        """What is left at the end of the text."""
        while self._held:
            yield self._next(final=True)
        if self._inside:
            self._inside = False
            yield Stretch(b"", opens=False, closes=True)

    def _next(self, *, final: bool = False) -> Stretch:
        opens = not self._inside
        if self._inside:
            end = self._held.find(b"\n", 0, STRETCH_BYTES) + 1
            closes = bool(end)
        else:
            end = self._held.rfind(b"\n", 0, STRETCH_BYTES) + 1
            closes = bool(end) or (final and len(self._held) < STRETCH_BYTES)
        data = bytes(self._held[: end or STRETCH_BYTES])
        del self._held[: len(data)]
        self._inside = not closes
        return Stretch(data, opens, closes)
