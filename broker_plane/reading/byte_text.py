"""Bytes in hexadecimal: what a reader of a binary body gets. Pure."""

from __future__ import annotations

LINE_BYTES = 16
_LINE_TEXT = 10 + 3 * LINE_BYTES + 2 + LINE_BYTES + 1
"""The length of a line, at most."""


def most_shown(most_bytes: int) -> int:
    """The number of bytes that a text of `most_bytes` bytes can show."""
    return max(1, most_bytes // _LINE_TEXT) * LINE_BYTES


def byte_text(data: bytes, first: int) -> str:
    """A line for each 16 bytes: the number of its first byte, the bytes, and what of them is ASCII."""
    return "\n".join(_line(data[at : at + LINE_BYTES], first + at) for at in range(0, len(data), LINE_BYTES))


def _line(data: bytes, number: int) -> str:
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{number:08x}  {data.hex(' '):<{3 * LINE_BYTES - 1}}  {shown}"
