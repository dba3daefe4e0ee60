"""The plane's own MCP tools: an agent runs transfers between servers that do not use the plane themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any, cast

import anyio
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.mcp_server.agent_tools import AgentMcpTools
from broker_plane.mcp_server.protocol_tools import ProtocolMcpTools
from broker_plane.mcp_server.server import PlaneServer
from broker_plane.mcp_server.session_tools import SessionMcpTools
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.narrowing import Narrowed, Narrowing
from broker_plane.runtime.plane import Plane
from broker_plane.tools import arguments as asked
from broker_plane.wire.feeds import Notice, Since, parse_feed
from broker_plane.wire.names import parse_body_id

Feed = Annotated[str, Field(description="A feed: one to four words of a-z, 0-9, _ and -, with dots between them")]

_MAX_NOTICES = 20
_MAX_WAIT_SECONDS = 300.0


def plane_server(settings: Settings | None = None, *, publish_protocols: bool = False) -> PlaneServer:
    """A server with the tools publish, preview, narrow, grant, revoke, list_bodies, watch and search_agents, those of
    sessions and of the registry of protocols, and the reading tools. With `publish_protocols` models may write into the
    registry.
    """
    server = PlaneServer("broker-plane", settings=settings, reading_tools=True)
    tools = PlaneTools(server)
    methods = (tools.publish, tools.preview, tools.narrow, tools.grant, tools.revoke, tools.list_bodies, tools.watch)
    protocols = ProtocolMcpTools(server.plane)
    every: tuple[Callable[..., Any], ...] = (
        *methods,
        *SessionMcpTools(server.plane).all,
        *AgentMcpTools(server.plane).all,
        *protocols.reading,
        *(protocols.publishing if publish_protocols else ()),
    )
    for tool in every:
        server.mcp.add_tool(tool)
    return server


class PlaneTools:
    """Each method is a tool; its docstring is what the model reads."""

    def __init__(self, server: PlaneServer) -> None:
        self._server = server

    async def publish(
        self,
        rows: asked.ROWS,
        ttl: asked.SECONDS = None,
        uses: asked.USES = None,
        name: asked.NAME = "",
        feed: asked.NEW_FEED = "",
        key: asked.KEY = None,
    ) -> dict[str, Any]:
        """Store rows as a body and get a resource_url for it, to hand to consumer tools of any server."""
        plane = await self._plane()
        try:
            published = await plane.publish(rows, ttl=ttl, uses=uses_of_wire(uses), name=name, feed=feed, key=key)
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        body = published.body
        return {
            "body_id": body.id,
            "resource_url": published.resource_url,
            "total_rows": body.rows,
            "columns": list(body.columns),
            "expires": body.expires,
        }

    async def preview(
        self, resource_url: asked.URL, where: asked.WHERE = None, sample: asked.SAMPLE = 5
    ) -> dict[str, Any]:
        """How many rows a resource_url shows (of those for which `where` holds), its columns, and the first few rows.

        It spends no use, and is how to find out what to narrow a resource_url to without reading all of it.
        """
        plane = await self._plane()
        try:
            look = await plane.preview(resource_url, where=where, sample=sample)
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        return look.to_wire()

    async def narrow(
        self,
        resource_url: asked.URL,
        columns: asked.COLUMNS = None,
        where: asked.WHERE = None,
        first: asked.FIRST = None,
        ttl: asked.SECONDS = None,
        uses: asked.USES = None,
    ) -> dict[str, Any]:
        """A resource_url that shows less than the given one: fewer columns, fewer rows, a shorter life, fewer uses.

        Hand it on in place of the given one. Nobody can widen it again.
        """
        plane = await self._plane()
        less = Narrowing(columns=columns, where=where, first=first, ttl=ttl, uses=uses_of_wire(uses))
        try:
            return _narrowed_fields(plane.narrow(resource_url, less))
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error

    async def grant(
        self,
        body_id: asked.BODY_ID,
        columns: asked.COLUMNS = None,
        where: asked.WHERE = None,
        first: asked.FIRST = None,
        ttl: asked.SECONDS = None,
        uses: asked.USES = None,
    ) -> dict[str, Any]:
        """A new resource_url for a body that is stored, for one more consumer."""
        plane = await self._plane()
        less = Narrowing(columns=columns, where=where, first=first, ttl=ttl, uses=uses_of_wire(uses))
        try:
            return _narrowed_fields(await plane.grants.mint(parse_body_id(body_id), less))
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error

    async def revoke(self, grant: asked.GRANT) -> dict[str, Any]:
        """Take a grant back: it, and every one that was narrowed from it, opens nothing any more."""
        plane = await self._plane()
        try:
            revoked = await plane.revoke(grant)
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        return {"revoked": revoked.grant_id}

    async def list_bodies(self) -> dict[str, Any]:
        """The bodies that are stored: their ids, rows, columns and when they end. No contents."""
        plane = await self._plane()
        try:
            bodies = await plane.bodies.list()
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        return {
            "bodies": [
                {
                    "body_id": body.id,
                    "name": body.name,
                    "kind": body.kind,
                    "size": body.size,
                    "total_rows": body.rows,
                    "columns": list(body.columns),
                    "expires": body.expires,
                }
                for body in bodies
            ]
        }

    async def watch(
        self,
        feed: Feed,
        since: asked.SINCE = "last",
        wait_seconds: asked.waiting(_MAX_WAIT_SECONDS) = 0,  # type: ignore[valid-type]  # pydantic reads it
    ) -> dict[str, Any]:
        """The versions of a feed after a cursor, each with a resource_url that consumer tools of any server take.

        It answers as soon as there is one, or after wait_seconds with none. Call it again with since=<cursor>: no
        version is returned twice, and none is missed. "more" says that there are others already.
        """
        plane = await self._plane()
        try:
            start = await _start(plane, parse_feed(feed), since)
            found = await _after(plane, feed, start, wait_seconds)
            notices = [await _offered(plane, notice) for notice in found[:_MAX_NOTICES]]
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        cursor = notices[-1]["sequence"] if notices else start - 1
        return {"notices": notices, "cursor": str(cursor), "more": len(found) > _MAX_NOTICES}

    async def _plane(self) -> Plane:
        try:
            return await self._server.plane()
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error


def _narrowed_fields(made: Narrowed) -> dict[str, Any]:
    return {
        "resource_url": made.resource_url,
        "grant_id": made.grant_id,
        "scope": made.scope,
        "expires": made.expires,
    }


async def _start(plane: Plane, feed: str, since: str) -> int:
    """The stream sequence to begin at."""
    if since in ("first", "last", "new"):
        return await plane.feeds.start(feed, cast("Since", since))
    if not (since.isascii() and since.isdigit() and len(since) < 19):
        raise ToolError("since is first, last, new, or the cursor of an earlier result")
    return int(since) + 1


async def _after(plane: Plane, feed: str, start: int, wait_seconds: float) -> list[Notice]:
    """The notices from `start` on, one more than are returned if available; if there are none, the first to arrive."""
    found: list[Notice] = []
    async with aclosing(plane.feeds.read(feed, start)) as notices:
        async for notice in notices:
            found.append(notice)
            if len(found) > _MAX_NOTICES:
                break
    if not found:
        with anyio.move_on_after(wait_seconds):
            async with aclosing(plane.feeds.follow_from(feed, start)) as coming:
                found.append(await anext(coming))
    return found


async def _offered(plane: Plane, notice: Notice) -> dict[str, Any]:
    made = await plane.grants.mint(notice.body.id, Narrowing())
    return notice.to_wire() | {"resource_url": made.resource_url, "expires": made.expires}
