"""Lines of a bounded length: a longer one is dropped as it comes, and only its beginning and its end are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

DEFAULT_LINE_BYTES = 64 << 20
_KEPT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class LongLine:
    """What is known of a line that was too long: its first and its last bytes, and how many there were."""

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
    """Every line that is not empty: with its line feed, or what is left of it."""
    growing = _Growing(most)

    async def end() -> None:
        line = growing.end()
        if isinstance(line, LongLine):
            await too_long(line)
        elif line.strip():
            await take(line)

    async for piece in source:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            growing.add(part)
            await end()
        growing.add(rest)
    await end()


class _Growing:
    """One line as it comes."""

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
        """The line; the next one begins."""
        held, head, size = self._held, self._head, self._size
        self._held, self._head, self._size = bytearray(), b"", 0
        if size > self._most:
            return LongLine(head, bytes(held), size)
        held += b"\n"
        return bytes(held)
