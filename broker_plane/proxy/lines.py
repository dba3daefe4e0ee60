"""Lines of a bounded length: a longer line is discarded as it arrives, except for its beginning and end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

DEFAULT_LINE_BYTES = 64 << 20
_KEPT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class LongLine:
    """The remains of a line that was too long: its first and last bytes, and its size."""

    head: bytes
    tail: bytes
    size: int


async def each_line(
    source: AsyncIterator[bytes],
    take: Callable[[bytes], Awaitable[None]],
    *,
    most: int,
    too_long: Callable[[LongLine], Awaitable[None]],
) -> None:
    """Pass each line that is not empty to `take`, with its line feed, or its remains to `too_long`."""
    partial = _PartialLine(most)

    async def end() -> None:
        line = partial.end()
        if isinstance(line, LongLine):
            await too_long(line)
        elif line.strip():
            await take(line)

    async for piece in source:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            partial.add(part)
            await end()
        partial.add(rest)
    await end()


class _PartialLine:
    """One line as it arrives."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._size = 0
        self._head = b""

    def add(self, part: bytes) -> None:
        self._size += len(part)
        self._held += part
        if self._size > self._most:
            self._head = self._head or bytes(self._held[:_KEPT_BYTES])
            self._held = self._held[-_KEPT_BYTES:]

    def end(self) -> bytes | LongLine:
        """Return the line, and begin the next one."""
        held, head, size = self._held, self._head, self._size
        self._held, self._head, self._size = bytearray(), b"", 0
        if size > self._most:
            return LongLine(head, bytes(held), size)
        held += b"\n"
        return bytes(held)
