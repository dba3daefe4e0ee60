"""Splits a frame into pieces of bounded size: its rows in blocks, and the JSON of one very large row in parts. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_bytes

PIECE_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 20
_BLOCK_CELLS = 1 << 17
"""Number of cells in a block: as dicts, rows take about a hundred bytes a cell."""

_HEAVY_BYTES = 4 << 20
"""A frame above this size has a large row, which is not written in one piece: its JSON can be six times as large."""

_TEXT = 1 << 16
"""Length of a value that is written in parts, in characters or bytes; a multiple of three, for base64."""

_BINARY = 3 * (1 << 14)
_DEPTH = 3
"""Levels of lists and maps in a large row that are written in parts."""


def is_heavy(frame: Frame) -> bool:
    return frame.size > _HEAVY_BYTES


def blocks(frame: Frame) -> Iterator[Frame]:
    """The frame in order, in parts whose rows are created at once."""
    count = len(frame)
    by_cells = _BLOCK_CELLS // max(1, len(frame.columns))
    step = max(1, min(by_cells, count * _BLOCK_BYTES // max(1, frame.size)))
    if step >= count:
        yield frame
        return
    for start in range(0, count, step):
        yield frame.part(start, start + step)


def json_pieces(value: Any, depth: int = 0) -> Iterator[bytes]:
    """The result of `json_bytes` for `value`, in parts if it is large."""
    if isinstance(value, str) and len(value) > _TEXT:
        yield b'"'
        for start in range(0, len(value), _TEXT):
            yield json_bytes(value[start : start + _TEXT])[1:-1]
        yield b'"'
    elif isinstance(value, bytes) and len(value) > _BINARY:
        yield b'"'
        for start in range(0, len(value), _BINARY):
            yield b64encode(value[start : start + _BINARY])
        yield b'"'
    elif depth < _DEPTH and type(value) is dict and value and {str}.issuperset(map(type, value)):
        yield from _map_pieces(value, depth)
    elif depth < _DEPTH and type(value) is list and value:
        yield from _list_pieces(value, depth)
    else:
        yield json_bytes(value)


def gathered(pieces: Iterable[bytes], most: int = PIECE_BYTES) -> Iterator[bytes]:
    """The same bytes in fewer pieces: small ones are joined."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= most:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _map_pieces(value: Mapping[str, Any], depth: int) -> Iterator[bytes]:
    separator = b"{"
    for name, member in value.items():
        yield separator + json_bytes(name) + b":"
        yield from json_pieces(member, depth + 1)
        separator = b","
    yield b"}"


def _list_pieces(value: list[Any], depth: int) -> Iterator[bytes]:
    separator = b"["
    for member in value:
        yield separator
        yield from json_pieces(member, depth + 1)
        separator = b","
    yield b"]"
