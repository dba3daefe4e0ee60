"""Range requests (RFC 9110, section 14). Pure. An invalid Range is ignored, as the RFC says."""

from __future__ import annotations

import re
from typing import NamedTuple

from broker_plane.errors import RangeError

_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)
_BEYOND = 10**18
"""The value of every position of more than 18 digits: no body is that long, and int() refuses 4,300 digits."""


class Part(NamedTuple):
    """The bytes from `start` up to, not including, `stop`; never empty."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """The Content-Range of this part (RFC 9110, section 14.4): its end is inclusive."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_range(header: str | None, size: int) -> Part | None:
    """The requested part of `size` bytes, or None for the whole.

    Several ranges get the whole body: RFC 9110 lets a server ignore Range, and a multipart answer carries no digest.

    Raises:
        RangeError: the header is valid, but all of its ranges lie outside the body (416).
    """
    specs = _specs(header)
    if not specs:
        return None
    parts = [part for first, last in specs if (part := _resolve(first, last, size)) is not None]
    if not parts:
        raise RangeError(f"The range lies outside the body, which has {size} bytes", size=size)
    if len(specs) > 1 or parts[0].start == parts[0].stop:
        return None
    return parts[0]


def _specs(header: str | None) -> list[tuple[int | None, int | None]]:
    """(first, last) of every range, (None, n) for the last n bytes; empty if any of them is invalid."""
    unit, separator, ranges = (header or "").partition("=")
    if not separator or unit.strip(" \t").lower() != "bytes":
        return []
    specs = []
    for text in ranges.split(","):
        if not text.strip(" \t"):
            continue  # recipients ignore empty list elements (section 5.6.1.2)
        match = _SPEC.fullmatch(text.strip(" \t"))
        if match is None:
            return []
        first, last = _position(match[1]), _position(match[2])
        if (first is None and last is None) or (first is not None and last is not None and last < first):
            return []
        specs.append((first, last))
    return specs


def _position(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else _BEYOND


def _resolve(first: int | None, last: int | None, size: int) -> Part | None:
    """The part inside a body of `size` bytes, None if it lies outside; empty only for the tail of an empty body."""
    if first is None:
        return Part(max(0, size - (last or 0)), size) if last else None
    if not first < size:
        return None
    return Part(first, size if last is None else min(last + 1, size))
