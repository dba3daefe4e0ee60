"""What is attacked: one nats-server, two bridge processes, one MCP server process, and an owner who publishes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.testing.server import NatsServer
from tests.forked import ForkedActor
from tests.model.bodies import Body, make_bytes, make_rows
from tests.model.holder import Held, held
from tests.model.mcp_way import McpWay
from tests.model.nats_way import NatsWay
from tests.model.serving import CELL_BYTES

TTL = 3_000
TOKEN = "token-of-ann"
PULLER = "ann"
INLINE_LIMIT = 16_384
"""Of the MCP server: a body of more bytes goes inline in parts of 7/8 of it."""


@dataclass
class World:
    """Bodies by kind, and the ways to them. `server` is there for who needs to restart it."""

    server: NatsServer
    plane: Plane
    bridges: list[str]
    nats: NatsWay
    mcp: McpWay
    bodies: dict[str, Body] = field(default_factory=dict)
    versions: list[Body] = field(default_factory=list)
    _names: int = 0
    _apart: dict[str, Body] = field(default_factory=dict)

    def name(self, kind: str = "x") -> str:
        """A fresh name of a body, of six characters."""
        self._names += 1
        return f"{kind}{self._names:05d}"

    async def publish(self, data: Any, name: str) -> Body:
        published = await self.plane.publish(data, ttl=TTL, uses="unlimited")
        body = published.body
        return Body(name, "rows" if body.kind == "rows" else "bytes", body.size, body.rows or 0, body.id, body.digest)

    async def grant(self, body: Body, uses: int, ttl: int = TTL) -> Held:
        """A new root grant for `body`."""
        ((_, url),) = await self.plane.grants.mint_many(body.id, 1, uses=uses or "unlimited", ttl=ttl)  # type: ignore[arg-type]
        return held(url.rpartition("/")[2], body, uses)

    async def feed(self) -> Held:
        """A grant for a feed of two versions; nothing counts its uses until it is narrowed."""
        grant = await self.plane.feeds.grant("crm.model", ttl=TTL)
        names = frozenset(body.name for body in self.versions)
        return held(grant.grant, self.versions[-1], 0, prefix="/v1/feeds/", names=names)

    async def offered(self, kind: str, uses: int, count: int) -> Held:
        """What the MCP server offers: `kind` is rows or raw, of so many rows or bytes."""
        name = self.name("m")
        arguments: dict[str, Any] = {"name": name, "count" if kind == "rows" else "size": count}
        if kind == "rows":
            arguments["abstract_domains"] = "k"
        url, offer = await self.mcp.offered(f"{kind}_{uses}", **arguments)
        found = await self.plane.grants.body_of(url.rpartition("/")[2])
        body = Body(name, "rows" if kind == "rows" else "bytes", found.size, found.rows or 0, found.id, found.digest)
        return held(url.rpartition("/")[2], body, uses, offer=offer)

    async def uploads(self, uses: int) -> str:
        """The path of a new upload."""
        grant = await self.plane.uploads.grant(ttl=TTL, uses=uses or "unlimited")
        return f"/s2sp/upload/{grant.grant}"

    def uploaded(self, text: str, data: bytes, uses: int) -> Held:
        """The grant `text` for what was uploaded."""
        return held(text, Body(self.name("u"), "bytes", len(data)), uses)

    async def revoke(self, held: Held) -> None:
        await self.plane.revoke(held.root)

    async def large(self) -> Body:
        """A body of rows that is far larger than what is on the way at once."""
        if "large" not in self._apart:
            name = self.name("l")
            self._apart["large"] = await self.publish(make_rows(name, 8_000, 800), name)
        return self._apart["large"]

    async def _fill(self) -> None:
        sizes = {"few": (12, 40), "pages": (300, 120), "frames": (1_500, 800)}
        for kind, (count, cell) in sizes.items():
            name = self.name("r")
            self.bodies[kind] = await self.publish(make_rows(name, count, cell), name)
        for kind, size in {"small": 2_000, "parts": 100_000, "chunks": 1_500_000, "windows": 9_000_000}.items():
            name = self.name("b")
            self.bodies[kind] = await self.publish(make_bytes(name, size), name)
        rows: list[dict[str, Any]] = []
        for _ in range(2):  # the second one changes five rows of the first
            name = self.name("f")
            rows = make_rows(name, 40, CELL_BYTES)[: 5 if rows else None] + rows[5:]
            published = await self.plane.publish(rows, feed="crm.model", key="k", ttl=TTL, uses="unlimited")
            body = published.body
            self.versions.append(Body(name, "rows", body.size, body.rows or 0, body.id, body.digest))


@asynccontextmanager
async def world(root: Path) -> AsyncIterator[World]:
    """Everything runs for the time of the block, and nothing of it afterwards."""
    async with AsyncExitStack() as stack:
        server = NatsServer(root, sync="1m")
        server.start()
        stack.callback(server.stop)
        audiences = f"{PULLER}={sha256(TOKEN.encode()).hexdigest()}"
        common = {"BROKER_PLANE_NATS_URL": server.url, "BROKER_PLANE_DATA_DIR": str(root / "data")}
        bridges = []
        for _ in range(2):
            actor = ForkedActor("broker_plane.cli.bridge", **common, BROKER_PLANE_AUDIENCES=audiences)
            stack.callback(actor.close)
            bridges.append(str((await actor.said())["bridge"]))
        settings = load_settings(nats_url=server.url, bridge_url=bridges[0], data_dir=root / "owner")
        plane = await stack.enter_async_context(Plane.connect(settings))
        nats = NatsWay()
        stack.push_async_callback(nats.close)
        await nats.connect(server.url)
        mcp = McpWay()
        stack.push_async_callback(mcp.close)
        made = World(server, plane, bridges, nats, mcp)
        await made._fill()
        more = {"BROKER_PLANE_BRIDGE_URL": bridges[0], "BROKER_PLANE_MAX_INLINE_RESULT_BYTES": str(INLINE_LIMIT)}
        await mcp.start("tests.model.serving", **common, **more)
        yield made
