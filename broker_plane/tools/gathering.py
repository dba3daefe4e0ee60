"""Rows of a source up to a limit, with what is needed to publish them all if there are more."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import anyio.to_thread

from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_row

_GATHER_ROWS = 256


@dataclass(slots=True)
class Gathered:
    """`items` as they came, and as plain `rows`; or the `rest`, everything that is to be published."""

    items: list[Any] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rest: Any = None


async def gathered(data: Any, limit: int) -> Gathered:
    """The rows of `data` if their JSON stays below `limit` bytes; else the rest, which begins with the first row."""
    source = aiter(data) if isinstance(data, AsyncIterable) else iter(data)
    found = Gathered()
    size = 2
    while batch := await _take(source, _GATHER_ROWS):
        first = len(found.rows)
        fresh = plain_rows((as_row(item, first + place) for place, item in enumerate(batch)), first)
        found.items.extend(batch)
        found.rows.extend(fresh)
        size += len(json_bytes(fresh))
        if size > limit:
            return Gathered(rest=data if isinstance(data, (list, tuple)) else _put_back(found.rows, source))
    return found


async def _take(source: Any, count: int) -> list[Any]:
    if isinstance(source, AsyncIterator):
        batch = []
        async for item in source:
            batch.append(item)
            if len(batch) == count:
                break
        return batch
    if inspect.isgenerator(source):
        return await anyio.to_thread.run_sync(lambda: list(islice(source, count)))
    return list(islice(source, count))


def _put_back(rows: list[dict[str, Any]], source: Any) -> Any:
    return _after(rows, source) if isinstance(source, AsyncIterator) else chain(rows, source)


async def _after(rows: list[dict[str, Any]], source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for row in rows:
        yield row
    async for item in source:
        yield item
