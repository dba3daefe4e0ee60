"""mcp-sd's `server._data_cache`: the bodies that a server published, by token. Rows are read from the plane.

It is read by plain functions while an event loop runs, so a body comes over a connection of its own in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from time import time
from typing import Any

from broker_plane.config import Settings
from broker_plane.plane.ports import BodyStore
from broker_plane.runtime.offering import Published
from broker_plane.runtime.wiring import wire
from broker_plane.tabular.codec import FrameReader
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import WHOLE


class Entry(Mapping[str, Any]):
    """One published body: `data` (read from the store), `tool`, `timestamp`, the domains and `columns`."""

    def __init__(self, body: BodyInfo, known: dict[str, Any], nats_url: str, settings: Settings) -> None:
        self._body = body
        self._known = known
        self._nats_url = nats_url
        self._settings = settings

    def __getitem__(self, name: str) -> Any:
        if name != "data":
            return self._known[name]
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._read()).result()

    def __iter__(self) -> Iterator[str]:
        return iter(("data", *self._known))

    def __len__(self) -> int:
        return 1 + len(self._known)

    async def _read(self) -> list[dict[str, Any]]:
        wiring = await wire(self._nats_url, self._settings)
        try:
            return await _rows(wiring.store, self._body)
        finally:
            await wiring.close()


class DataCache(Mapping[str, Entry]):
    """The bodies of this server in the plane that have not expired."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[str, tuple[float, Entry]] = {}

    def note(self, published: Published, nats_url: str, tool: str, shape: Mapping[str, Any]) -> None:
        """Remember a published body without its rows."""
        known = {name: shape[name] for name in ("abstract_domains", "body_domains", "columns")}
        body = published.body
        entry = Entry(body, {"tool": tool, "timestamp": body.created, **known}, nats_url, self._settings)
        self._sweep()
        # The body's times are in nats-server's time; its lifetime is the same on every clock.
        self._entries[published.grant] = (time() + body.expires - body.created, entry)

    def __getitem__(self, token: str) -> Entry:
        self._sweep()
        return self._entries[token][1]

    def __iter__(self) -> Iterator[str]:
        self._sweep()
        return iter(list(self._entries))

    def __len__(self) -> int:
        self._sweep()
        return len(self._entries)

    def _sweep(self) -> None:
        now = time()
        self._entries = {token: entry for token, entry in self._entries.items() if now < entry[0]}


async def _rows(store: BodyStore, body: BodyInfo) -> list[dict[str, Any]]:
    reader = FrameReader()
    rows: list[dict[str, Any]] = []
    async with aclosing(store.read(body)) as pieces:
        async for piece in pieces:
            for raw in reader.feed(piece):
                frame = raw.decode(WHOLE)
                rows += [{ROW_ID: number} | row for number, row in zip(frame.ids, frame.rows(), strict=True)]
    return rows
