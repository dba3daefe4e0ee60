"""Messages that are too large for one message of NATS travel in parts, in order, each with `Bp-Part: i/n`. Pure."""

from __future__ import annotations

import re

MAX_PARTS = 4096
_HEADER = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})\Z")


def split(line: bytes, most: int) -> list[bytes]:
    """The parts of `line`, each of at most `most` bytes; at least one."""
    return [line[start : start + most] for start in range(0, max(1, len(line)), most)]


def part_header(number: int, count: int) -> str:
    """The header of part `number`, from 1, of `count`."""
    return f"{number}/{count}"


def is_incomplete(header: str | None) -> bool:
    """Whether further parts follow the one with this header."""
    found = _HEADER.match(header or "")
    return found is not None and int(found[1]) < int(found[2])


class PartJoiner:
    """Puts the parts of one message after another together.

    A part out of order drops what was collected: its writer ended, and the message begins again with another one.
    """

    def __init__(self, most: int) -> None:
        """`most` is the largest message, in bytes; a larger one is dropped."""
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, part: bytes, header: str | None) -> bytes | None:
        """The message that `part` completes, if it does."""
        found = _HEADER.match(header or "1/1")
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if number == 1:
            self._parts, self._size = [], 0
        if number != len(self._parts) + 1 or number > count or self._size + len(part) > self._most:
            self._parts, self._size = [], 0
            return None
        self._parts.append(part)
        self._size += len(part)
        if number < count:
            return None
        whole, self._parts, self._size = b"".join(self._parts), [], 0
        return whole
