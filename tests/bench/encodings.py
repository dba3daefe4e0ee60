"""`python -m tests.bench.encodings`: the steps of the body encoding, for decision 0002. One core, medians of three."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from hashlib import sha256
from statistics import median
from time import perf_counter
from typing import Any

from backports import zstd

from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.types import collector_paused, pack, unpack

ROWS, COLUMNS, GROUP = 50_000, 29, 4096


def timed(name: str, step: Callable[[], Any]) -> Any:
    samples = []
    for _ in range(3):
        begin = perf_counter()
        result = step()
        samples.append(perf_counter() - begin)
    print(f"{name:34} {median(samples) * 1000:8.1f} ms")
    return result


def main() -> None:
    rng = random.Random(1)
    pool = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(5, 30))) for _ in range(2000)]
    rows = [{f"c{column}": rng.choice(pool) for column in range(COLUMNS)} for _ in range(ROWS)]
    starts = range(0, ROWS, GROUP)
    frames = timed("rows to columns", lambda: [frame_of(rows[start : start + GROUP], start) for start in starts])
    packed = timed("columns to msgpack", lambda: [[pack(c) for c in frame.columns.values()] for frame in frames])
    print(f"{'':34} {sum(len(chunk) for frame in packed for chunk in frame) / 1e6:8.1f} MB")
    timed("SHA-256 by chunk", lambda: [[sha256(chunk).digest() for chunk in frame] for frame in packed])
    small = timed("zstd level 1 by chunk", lambda: [[zstd.compress(chunk, 1) for chunk in frame] for frame in packed])
    timed("zstd level 1 by frame", lambda: [zstd.compress(b"".join(frame), 1) for frame in packed])
    timed("decompress by chunk", lambda: [[zstd.decompress(chunk) for chunk in frame] for frame in small])
    timed("msgpack to columns", lambda: [[_unpack(chunk) for chunk in frame] for frame in packed])
    timed("columns to rows", lambda: [frame.rows() for frame in frames])
    whole = timed("rows as maps to msgpack", lambda: pack(rows))
    timed("rows as maps from msgpack", lambda: _unpack(whole))


def _unpack(chunk: bytes) -> Any:
    with collector_paused():
        return unpack(chunk)


if __name__ == "__main__":
    main()
