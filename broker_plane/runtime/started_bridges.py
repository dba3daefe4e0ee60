"""The bridges that this process serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

STARTED: Counter[str] = Counter()
"""By base URL."""


@contextmanager
def started(url: str) -> Iterator[None]:
    """Record, for the time of the block, that this process serves the bridge at `url`."""
    STARTED[url] += 1
    try:
        yield
    finally:
        STARTED[url] -= 1
        if not STARTED[url]:
            del STARTED[url]
