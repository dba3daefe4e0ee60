"""Bodies whose every part says where it comes from, so that what arrived can be counted by whoever received it."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from backports import zstd

COLUMNS = ("a", "b", "c")
_CELL = re.compile(rb"<([a-z0-9]{6})\.([a-z])\.([0-9]{6})>")
_ZSTD = b"\x28\xb5\x2f\xfd"


class Cell(NamedTuple):
    """One value of a body, as it was found in what arrived."""

    body: str
    column: str
    row: int


@dataclass(frozen=True)
class Body:
    """A published body. `size` is that of its stored bytes, `digest` their SHA-256, `name` stands in its every cell."""

    name: str
    kind: Literal["rows", "bytes"]
    size: int
    rows: int = 0
    id: str = ""
    digest: str = ""


def make_rows(name: str, count: int, cell_bytes: int) -> list[dict[str, Any]]:
    """Rows with the whole number `k`, which is their place, and three columns of marked text."""
    fill = random.Random(name)
    return [
        {"k": row, **{column: _cell(name, column, row) + _noise(fill, cell_bytes) for column in COLUMNS}}
        for row in range(count)
    ]


def make_bytes(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


def _cell(name: str, column: str, row: int) -> str:
    return f"<{name}.{column}.{row:06d}>"


def _noise(fill: random.Random, size: int) -> str:
    return b64encode(fill.randbytes(size * 3 // 4)).decode()


def cells_in(data: bytes) -> list[Cell]:
    """Every cell in `data`: rows in any text or msgpack form, or in the stored encoding, whose columns are zstd."""
    return [
        Cell(name.decode(), column.decode(), int(row))
        for piece in _plain(data)
        for name, column, row in _CELL.findall(piece)
    ]


def _plain(data: bytes) -> Iterator[bytes]:
    """What stands between the zstd frames in `data`, and what is in them, as far as they are here."""
    done, start = 0, data.find(_ZSTD)
    while start >= 0:
        decoder = zstd.ZstdDecompressor()
        try:
            inside = decoder.decompress(data[start:], max_length=64 << 20)
        except zstd.ZstdError:  # four bytes that happen to be the same
            start = data.find(_ZSTD, start + len(_ZSTD))
            continue
        yield data[done:start]
        yield inside
        done = len(data) - len(decoder.unused_data) if decoder.eof else len(data)
        start = data.find(_ZSTD, done)
    yield data[done:]
